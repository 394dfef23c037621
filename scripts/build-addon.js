#!/usr/bin/env node
// What prebuildify calls in place of node-gyp: the addon is built by CMake, and node-gyp's own arguments mean nothing to it.
import { spawnSync } from 'node:child_process';

const { status } = spawnSync('npm', ['run', 'build:addon'], { stdio: 'inherit' });
process.exit(status ?? 1);

// Where and with what a figure was measured.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { binding } from '../../dist/model/binding.js';
import { packageVersion } from '../../dist/version.js';
import { describeGpu } from './gpu.js';

export function describeMachine(device) {
  const { cpu } = binding().describe();
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1].trim().split(' ') ?? [];
  return {
    cpu: cpus()[0].model.trim(),
    cores: cpus().length,
    gpu: describeGpu(device),
    memoryBytes: totalmem(),
    isa: cpu.isa,
    bf16: cpu.bf16,
    flags: flags.filter((flag) => /^(avx|amx|fma)/.test(flag)),
    versions: { emoframe: packageVersion(), node: process.versions.node, maths: cpu.library },
  };
}

// Beside what scripts/gpu-check/pack.js packed, where there is no repository.
const packedCommit = new URL('../../commit.json', import.meta.url);

/** The commit that is checked out and whether files differ from it. */
export function describeCommit() {
  if (existsSync(packedCommit)) return JSON.parse(readFileSync(packedCommit, 'utf8'));
  const git = (...words) =>
    execFileSync('git', words, { cwd: fileURLToPath(new URL('..', import.meta.url)), encoding: 'utf8' }).trim();
  return { commit: git('rev-parse', 'HEAD'), changed: git('status', '--porcelain', '--untracked-files=no') !== '' };
}

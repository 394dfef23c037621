// node --import ./withCounters.js: runs the package with counters (instrument.js).
import { register } from 'node:module';
import { mostCounters } from './instrument.js';

globalThis.reached ??= new Uint8Array(mostCounters);
globalThis.knownWords ??= new Set();
register('./instrumentHooks.js', import.meta.url);

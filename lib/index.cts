// What `require('emoframe')` gives: the ES module itself, so that a process holds one copy of every class and of the addon
// however the package is loaded. Node does this from 20.19 and 22.12 on, as long as no module below awaits at its top level.

// biome-ignore lint/suspicious/noTsIgnore: the error is not there under `nodenext`, which this is compiled with.
/** @ts-ignore In the .d.cts: under `module: node16` TypeScript calls this an error, though it resolves every type. */
import emoframe = require('./index.js');
export = emoframe;

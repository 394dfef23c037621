import { EmoframeError } from '../errors.js';
import { type AddonFile, binding, findAddon, type NativeDescription } from '../model/binding.js';
import { defaultThreads } from '../model/threads.js';
import { packageVersion } from '../version.js';
import { columns, defineCommand } from './command.js';

export const doctorCommand = defineCommand({
  name: 'doctor',
  summary: 'show what this build and this machine can do',
  arguments: '',
  description:
    'Shows the version, the loaded addon, the instruction sets in use, threads, backends, and the devices found or why there\nare none.',
  options: {},
  examples: ['emoframe doctor', 'emoframe doctor --json'],
  run: async (_positionals, { json }, { print, printJson }) => {
    const about = { version: packageVersion(), node: process.version, platform: `${process.platform}-${process.arch}` };
    let addon: AddonFile;
    let native: NativeDescription;
    try {
      addon = findAddon();
      native = binding().describe();
      // The default of an engine.
      native.cpu.threads = defaultThreads();
    } catch (error) {
      // Print what is known anyway; the error itself sets the exit code.
      if (json && error instanceof EmoframeError) {
        await printJson({ ...about, problem: { code: error.code, message: error.message } });
      } else
        await print(
          columns([
            ['emoframe', about.version],
            ['node', `${about.node} (${about.platform})`],
          ]),
        );
      throw error;
    }
    if (json) await printJson({ ...about, addon, ...native });
    else await print(table(about, addon, native));
  },
});

function table(
  about: { version: string; node: string; platform: string },
  addon: AddonFile,
  native: NativeDescription,
): string[] {
  const { cpu, cuda, backends } = native;
  const lines: [string, string][] = [
    ['emoframe', about.version],
    ['node', `${about.node} (${about.platform})`],
    ['addon', `${addon.origin === 'prebuild' ? 'prebuilt' : 'built from source'}, ${addon.file}`],
    ['backends', backends.join(', ')],
    ['cpu', `${cpu.isa.join(', ')} in use`],
    ['threads', String(cpu.threads)],
    ['maths', cpu.library],
    ['bf16', cpu.bf16 ? 'native instructions' : 'emulated: correct, but not faster than fp32'],
    ['tf32', cuda.devices.length > 0 ? 'on the GPUs' : 'on GPUs only'],
    [
      'cuda',
      cuda.builtFor.length > 0 ? `built with CUDA ${cuda.toolkit} for ${cuda.builtFor.join(', ')}` : 'not built in',
    ],
  ];
  if (cuda.driver !== undefined) lines.push(['driver', `serves CUDA ${cuda.driver}`]);
  for (const device of cuda.devices) {
    const memory = `${(device.memoryBytes / 2 ** 30).toFixed(1)} GiB`;
    const speed = `${device.multiprocessors} multiprocessors at ${(device.clockHertz / 1e9).toFixed(2)} GHz`;
    lines.push([`cuda:${device.index}`, `${device.name}, ${memory}, capability ${device.capability}, ${speed}`]);
  }
  if (cuda.devices.length === 0)
    lines.push(['devices', `cpu only${cuda.reason === undefined ? '' : `: ${cuda.reason}`}`]);
  return columns(lines);
}

import { lstat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { isUnreadable } from '../audio/unreadable.js';
import { writeNpy } from '../checkpoint/npy.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { writeError } from '../files/atomic.js';
import { makeFolders } from '../files/folders.js';
import { unlessAbsent } from '../files/read.js';
import { given } from '../given.js';
import { mapLimited } from '../lists.js';
import { Encoder } from '../predict/encoder.js';
import type { WindowsUsed } from '../predict/windows.js';
import { defineCommand } from './command.js';
import { describeMemory } from './memory.js';
import { hubModelOptions, revisionOption } from './model.js';
import {
  audioCacheOf,
  cacheOptions,
  choice,
  corruptOption,
  deviceOptions,
  nonNegativeInteger,
  required,
  text,
  UsageError,
  windowOptions,
} from './options.js';
import { Progress, showAudio } from './progress.js';
import { describeSkipped, type Skipped, SkippedAudio } from './skipped.js';

export const encodeCommand = defineCommand({
  name: 'encode',
  summary: 'write hidden states of audio as .npy',
  arguments: 'AUDIO...',
  description:
    "Writes OUT/NAME.npy for each file NAME.wav, NAME.flac, ...: the model's hidden states at one layer, or by default its output\n(last_hidden_state), as float32 [frames, channels]. The model is any checkpoint of HuBERT, wav2vec 2.0,\nWavLM or emotion2vec (docs/checkpoints.md), which also says whether input is normalised. Audio longer than a window is processed in overlapping\nwindows. A file that exists is replaced unless --on-existing says otherwise; with skip, an encode that was stopped goes on\n(give the same model, layer and windows: files are whole or absent, but do not say how they were made).",
  options: {
    model: required(
      text('MODEL', 'a transformers directory, a fairseq or torchaudio checkpoint, or OWNER/NAME on the Hub'),
    ),
    ...revisionOption,
    layer: nonNegativeInteger("hidden state 0 (the transformer's input) to L (default: the model's output)"),
    out: text('DIR', 'where to write the .npy files (default: the working directory)'),
    'on-corrupt': corruptOption,
    'on-existing': choice(
      ['replace', 'skip', 'fail'],
      'on a .npy file that exists: replace it, leave it as it is, or stop (default: replace)',
    ),
    ...windowOptions,
    ...cacheOptions,
    ...deviceOptions,
  },
  examples: [
    'emoframe encode a.wav b.flac --model hubert-base-ls960 --layer 9 --out features',
    'emoframe encode a.wav --model facebook/hubert-base-ls960 --layer 9 --out features',
  ],
  run: async (files, values, context) => {
    const { print, printJson, note, signal } = context;
    const { layer, out = '.', json, device, precision, threads } = values;
    const windows = given({ windowSeconds: values['window-seconds'], overlapSeconds: values['overlap-seconds'] });
    if (files.length === 0) throw new UsageError('Expected at least one audio file.');
    const outputs = outputPaths(files, out);
    const onExisting = values['on-existing'] ?? 'replace';
    const existing = onExisting === 'replace' ? new Set<string>() : await existingOf(outputs);
    if (onExisting === 'fail') refuseExisting(existing);
    const progress = new Progress();
    await using encoder = await Encoder.load(values.model, {
      ...hubModelOptions(values, context, progress),
      ...given({ device, precision, threads, memoryLimit: values['memory-limit'] }),
      ...audioCacheOf(values),
    }).finally(() => progress.finish());
    if (layer !== undefined && layer > encoder.layers) {
      throw new UsageError(`Expected 0 to ${encoder.layers} for --layer with this model but received ${layer}`);
    }
    if (encoder.device !== 'cpu' || values['memory-limit'] !== undefined)
      note(describeMemory(await encoder.plan(windows), encoder.device));
    await makeFolders(out).catch((error: unknown) => {
      throw writeError(out, error);
    });
    const written: Written[] = [];
    const skipped = new SkippedAudio();
    const skip = (file: string) => (error: unknown) => {
      if (values['on-corrupt'] !== 'skip' || !isUnreadable(error)) throw error;
      return skipped.add(file, error);
    };
    for (const [index, file] of files.entries()) {
      throwIfAborted(signal);
      const target = outputs[index]!;
      if (existing.has(target)) {
        written.push({ audio: file, out: target, existing: true });
        continue;
      }
      const states = await encoder
        .encode(file, {
          signal,
          ...windows,
          ...given({ layer }),
          onProgress: (event) => showAudio(progress, 'encode', event),
        })
        .catch(skip(file));
      if ('error' in states) written.push({ audio: file, error: states.error });
      else {
        const { hidden, frames, dimension, windows } = states;
        // Somebody may have put a file there while others were encoded.
        if (onExisting !== 'replace') refuseExisting(await existingOf([target]));
        await writeNpy(target, hidden, [frames, dimension]);
        written.push({ audio: file, out: target, layer: layer ?? 'output', frames, dimension, windows });
      }
      if (files.length > 1) progress.update({ title: 'encode', done: index + 1, total: files.length });
    }
    progress.finish();
    if (json) await printJson(written);
    else {
      for (const row of written) {
        if ('existing' in row) await print(`${row.out}  left as it is`);
        else if ('error' in row) await print(describeSkipped({ id: row.audio, error: row.error }));
        else await print(`${row.out}  [${row.frames}, ${row.dimension}]`);
      }
    }
    skipped.report(files.length, note);
  },
});

/** The outcome of a file. */
type Written =
  | {
      audio: string;
      out: string;
      layer: number | 'output';
      frames: number;
      dimension: number;
      windows: WindowsUsed | null;
    }
  | { audio: string; out: string; existing: true }
  | { audio: string; error: Skipped['error'] };

/** Those of the paths at which there is anything, even a link that leads nowhere. */
async function existingOf(outputs: readonly string[]): Promise<Set<string>> {
  const found = await mapLimited(outputs, async (path) => (await unlessAbsent(path, lstat(path))) !== undefined);
  return new Set(outputs.filter((_, index) => found[index]));
}

/** Whoever wrote them: nothing in a .npy file says so. */
function refuseExisting(existing: ReadonlySet<string>): void {
  const [first] = existing;
  if (first === undefined) return;
  const which = existing.size === 1 ? `${first} exists` : `${first} and ${existing.size - 1} more exist`;
  throw new EmoframeError(
    'ERR_WRITE',
    `${which} already: choose another --out, or give --on-existing skip to encode only what is not there.`,
    { file: first },
  );
}

/** The output path of each file. Files with the same base name would overwrite each other. */
function outputPaths(files: readonly string[], out: string): string[] {
  const owners = new Map<string, string>();
  return files.map((file) => {
    const name = basename(file, extname(file));
    const owner = owners.get(name);
    if (owner !== undefined) {
      throw new UsageError(
        `${owner} and ${file} would both be written to ${join(out, `${name}.npy`)}.`,
        'Encode them into different --out folders.',
      );
    }
    owners.set(name, file);
    return join(out, `${name}.npy`);
  });
}

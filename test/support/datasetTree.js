// Miniatures of datasets, with the names that the real ones have.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { encodeWav } from './wav.js';

/** A fifth of a second of silence, 16 kHz mono. */
export const silence = encodeWav(new Int16Array(3200));

/** Files below a folder: text or bytes by path; a list of paths is audio. */
export function plant(root, files) {
  const entries = Array.isArray(files) ? files.map((path) => [path, silence]) : Object.entries(files);
  for (const [path, content] of entries) {
    const file = join(root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
  return root;
}

/** A folder that is gone after the tests of a suite. */
export function scratch(suite, name) {
  const root = mkdtempSync(join(tmpdir(), `emoframe-${name}-`));
  suite.after(() => rmSync(root, { recursive: true, force: true }));
  return root;
}

/** A turn of an IEMOCAP dialogue with its annotators' lines. */
export const turn = (name, emotion, ratings = '2.5000, 3.0000, 3.5000') =>
  `[6.2901 - 8.2357]\t${name}\t${emotion}\t[${ratings}]\nC-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n`;
const heading = '% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n';

/** An IEMOCAP of two sessions: dialogues by name, each a list of `[turn, emotion, ratings?]`. */
export function plantIemocap(root, dialogues) {
  for (const [dialogue, turns] of Object.entries(dialogues)) {
    const session = `Session${dialogue[4]}`;
    plant(root, {
      [`${session}/dialog/EmoEvaluation/${dialogue}.txt`]: heading + turns.map((row) => turn(...row)).join(''),
    });
    plant(
      root,
      turns.map(([name]) => `${session}/sentences/wav/${dialogue}/${name}.wav`),
    );
  }
  return root;
}

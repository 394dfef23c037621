// The prompts that an announcer recorded for the telephone exchange Asterisk, as 16 kHz WAV, with what must be known of each
// to change its prosody.
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { runPraat, runProgram } from './praat.js';

const root = '/usr/share/asterisk/sounds';
/** G.722 has 64 kbit/s. */
const bytesPerSecond = 8000;
/** Signals, and jokes with animals. */
const noSpeech = /beep|tone|jingle|^tt-|^silence/;

/**
 * @typedef {object} Recording
 * @property {string} file 16 kHz WAV
 * @property {string} name of the prompt
 * @property {number} seconds
 * @property {number} median of its pitch, hertz
 */

/**
 * Prompts of one phrase, in the order of their names.
 *
 * @param {Pick<import('./talkers.js').Recorded, 'folder' | 'pitch'>} talker
 * @param {string} folder for what is decoded
 * @returns {Promise<Recording[]>}
 */
export async function readRecordings({ folder: announcer, pitch: [floor, ceiling] }, folder) {
  const source = join(root, announcer);
  if (!existsSync(source)) {
    const language = announcer.slice(0, 2);
    throw new Error(`${source} is missing. Install it with: apt-get install asterisk-core-sounds-${language}-g722`);
  }
  const names = [];
  for (const file of (await readdir(source)).sort()) {
    if (!file.endsWith('.g722') || noSpeech.test(file)) continue;
    const seconds = (await stat(join(source, file))).size / bytesPerSecond;
    if (seconds >= 0.9 && seconds <= 3) names.push(file.slice(0, -'.g722'.length));
  }
  const wav = (name) => join(folder, `${announcer}-${name}.wav`);
  await runProgram('ffmpeg', [
    ...['-v', 'error', '-y'],
    ...names.flatMap((name) => ['-f', 'g722', '-i', join(source, `${name}.g722`)]),
    ...names.flatMap((name, input) => ['-map', String(input), '-bitexact', wav(name)]),
  ]);
  const jobs = names.map((name) => ({ input: wav(name), floor, ceiling }));
  const results = join(folder, `${announcer}.measured`);
  await runPraat('measure', jobs, join(folder, `${announcer}.jobs`), [results]);
  const lines = (await readFile(results, 'utf8')).trimEnd().split('\n');
  return names.flatMap((name, row) => {
    const [seconds, voiced, median] = lines[row].split('\t').map(Number);
    // What is hardly voiced has no pitch to change.
    return voiced >= 0.35 && Number.isFinite(median) ? [{ file: wav(name), name, seconds, median }] : [];
  });
}

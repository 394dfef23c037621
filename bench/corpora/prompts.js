// The second corpus of bench/alignment.js: real recordings whose prosody is changed phrase by phrase, with the emotions,
// amounts and manifest of the demo's corpus. See README.md.
//
//   apt-get install praat ffmpeg asterisk-core-sounds-{en,es,fr,it,ru}-g722
//   node bench/corpora/prompts.js --out DIR [--seed 1] [--minutes 40] [--threads 2]
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { encodeWav } from '../../dist/demo/signal.js';
import { makeSpeaker } from '../../dist/demo/speaker.js';
import { recordedTalker } from './recordedTalker.js';
import { readRecordings } from './recordings.js';
import { TALKERS } from './talkers.js';

/** Runs work on items, `lanes` at a time; results in the order of the items. */
async function inLanes(items, lanes, work) {
  const results = [];
  const waiting = [...items.entries()];
  const lane = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return results;
}

/**
 * Makes the corpus, or keeps it when it was made with the same settings.
 *
 * @param {string} directory audio, and `manifest.jsonl`
 * @param {{ seed: number, minutes?: number, threads?: number }} options same seed and same versions of Debian's packages, same bytes
 * @returns {Promise<{ manifest: string, utterances: number, seconds: number }>}
 */
export async function makePromptsCorpus(directory, { seed, minutes = 40, threads = 2 }) {
  const manifest = join(directory, 'manifest.jsonl');
  const stamp = join(directory, 'prompts.json');
  if (existsSync(stamp)) {
    const made = JSON.parse(await readFile(stamp, 'utf8'));
    if (made.seed === seed && made.minutes === minutes) return { manifest, ...made };
    await rm(stamp);
  }
  await rm(join(directory, 'audio'), { recursive: true, force: true });
  await mkdir(join(directory, 'audio'), { recursive: true });
  const folder = await mkdtemp(join(tmpdir(), 'emoframe-prompts-'));
  try {
    const announcers = TALKERS.filter(({ formants }) => formants === 1);
    const read = await inLanes(announcers, threads, (announcer) => readRecordings(announcer, folder));
    const recordings = new Map(announcers.map((announcer, i) => [announcer.folder, read[i]]));
    const spoken = await inLanes(TALKERS, threads, async (talker) => {
      // No prompt is said by both talkers of an announcer.
      const own = recordings.get(talker.folder).filter((_, i) => i % 2 === Number(talker.formants !== 1));
      const rows = [];
      let samples = 0;
      const utterances = makeSpeaker(recordedTalker(talker, own, folder), seed, (60 * minutes) / TALKERS.length);
      for await (const { id, label, segments, text, samples: audio } of utterances) {
        const { speaker, session } = talker;
        await writeFile(join(directory, 'audio', `${id}.wav`), encodeWav(audio, 16_000));
        rows.push({ id, audio: `audio/${id}.wav`, label, speaker, session, segments, text: text.join(', ') });
        samples += audio.length;
      }
      return { rows, seconds: samples / 16_000 };
    });
    const rows = spoken.flatMap((of) => of.rows);
    await writeFile(manifest, `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`);
    const made = { seed, minutes, utterances: rows.length, seconds: spoken.reduce((sum, of) => sum + of.seconds, 0) };
    await writeFile(stamp, `${JSON.stringify(made)}\n`);
    return { manifest, ...made };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      out: { type: 'string' },
      seed: { type: 'string', default: '1' },
      minutes: { type: 'string', default: '40' },
      threads: { type: 'string', default: '2' },
    },
  });
  if (values.out === undefined) throw new Error('Expected --out DIR, where the corpus is to lie.');
  const [seed, minutes, threads] = [values.seed, values.minutes, values.threads].map(Number);
  const { manifest, utterances, seconds } = await makePromptsCorpus(values.out, { seed, minutes, threads });
  console.log(`${manifest}: ${utterances} utterances, ${(seconds / 60).toFixed(1)} minutes`);
}

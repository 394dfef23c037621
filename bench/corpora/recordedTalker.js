// One talker of the corpus of recordings: prompts of an announcer, each said with the prosody that is asked for.
import { join } from 'node:path';
import { loadAudio } from '../../dist/audio/load.js';
import { runPraat } from './praat.js';

/**
 * @param {import('./talkers.js').Recorded} talker
 * @param {import('./recordings.js').Recording[]} recordings what this talker may say
 * @param {string} folder for what is made on the way
 * @returns {import('../../dist/demo/speaker.js').Talker}
 */
export function recordedTalker(talker, recordings, folder) {
  const byName = new Map(recordings.map((recording) => [recording.name, recording]));
  const [floor, ceiling] = talker.pitch;
  const output = (i) => join(folder, `${talker.speaker}-${i}.wav`);
  return {
    speaker: talker.speaker,
    sampleRate: 16_000,
    tilt: talker.tilt,
    phrases(random) {
      // As long together as the demo's utterances.
      const most = random.uniform(2.5, 6);
      const phrases = [];
      let seconds = 0;
      for (const { name, seconds: own } of random.shuffle(recordings)) {
        if (phrases.length >= 2 && seconds + own > most) break;
        phrases.push(name);
        seconds += own;
        if (phrases.length === 5) break;
      }
      return phrases;
    },
    async say(phrases, prosody) {
      const jobs = phrases.map((phrase, i) => {
        const { file, median } = byName.get(phrase);
        const { pitch, range, rate } = prosody[i];
        const target = median * talker.height * 2 ** (pitch / 12);
        const { formants } = talker;
        return { input: file, output: output(i), floor, ceiling, median, target, range, rate, formants };
      });
      await runPraat('change', jobs, join(folder, `${talker.speaker}.jobs`));
      return Promise.all(jobs.map((job) => loadAudio(job.output)));
    },
  };
}

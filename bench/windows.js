// How exact windows are: long audio processed in windows compared with the same audio in one pass, frame by frame,
// before the transformer, after it, and in the posteriors.
//
//   node bench/windows.js --model DIR [--audio FILE | --seconds 120] [--windows 20:2,30:5]
//
// DIR is the predictor of a run. Windows are SECONDS:OVERLAP. Hidden states are compared by the length of the difference over
// the length of the vector, posteriors by their largest difference.
import { parseArgs } from 'node:util';
import { loadAudio } from '../dist/audio/load.js';
import { EmotionModel } from '../dist/predict/emotionModel.js';
import { Encoder } from '../dist/predict/encoder.js';
import { generator, speechLike } from '../test/support/syntheticRun.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    audio: { type: 'string' },
    seconds: { type: 'string', default: '120' },
    windows: { type: 'string', default: '10:2,20:2,30:2,30:5,60:5' },
  },
});
if (values.model === undefined) throw new Error('Expected --model DIR, the predictor of a run.');

/** Syllables and pauses. */
function recording(seconds) {
  const random = generator(5);
  const samples = new Float32Array(Math.round(16000 * seconds));
  for (let at = 0; at < samples.length; ) {
    const part = speechLike(1 + 3 * random(), random);
    samples.set(part.subarray(0, samples.length - at), at);
    at += part.length + Math.floor(8000 * random());
  }
  return samples;
}

/** One number a frame: the distance of two vectors over the length of the second. */
function frameErrors(found, expected, dimension) {
  return Float64Array.from({ length: expected.length / dimension }, (_, frame) => {
    let [difference, size] = [0, 0];
    for (let c = frame * dimension; c < (frame + 1) * dimension; c++) {
      difference += (found[c] - expected[c]) ** 2;
      size += expected[c] ** 2;
    }
    return Math.sqrt(difference / size);
  });
}

/** Median, 99th percentile and largest. */
function spread(errors) {
  const sorted = errors.slice().sort();
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return [at(0.5), at(0.99), at(1)].map((value) => value.toExponential(1)).join('  ');
}

const samples = values.audio === undefined ? recording(Number(values.seconds)) : await loadAudio(values.audio);
const onePass = { windowSeconds: samples.length / 16000 + 1 };
const plans = values.windows.split(',').map((plan) => {
  const [windowSeconds, overlapSeconds] = plan.split(':').map(Number);
  return { windowSeconds, overlapSeconds };
});
const encoder = await Encoder.load(values.model);
const emotions = await EmotionModel.load(values.model, { clusters: false });
console.log(`${(samples.length / 16000).toFixed(0)} s of audio; median, 99th percentile, largest over frames`);
for (const layer of [0, encoder.layers]) {
  const once = await encoder.encode(samples, { layer, ...onePass });
  for (const plan of plans) {
    const found = await encoder.encode(samples, { layer, ...plan });
    const name = `layer ${layer}, ${plan.windowSeconds} s with ${plan.overlapSeconds} s of overlap`;
    console.log(name.padEnd(42), spread(frameErrors(found.hidden, once.hidden, once.dimension)));
  }
}
const once = await emotions.predict(samples, onePass);
for (const plan of plans) {
  const found = await emotions.predict(samples, plan);
  const errors = Float64Array.from(once.frames, ({ posterior }, i) =>
    Math.max(...posterior.map((p, k) => Math.abs(p - found.frames[i].posterior[k]))),
  );
  const best = ({ posterior }) => posterior.indexOf(Math.max(...posterior));
  const same = once.frames.filter((frame, i) => best(frame) === best(found.frames[i])).length / once.frames.length;
  const decision = Math.max(...emotions.labels.map((l) => Math.abs(once.probabilities[l] - found.probabilities[l])));
  const name = `posteriors, ${plan.windowSeconds} s with ${plan.overlapSeconds} s of overlap`;
  console.log(
    name.padEnd(42),
    spread(errors),
    `  same emotion ${(100 * same).toFixed(1)} %, decision ${decision.toExponential(1)}`,
  );
}
await encoder.dispose();
await emotions.dispose();

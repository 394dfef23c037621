import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { frameMetrics, frameTruth } from '../../dist/index.js';

const times = { frameSeconds: 0.02, frameCenterSeconds: (i) => (320 * i + 200) / 16000 };
const labels = ['ang', 'neu', 'sad'];
const utterance = (segments) => ({ id: 'u', audio: '/a.wav', label: 'ang', segments });
/** Posteriors that know nothing, of three classes. */
const even = (frames) => new Array(3 * frames).fill(1 / 3);
const near = (actual, expected) => assert.ok(Math.abs(actual - expected) < 1e-12, `${actual} is not ${expected}`);

test('a frame takes the label of the segment that holds its centre', () => {
  // Centres: 0.0125, 0.0325, 0.0525, 0.0725, 0.0925.
  const truth = frameTruth(
    utterance([
      { start: 0.0325, end: 0.0525, label: 'ang' },
      { start: 0.07, end: 9, label: 'sad' },
    ]),
    labels,
    'neu',
    5,
    times,
  );
  assert.equal([...truth], [1, 0, 1, 2, 2]);
});

test('no segment at all is neutral throughout', () => {
  assert.equal([...frameTruth(utterance([]), labels, 'neu', 3, times)], [1, 1, 1]);
});

test('labels that the classifier does not know are refused by name', () => {
  const refused = (message) => (error) => error.code === 'ERR_CORPUS' && error.message.includes(message);
  assert.throws(() => frameTruth(utterance([]), labels, 'calm', 3, times), refused("'calm'"));
  const happy = utterance([{ start: 0, end: 1, label: 'hap' }]);
  assert.throws(() => frameTruth(happy, labels, 'neu', 3, times), refused("'hap'"));
  assert.throws(() => frameTruth(utterance(undefined), labels, 'neu', 3, times), refused('no segments'));
});

test('kinds of errors are counted apart, and pooled over frames', () => {
  const metrics = frameMetrics(
    [
      // 1 right ang, 1 missed, 1 confused, 1 right neutral, 1 false alarm
      { truth: [0, 0, 0, 1, 1], path: [0, 1, 2, 1, 0], attention: [0.4, 0.3, 0.1, 0.1, 0.1], posteriors: even(5) },
      { truth: [1, 1, 1], path: [1, 1, 1], attention: [1 / 3, 1 / 3, 1 / 3], posteriors: even(3) },
    ],
    3,
    1,
  );
  near(metrics.missed, 1 / 8);
  near(metrics.falseAlarm, 1 / 8);
  near(metrics.confusion, 1 / 8);
  near(metrics.eder, 3 / 8);
  near(metrics.frameAccuracy, 5 / 8);
  // Recall of ang 1/3, of neu 4/5; sad is not in the truth.
  near(metrics.frameUa, (1 / 3 + 4 / 5) / 2);
});

test('attention is weighed over emotional utterances only, beside the share of emotional frames', () => {
  const metrics = frameMetrics(
    [
      { truth: [0, 1, 1, 1], path: [0, 1, 1, 1], attention: [0.7, 0.1, 0.1, 0.1], posteriors: even(4) },
      { truth: [2, 2, 1, 1], path: [2, 2, 1, 1], attention: [0.25, 0.25, 0.25, 0.25], posteriors: even(4) },
      { truth: [1, 1], path: [1, 1], attention: [0.5, 0.5], posteriors: even(2) },
    ],
    3,
    1,
  );
  near(metrics.attentionOnEmotion, (0.7 + 0.5) / 2);
  near(metrics.emotionFrameShare, (0.25 + 0.5) / 2);
});

test('the emotional posterior is weighed by where it lies, whatever emotion it names', () => {
  const attention = [0.25, 0.25, 0.25, 0.25];
  const path = [1, 1, 1, 1];
  const metrics = frameMetrics(
    [
      // Of 0.9 + 0.5 + 0.2 that is not neutral, 1.4 on the two emotional frames.
      { truth: [0, 0, 1, 1], path, attention, posteriors: [0.6, 0.1, 0.3, 0, 0.5, 0.5, 0.2, 0.8, 0, 0, 1, 0] },
      // Nothing is emotional: as good as the share of emotional frames.
      { truth: [1, 1, 1, 2], path, attention, posteriors: [0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0] },
      // A neutral utterance does not count, whatever is predicted in it.
      { truth: [1, 1, 1, 1], path, attention, posteriors: even(4) },
    ],
    3,
    1,
  );
  near(metrics.posteriorOnEmotion, (1.4 / 1.6 + 0.25) / 2);
  near(metrics.emotionFrameShare, (0.5 + 0.25) / 2);
  near(metrics.lift, (1.4 / 1.6 + 0.25) / 0.75);
});

test('the same posterior on every frame has a lift of 1', () => {
  const row = { truth: [0, 1, 1, 2, 1], path: [1, 1, 1, 1, 1], attention: even(5), posteriors: even(5) };
  near(frameMetrics([row], 3, 1).lift, 1);
});

test('without known segments there is nothing to score', () => {
  assert.throws(
    () => frameMetrics([], 3, 1),
    (error) => error.code === 'ERR_CORPUS',
  );
});

test.run();

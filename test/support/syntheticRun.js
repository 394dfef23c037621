// A run directory as the pipeline leaves it, with made-up sounds, predictions and logs: for the report's tests.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeWav } from './wav.js';

export const labels = ['angry', 'happy', 'neutral', 'sad'];

/** Uniform numbers in [0, 1), the same every time. */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** 16-bit mono WAV at 16 kHz. */
export function writeWav(path, samples) {
  const values = Int16Array.from(samples, (sample) => Math.round(32767 * Math.max(-1, Math.min(1, sample))));
  writeFileSync(path, encodeWav(values));
}

/** A voice-like sound: syllables of a harmonic tone. */
export function speechLike(seconds, random) {
  const pitch = 100 + 120 * random();
  const rate = 3 + 2 * random();
  return Float32Array.from({ length: Math.round(16000 * seconds) }, (_, i) => {
    const t = i / 16000;
    const envelope = Math.max(0, Math.sin(Math.PI * rate * t + Math.sin(1.7 * t))) ** 1.5;
    let tone = 0;
    for (let harmonic = 1; harmonic < 8; harmonic++) tone += Math.sin(2 * Math.PI * pitch * harmonic * t) / harmonic;
    return 0.35 * envelope * (tone + 0.2 * (random() - 0.5)) * (0.6 + 0.4 * Math.sin(0.9 * t));
  });
}

function utteranceRow(id, audio, label, seconds, skill, random) {
  const frames = Math.floor((seconds * 16000 - 400) / 320) + 1;
  const truth = new Array(frames).fill(2);
  const from = Math.floor(frames * (0.1 + 0.3 * random()));
  const to = Math.min(frames, from + Math.floor(frames * (0.35 + 0.2 * random())));
  if (label !== 2) truth.fill(label, from, to);
  const predicted = random() < skill ? label : (label + 1 + Math.floor(3 * random())) % 4;
  const drift = [0, 0, 0, 0];
  const posteriors = truth.map((actual) => {
    const scores = drift.map((_, c) => {
      drift[c] = 0.93 * drift[c] + 0.6 * (random() - 0.5);
      const shown = actual === 2 ? 2 : predicted;
      return Math.exp(2.2 * drift[c] + (c === shown ? 2.4 * skill : 0));
    });
    const sum = scores.reduce((a, b) => a + b, 0);
    return scores.map((score) => Number((score / sum).toFixed(4)));
  });
  const path = posteriors.map((_, i) => {
    const around = posteriors.slice(Math.max(0, i - 6), i + 7);
    const mean = labels.map((_label, c) => around.reduce((sum, p) => sum + p[c], 0));
    return mean.indexOf(Math.max(...mean));
  });
  const weights = truth.map((actual, i) => (actual === 2 ? 1 : 1.7) * (1 + 0.3 * Math.sin(i / 5)));
  const weightSum = weights.reduce((a, b) => a + b, 0);
  const rest = (1 - 0.62) / 3;
  return {
    id,
    audio,
    label: labels[label],
    predicted: labels[predicted],
    probabilities: labels.map((_, c) => (c === predicted ? 0.62 : rest)),
    seconds,
    frameSeconds: 0.02,
    labels,
    posteriors,
    attention: weights.map((w) => Number((w / weightSum).toFixed(6))),
    clusters: truth.map(() => Math.floor(50 * random())),
    path,
    truth,
  };
}

/**
 * `options.name` is the corpus's name, `options.id(n)` names utterance n. With `options.objective`, the run had that one; without,
 * it is of before there was a choice.
 */
export function writeSyntheticRun(dir, options = {}) {
  const random = generator(options.seed ?? 5);
  const folds = options.folds ?? ['session5'];
  const idOf = options.id ?? ((n) => `s5_voice${n % 2}_${String(n).padStart(3, '0')}`);
  mkdirSync(join(dir, 'audio'), { recursive: true });
  const voice = speechLike(8, random);
  const confusions = { predictions: [], baseline: [] };
  for (const fold of folds) {
    const out = join(dir, 'folds', fold, 'evaluate');
    mkdirSync(out, { recursive: true });
    const rows = { predictions: [], baseline: [] };
    for (const which of ['predictions', 'baseline']) confusions[which].push(labels.map(() => labels.map(() => 0)));
    for (let n = 0; n < (options.utterances ?? 40); n++) {
      const seconds = Number((2.4 + 3 * random()).toFixed(2));
      const audio = join(dir, 'audio', `${fold}_${n}.wav`);
      const from = Math.floor(16000 * 2 * random());
      writeWav(audio, voice.subarray(from, from + Math.round(16000 * seconds)));
      for (const [which, skill] of [
        ['predictions', 0.78],
        ['baseline', 0.62],
      ]) {
        const row = utteranceRow(idOf(n), audio, n % 4, seconds, skill, random);
        if (options.objective && options.objective !== 'attention' && which === 'predictions')
          row.timeline = 'alignment';
        rows[which].push(JSON.stringify(row));
        confusions[which].at(-1)[n % 4][labels.indexOf(row.predicted)]++;
      }
    }
    for (const which of ['predictions', 'baseline'])
      writeFileSync(join(out, `${which}.jsonl`), `${rows[which].join('\n')}\n`);
  }
  const scores = (wa, confusion) => ({
    wa,
    ua: wa - 0.012,
    macroF1: wa - 0.02,
    eder: 0.9 - 0.7 * wa,
    frameAccuracy: 0.1 + 0.7 * wa,
    frameUa: 0.7 * wa,
    attentionOnEmotion: 0.3 + 0.3 * wa,
    emotionFrameShare: 0.44,
    // A run of before there was a choice of objective did not measure these.
    ...(options.objective && { meanEder: 0.9 - 0.7 * wa, posteriorOnEmotion: 0.8 * wa, lift: (0.8 * wa) / 0.44 }),
    frameErrors: { missed: 0.1, falseAlarm: 0.1, confusion: 0.7 - 0.7 * wa },
    confusion,
    recalls: labels.map(() => wa),
    absent: [],
  });
  const all = (matrices) => matrices[0].map((row, i) => row.map((_, j) => matrices.reduce((s, m) => s + m[i][j], 0)));
  const interval = (value) => [value - 0.06, value + 0.05];
  const pooled = (wa, matrices) => ({
    ...scores(wa, all(matrices)),
    intervals: { wa: interval(wa), ua: interval(wa - 0.012), macroF1: interval(wa - 0.02) },
    meanOverFolds: { wa, ua: wa - 0.012 },
  });
  const utterances = options.utterances ?? 40;
  const summary = {
    ...pooled(0.78, confusions.predictions),
    baseline: pooled(0.63, confusions.baseline),
    seconds: 412.6,
    labels,
    neutral: 'neutral',
    protocol: 'inductive',
    utterances: folds.length * utterances,
    ...(options.objective && { skipped: [] }),
    folds: folds.map((name, i) => ({
      name,
      ...scores(0.78 - 0.01 * i, confusions.predictions[i]),
      utterances,
      excluded: [],
      baseline: scores(0.63, confusions.baseline[i]),
    })),
  };
  const log = [];
  for (const fold of folds) {
    for (const [stage, total, top] of [
      ['mfcc', 300, 4.6],
      ['tapt', 200, 5.1],
      ['finetune', 120, 1.386],
      ['cluster', 40, 900000],
      ['pretrain', 300, 3.9],
      ...(options.objective === 'forward-backward' ? [] : [['align', 120, 1.386]]),
      ...(['both', 'forward-backward'].includes(options.objective) ? [['timeline', 60, 1.386]] : []),
    ]) {
      for (let step = 5; step <= total; step += 5) {
        const progress = step / total;
        const row = { time: '2026-01-01T00:00:00.000Z', fold, stage, step, total };
        if (stage === 'cluster') row.inertia = top * (0.6 + 0.4 * Math.exp(-5 * progress));
        else {
          row.loss = top * (0.4 + 0.6 * Math.exp(-2 * progress)) + 0.1 * (random() - 0.5);
          row.accuracy = 0.25 + 0.5 * (1 - Math.exp(-3 * progress)) + 0.04 * (random() - 0.5);
          row.learningRate = 1e-3 * progress;
          row.gradientNorm = 2 * random();
          Object.assign(row, { audioSecondsPerSecond: 10, flopsPerSecond: 3e11, peakShare: 0.7 });
          if (['finetune', 'align', 'timeline'].includes(stage) && step % 20 === 0)
            row.validationUa = 0.25 + 0.42 * (1 - Math.exp(-3 * progress));
        }
        log.push(JSON.stringify(row));
      }
    }
  }
  writeFileSync(join(dir, 'summary.json'), JSON.stringify(summary));
  writeFileSync(join(dir, 'corpus.json'), JSON.stringify({ name: options.name ?? 'synthetic demo', utterances: [] }));
  const align = options.objective && { align: { objective: options.objective } };
  const config = { seed: 1, precision: 'fp32', protocol: 'inductive', folds: { scheme: 'session' }, ...align };
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify({ versions: { emoframe: '0.1.0' }, model: null, seed: 1, config }),
  );
  writeFileSync(join(dir, 'log.jsonl'), `${log.join('\n')}\n{"time":"cut`);
  return dir;
}

/** A run that learned values of `dimensions`; its baseline is further from the truth. `options.folds`, `options.utterances`. */
export function writeSyntheticRegression(dir, options = {}) {
  const random = generator(7);
  const dimensions = ['arousal', 'valence'];
  const folds = options.folds ?? ['s1'];
  const utterances = options.utterances ?? 20;
  mkdirSync(join(dir, 'audio'), { recursive: true });
  const voice = speechLike(4, random);
  for (const fold of folds) {
    const out = join(dir, 'folds', fold, 'evaluate');
    mkdirSync(out, { recursive: true });
    const rows = { predictions: [], baseline: [] };
    for (let n = 0; n < utterances; n++) {
      const seconds = 1.2;
      const audio = join(dir, 'audio', `${fold}_${n}.wav`);
      writeWav(audio, voice.subarray(0, 16000 * seconds));
      const target = Object.fromEntries(dimensions.map((name) => [name, Number(random().toFixed(3))]));
      for (const [which, error] of [
        ['predictions', 0.1],
        ['baseline', 0.3],
      ]) {
        const off = (error * (n + 1)) / utterances;
        const values = Object.fromEntries(dimensions.map((name) => [name, target[name] + off]));
        const frameValues = Array.from({ length: 59 }, (_, t) =>
          dimensions.map((name, k) => Number((values[name] + 0.2 * Math.sin(t / 5 + k)).toFixed(4))),
        );
        const timing = { seconds, frameSeconds: 0.02 };
        const attention = Array.from({ length: 59 }, () => 1 / 59);
        rows[which].push(
          JSON.stringify({ id: `${fold}_${n}`, audio, target, values, ...timing, dimensions, frameValues, attention }),
        );
      }
    }
    for (const which of ['predictions', 'baseline'])
      writeFileSync(join(out, `${which}.jsonl`), `${rows[which].join('\n')}\n`);
  }
  const scores = (ccc) => ({
    ccc,
    values: Object.fromEntries(dimensions.map((name) => [name, { ccc, pearson: ccc + 0.02, rmse: 0.2 - 0.1 * ccc }])),
  });
  const pooled = (ccc) => ({
    ...scores(ccc),
    intervals: {
      ccc: [ccc - 0.05, ccc + 0.05],
      values: Object.fromEntries(dimensions.map((name) => [name, [ccc - 0.05, ccc + 0.05]])),
    },
    meanOverFolds: { ccc },
  });
  const summary = {
    ...pooled(0.612),
    baseline: pooled(0.431),
    folds: folds.map((name) => ({ name, ...scores(0.612), utterances, excluded: [], baseline: scores(0.431) })),
    dimensions,
    protocol: 'inductive',
    utterances: folds.length * utterances,
    skipped: [],
    seconds: 100,
  };
  writeFileSync(join(dir, 'summary.json'), JSON.stringify(summary));
  writeFileSync(join(dir, 'corpus.json'), JSON.stringify({ name: 'ratings', utterances: [] }));
  const config = { seed: 1, precision: 'fp32', protocol: 'inductive', folds: { scheme: 'session' }, dimensions };
  writeFileSync(
    join(dir, 'config.json'),
    JSON.stringify({ versions: { emoframe: '0.1.0' }, model: null, seed: 1, config }),
  );
  return dir;
}

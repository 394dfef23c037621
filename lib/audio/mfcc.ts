// The targets of HuBERT's first iteration: Kaldi's MFCC with torchaudio's defaults (`compliance.kaldi.mfcc`, energy
// unused) and two orders of deltas (`functional.compute_deltas`). Everything is computed in double precision.
import FFT from 'fft.js';
import { EmoframeError } from '../errors.js';
import { SAMPLE_RATE } from './resample.js';

/** 25 ms and 10 ms of 16 kHz: MFCC frame j covers samples [160 j, 160 j + 400). */
const WINDOW_SAMPLES = 400;
const HOP_SAMPLES = 160;
const FFT_SAMPLES = 512;
const MEL_BANDS = 23;
const LOWEST_HERTZ = 20;
const CEPSTRA = 13;
const LIFTER = 22;
const PREEMPHASIS = 0.97;
/** float32's machine epsilon: torchaudio's floor under the logarithm. */
const LOG_FLOOR = 1.1920928955078125e-7;
/** 13 cepstra (C0 first), their deltas, the deltas of these. */
export const MFCC_DIMENSION = 3 * CEPSTRA;

export interface Mfcc {
  /** [frames, 39], row-major, 100 frames a second. */
  features: Float32Array;
  frames: number;
}

/**
 * 39-dimensional MFCC: 13 cepstra, Δ and ΔΔ, of 25 ms windows every 10 ms.
 *
 * @param samples [samples], 16 kHz, in ±1, not normalised
 * @returns floor((samples - 400) / 160) + 1 frames; none under 400 samples
 * @example
 * const { features, frames } = mfcc(await loadAudio('speech.wav'));
 */
export function mfcc(samples: Float32Array): Mfcc {
  const frames = samples.length < WINDOW_SAMPLES ? 0 : Math.floor((samples.length - WINDOW_SAMPLES) / HOP_SAMPLES) + 1;
  const cepstra = new Float64Array(frames * CEPSTRA);
  const analyse = frameAnalyser();
  for (let frame = 0; frame < frames; frame++) {
    analyse(samples, frame * HOP_SAMPLES, cepstra.subarray(frame * CEPSTRA, (frame + 1) * CEPSTRA));
  }
  const deltas = computeDeltas(cepstra, frames);
  const deltaDeltas = computeDeltas(deltas, frames);
  const features = new Float32Array(frames * MFCC_DIMENSION);
  for (let frame = 0; frame < frames; frame++) {
    for (const [part, values] of [cepstra, deltas, deltaDeltas].entries()) {
      const row = values.subarray(frame * CEPSTRA, (frame + 1) * CEPSTRA);
      features.set(row, frame * MFCC_DIMENSION + part * CEPSTRA);
    }
  }
  return { features, frames };
}

/**
 * MFCC at HuBERT's rate. HuBERT's frame i covers samples [320 i, 320 i + 400), which is the window of MFCC frame 2 i; so
 * every second row, 50 a second. Where the MFCC has fewer rows than `frames` asks for, its last one repeats.
 *
 * @param frames T, the number of HuBERT frames of the same samples
 * @returns [T, 39], row-major
 * @throws `ERR_AUDIO_SHORT` under 400 samples
 * @example
 * const targets = alignMfcc(await pool.mfcc('speech.wav'), geometry.frames(samples.length));
 */
export function alignMfcc(source: Mfcc, frames: number): Float32Array {
  if (source.frames === 0) {
    throw new EmoframeError(
      'ERR_AUDIO_SHORT',
      `MFCC needs at least ${WINDOW_SAMPLES} samples (25 ms). Leave the utterance out.`,
    );
  }
  const output = new Float32Array(frames * MFCC_DIMENSION);
  for (let frame = 0; frame < frames; frame++) {
    const row = Math.min(2 * frame, source.frames - 1) * MFCC_DIMENSION;
    output.set(source.features.subarray(row, row + MFCC_DIMENSION), frame * MFCC_DIMENSION);
  }
  return output;
}

/** Σ n (x[t + n] - x[t - n]) / 10 over n = 1, 2, the first and last row repeated beyond the ends. [frames, 13]. */
function computeDeltas(rows: Float64Array, frames: number): Float64Array {
  const deltas = new Float64Array(rows.length);
  const at = (frame: number, c: number) => rows[Math.min(Math.max(frame, 0), frames - 1) * CEPSTRA + c]!;
  for (let frame = 0; frame < frames; frame++) {
    for (let c = 0; c < CEPSTRA; c++) {
      const near = at(frame + 1, c) - at(frame - 1, c);
      const far = at(frame + 2, c) - at(frame - 2, c);
      deltas[frame * CEPSTRA + c] = (near + 2 * far) / 10;
    }
  }
  return deltas;
}

/** Writes the 13 cepstra of the window that starts at `first`. */
function frameAnalyser(): (samples: Float32Array, first: number, cepstra: Float64Array) => void {
  const window = poveyWindow();
  const bands = melBands();
  const cosines = lifteredCosines();
  const fft = new FFT(FFT_SAMPLES);
  const frame = new Array<number>(FFT_SAMPLES).fill(0);
  const spectrum = fft.createComplexArray();
  const logMel = new Float64Array(MEL_BANDS);
  return (samples, first, cepstra) => {
    let sum = 0;
    for (let i = 0; i < WINDOW_SAMPLES; i++) sum += samples[first + i]!;
    const offset = sum / WINDOW_SAMPLES;
    // The sample before the first is taken to be the first.
    let previous = samples[first]! - offset;
    for (let i = 0; i < WINDOW_SAMPLES; i++) {
      const value = samples[first + i]! - offset;
      frame[i] = (value - PREEMPHASIS * previous) * window[i]!;
      previous = value;
    }
    fft.realTransform(spectrum, frame);
    for (const [band, { firstBin, weights }] of bands.entries()) {
      let energy = 0;
      for (let i = 0; i < weights.length; i++) {
        const real = spectrum[2 * (firstBin + i)]!;
        const imaginary = spectrum[2 * (firstBin + i) + 1]!;
        energy += weights[i]! * (real * real + imaginary * imaginary);
      }
      logMel[band] = Math.log(Math.max(energy, LOG_FLOOR));
    }
    for (let c = 0; c < CEPSTRA; c++) {
      let value = 0;
      for (let band = 0; band < MEL_BANDS; band++) value += cosines[c * MEL_BANDS + band]! * logMel[band]!;
      cepstra[c] = value;
    }
  };
}

/** A Hann window to the power 0.85, Kaldi's own. */
function poveyWindow(): Float64Array {
  return Float64Array.from(
    { length: WINDOW_SAMPLES },
    (_, i) => (0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (WINDOW_SAMPLES - 1))) ** 0.85,
  );
}

/** Triangles of equal width on the mel scale, 20 Hz to 8 kHz; each keeps only the bins where it is above zero. */
function melBands(): { firstBin: number; weights: Float64Array }[] {
  const mel = (hertz: number) => 1127 * Math.log(1 + hertz / 700);
  const lowest = mel(LOWEST_HERTZ);
  const width = (mel(SAMPLE_RATE / 2) - lowest) / (MEL_BANDS + 1);
  return Array.from({ length: MEL_BANDS }, (_, band) => {
    const left = lowest + band * width;
    const weights: number[] = [];
    let firstBin = 0;
    for (let bin = 0; bin < FFT_SAMPLES / 2; bin++) {
      const distance = (mel((bin * SAMPLE_RATE) / FFT_SAMPLES) - left) / width;
      const weight = Math.min(distance, 2 - distance);
      if (weight <= 0) continue;
      if (weights.length === 0) firstBin = bin;
      weights.push(weight);
    }
    return { firstBin, weights: Float64Array.from(weights) };
  });
}

/** [13, 23]: the orthonormal DCT-II, each row times its cepstral lifter 1 + 11 sin(π c / 22). */
function lifteredCosines(): Float64Array {
  const cosines = new Float64Array(CEPSTRA * MEL_BANDS);
  for (let c = 0; c < CEPSTRA; c++) {
    const scale = Math.sqrt((c === 0 ? 1 : 2) / MEL_BANDS) * (1 + (LIFTER / 2) * Math.sin((Math.PI * c) / LIFTER));
    for (let band = 0; band < MEL_BANDS; band++) {
      cosines[c * MEL_BANDS + band] = scale * Math.cos((Math.PI / MEL_BANDS) * (band + 0.5) * c);
    }
  }
  return cosines;
}

/** What normalising a waveform needs to know of it. */
export interface WaveformStatistics {
  mean: number;
  /** 1 / sqrt(variance + 1e-7) */
  scale: number;
}

/**
 * Zero mean and unit variance over the utterance, (x - mean) / sqrt(variance + 1e-7), as the feature extractor of
 * transformers does it where `preprocessor_config.json` says `do_normalize`.
 *
 * @param samples [samples] at 16 kHz; not changed
 * @param statistics of the utterance that the samples are a stretch of; absent: they are all of it
 * @returns a new array of the same length
 * @example
 * const input = normalizeWaveform(await loadAudio('speech.wav'));
 */
export function normalizeWaveform(
  samples: Float32Array,
  { mean, scale }: WaveformStatistics = waveformStatistics(samples),
): Float32Array {
  return samples.map((value) => (value - mean) * scale);
}

/** Mean and scale of an utterance. */
export function waveformStatistics(samples: Float32Array): WaveformStatistics {
  const count = samples.length;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += samples[i]!;
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < count; i++) {
    const off = samples[i]! - mean;
    squares += off * off;
  }
  return { mean, scale: 1 / Math.sqrt(squares / count + 1e-7) };
}

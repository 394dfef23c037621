/** By what a waveform is brought to zero mean and unit variance: (x - mean) · scale. */
export interface WaveformStatistics {
  mean: number;
  /** 1 / sqrt(variance + 1e-7), as in the feature extractor of transformers. */
  scale: number;
}

/**
 * Of an utterance that goes through the model in windows; one that goes through it whole is normalised on the device.
 *
 * @param samples f32 at 16 kHz, all of the utterance's
 * @example
 * const statistics = waveformStatistics(samples);
 * const batch = packSamples([samples.subarray(0, 16_000)], stride, { normalize: [statistics] });
 */
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

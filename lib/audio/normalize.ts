/**
 * Zero mean and unit variance over the utterance, (x - mean) / sqrt(variance + 1e-7), as the feature extractor of
 * transformers does it where `preprocessor_config.json` says `do_normalize`.
 *
 * @param samples [samples] at 16 kHz; not changed
 * @returns a new array of the same length
 * @example
 * const input = normalizeWaveform(await loadAudio('speech.wav'));
 */
export function normalizeWaveform(samples: Float32Array): Float32Array {
  let sum = 0;
  for (const value of samples) sum += value;
  const mean = sum / samples.length;
  let squares = 0;
  for (const value of samples) squares += (value - mean) ** 2;
  const scale = 1 / Math.sqrt(squares / samples.length + 1e-7);
  return samples.map((value) => (value - mean) * scale);
}

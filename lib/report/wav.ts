import { wavFile } from '../audio/wavFile.js';

/** 16 kHz mono samples as a 16-bit PCM WAV file in a `data:` URL. */
export function wavDataUrl(samples: Float32Array): string {
  const rounded = Int16Array.from(samples, (sample) => Math.round(Math.min(Math.max(sample, -1), 1) * 32767));
  return `data:audio/wav;base64,${wavFile(rounded, 16000).toString('base64')}`;
}

import { checkFinite, decodeAudio } from './decode.js';
import { resample } from './resample.js';
import type { AudioRange } from './types.js';

/**
 * Loads speech as the models take it: 16 kHz, mono (the mean of the channels), full scale at ±1, not normalised. The
 * same file gives the same bits.
 *
 * @param path a WAV or FLAC file of any rate and channel count
 * @param range the stretch wanted, in seconds; an end up to 0.1 s past the file's is the file's
 * @throws as decodeAudio
 * @example
 * const samples = await loadAudio('dialogue.wav', { startSeconds: 12.4, endSeconds: 15.1 });
 */
export async function loadAudio(path: string, range: AudioRange = {}): Promise<Float32Array> {
  const { channels, sampleRate } = await decodeAudio(path, range);
  const samples = await resample(mixToMono(channels), sampleRate);
  // Enormous floats can overflow on the way.
  checkFinite(samples, path);
  return samples;
}

function mixToMono(channels: Float32Array[]): Float32Array {
  if (channels.length === 1) return channels[0];
  const mono = new Float32Array(channels[0].length);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    mono[i] = sum / channels.length;
  }
  return mono;
}

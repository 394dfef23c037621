import type { AudioInput } from '../audio/input.js';
import { newFloats } from '../model/floats.js';
import { ownBytes, ownFloats } from '../ownCopy.js';

/**
 * Audio that nobody else can change while it is worked on: samples and bytes are copied, once; streams copy their parts as they come.
 *
 * @throws `ERR_ARGUMENT` when the buffer is detached or has shrunk
 */
export function ownInput(input: AudioInput): AudioInput {
  if (input instanceof Float32Array) return ownFloats(input, 'the samples', newFloats);
  return input instanceof Uint8Array ? ownBytes(input, 'the bytes of audio') : input;
}

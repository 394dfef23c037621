import { EmoframeError } from '../errors.js';
import type { ByteSource } from './byteSource.js';
import type { AudioInfo } from './types.js';

/** One format of audio files. All that is known of it is known here, whether its bytes come from a file or in a stream. */
export interface AudioFormat {
  /** Whether a file may be of it whose first 12 bytes, or all that it has, these are. */
  matches(start: Buffer): boolean;
  /**
   * Reads the header, no further than it must.
   *
   * @throws `ERR_AUDIO`, `ERR_AUDIO_FORMAT`
   */
  open(source: ByteSource): Promise<AudioTrack>;
}

/** The sound of an opened file. */
export interface AudioTrack {
  readonly info: AudioInfo;
  /**
   * Its samples to the end, from `start` (in samples of one channel) or from before it: where the source and the format allow, not
   * far before. Call it once.
   *
   * @throws `ERR_AUDIO` where the sound is damaged, or is not as much as the header announces
   */
  blocks(start: number): AsyncGenerator<Block>;
}

/** At most some megabytes of decoded samples. */
export interface Block {
  /** Its first sample, counted in one channel. */
  readonly first: number;
  /** One array a channel, all of one length, full scale at ±1. */
  readonly channels: Float32Array[];
}

/** Makes `ERR_AUDIO` of a kind of file, for one file. */
export type Corrupt = (what: string, cause?: unknown) => EmoframeError;

export function corruptFile(kind: string, name: string): Corrupt {
  return (what, cause) =>
    new EmoframeError('ERR_AUDIO', `${name} is not a valid ${kind} file: ${what}.`, { file: name, cause });
}

/** Blocks one after another, whose first begins at a sample. */
export async function* blocksFrom(start: number, blocks: AsyncIterable<Float32Array[]>): AsyncGenerator<Block> {
  let first = start;
  for await (const channels of blocks) {
    yield { first, channels };
    first += channels[0]!.length;
  }
}

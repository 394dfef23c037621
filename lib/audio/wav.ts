// WAV is read here rather than by a package: the packages on npm that are kept up scale positive samples by 1/32767
// (libsndfile, sox and torchaudio use 1/32768, so a model would see other numbers than it was trained on) and take a
// truncated file for a short one; and none can read ten seconds from the middle of an hour without decoding the hour.
import { EmoframeError } from '../errors.js';
import type { ByteSource } from './byteSource.js';
import { type AudioFormat, type AudioTrack, blocksFrom, type Corrupt, corruptFile } from './format.js';

const FORMAT_PCM = 1;
const FORMAT_FLOAT = 3;
const FORMAT_EXTENSIBLE = 0xfffe;
/** A walk over more chunks than this is a walk through noise. */
const MAX_CHUNKS = 1000;
/** Bytes decoded at once. */
const BLOCK_BYTES = 2 ** 16;
/** Programs that write to a pipe cannot know the size and put a number near the largest: from here on, fewer bytes are no damage. */
const NEARLY_UNKNOWN_SIZE = 0x7ffff000;
/** The numbers of sox and of ffmpeg: more bytes may follow. */
const unknownSizes = [NEARLY_UNKNOWN_SIZE, 0xffffffff];

/** Samples without a header. */
export interface RawFormat {
  /** Signed 16-bit integers or 32-bit floats, little-endian; channels interleaved. */
  encoding: 's16le' | 'f32le';
  /** Samples a second, 1 000 to 192 000. */
  sampleRate: number;
  channels: number;
}

/** How interleaved samples are written. */
interface SampleFormat {
  sampleRate: number;
  channelCount: number;
  encoding: 'pcm' | 'float';
  bitsPerSample: number;
}

export const wav: AudioFormat = {
  matches: (start) => start.toString('latin1', 0, 4) === 'RIFF' && start.toString('latin1', 8, 12) === 'WAVE',
  async open(source) {
    const corrupt = corruptFile('WAV', source.name);
    await source.take(12);
    let format: SampleFormat | undefined;
    for (let chunk = 0; chunk < MAX_CHUNKS; chunk++) {
      const head = await source.take(8);
      if (head.length < 8) break;
      const declared = head.readUInt32LE(4);
      const kind = head.toString('latin1', 0, 4);
      if (kind === 'data') {
        if (format === undefined) throw corrupt('its samples come before their format');
        return openSamples(source, format, declared);
      }
      // Chunks start at even offsets.
      let left = declared + (declared % 2);
      if (kind === 'fmt ') {
        const length = Math.min(declared, 40);
        const bytes = await source.take(length);
        if (bytes.length < length) throw corrupt('it ends inside its format chunk');
        format = parseFormat(bytes, source.name, corrupt);
        left -= bytes.length;
      }
      await source.skip(left);
    }
    throw corrupt(`it has no "${format === undefined ? 'fmt ' : 'data'}" chunk`);
  },
};

/** Samples without a header, to the end of the source. */
export function openRaw(source: ByteSource, { encoding, sampleRate, channels }: RawFormat): AudioTrack {
  const [kind, bitsPerSample] = encoding === 's16le' ? (['pcm', 16] as const) : (['float', 32] as const);
  return openSamples(source, { encoding: kind, bitsPerSample, channelCount: channels, sampleRate }, 0xffffffff);
}

/** Interleaved samples from where the source stands: `declared` bytes, where these are known, or all that come. */
function openSamples(source: ByteSource, format: SampleFormat, declared: number): AudioTrack {
  const { sampleRate, channelCount } = format;
  const frameBytes = (channelCount * format.bitsPerSample) / 8;
  const dataOffset = source.position;
  const mayBeFewer = declared >= NEARLY_UNKNOWN_SIZE;
  let least = mayBeFewer ? frameBytes : declared;
  let most = unknownSizes.includes(declared) ? Number.POSITIVE_INFINITY : declared;
  const corrupt = corruptFile('WAV', source.name);
  const tooFew = (there: number) =>
    there < frameBytes
      ? corrupt('it holds no samples')
      : corrupt(`it is cut short: its header promises ${declared} bytes of samples, ${there} were found`);
  if (source.size !== undefined) {
    const available = source.size - dataOffset;
    if (available < least) throw tooFew(available);
    most = Math.min(most, available);
    least = most;
  }
  if (most < frameBytes) throw tooFew(most);

  async function* samples(): AsyncGenerator<Float32Array[]> {
    let taken = source.position - dataOffset;
    let begun: Buffer = Buffer.alloc(0);
    while (taken < most) {
      const bytes = await source.takeSome(Math.min(BLOCK_BYTES, most - taken));
      if (bytes.length === 0) break;
      taken += bytes.length;
      begun = begun.length === 0 ? bytes : Buffer.concat([begun, bytes]);
      const whole = begun.length - (begun.length % frameBytes);
      if (whole > 0) yield decodeFrames(begun.subarray(0, whole), format);
      begun = begun.subarray(whole);
    }
    if (taken < least) throw tooFew(taken);
  }

  return {
    info: {
      format: 'wav',
      sampleRate,
      channelCount,
      ...(least === most && { sampleCount: Math.floor(most / frameBytes) }),
    },
    blocks(start) {
      const first = source.size === undefined ? 0 : start;
      if (first > 0) source.seek(dataOffset + first * frameBytes);
      return blocksFrom(first, samples());
    },
  };
}

/** The `fmt ` chunk. Throws `ERR_AUDIO` and `ERR_AUDIO_FORMAT`. */
function parseFormat(chunk: Buffer, path: string, corrupt: Corrupt): SampleFormat {
  if (chunk.length < 16) throw corrupt('its format chunk is too short');
  let tag = chunk.readUInt16LE(0);
  const channelCount = chunk.readUInt16LE(2);
  const sampleRate = chunk.readUInt32LE(4);
  const bytesPerFrame = chunk.readUInt16LE(12);
  const bitsPerSample = chunk.readUInt16LE(14);
  if (tag === FORMAT_EXTENSIBLE) {
    if (chunk.length < 40) throw corrupt('its extensible format chunk is too short');
    // The sub-format's identifier starts with the plain tag.
    tag = chunk.readUInt16LE(24);
  }
  const encoding = tag === FORMAT_PCM ? 'pcm' : tag === FORMAT_FLOAT ? 'float' : undefined;
  const widths = encoding === 'float' ? [32, 64] : [8, 16, 24, 32];
  if (encoding === undefined || !widths.includes(bitsPerSample)) {
    throw new EmoframeError(
      'ERR_AUDIO_FORMAT',
      `${path} is a WAV file of format ${tag} with ${bitsPerSample} bits a sample; PCM of 8, 16, 24 or 32 bits and ` +
        'floating point of 32 or 64 bits are supported. Convert it, e.g. with sox, to 16-bit PCM.',
      { file: path },
    );
  }
  if (channelCount === 0 || bytesPerFrame !== (channelCount * bitsPerSample) / 8) {
    throw corrupt(`${channelCount} channels of ${bitsPerSample} bits do not fit ${bytesPerFrame} bytes`);
  }
  return { sampleRate, channelCount, encoding, bitsPerSample };
}

/** Whole frames of interleaved samples to one array a channel; integers are scaled by 2^(1 - bits), as libsndfile does. */
function decodeFrames(block: Buffer, format: SampleFormat): Float32Array[] {
  const { channelCount, bitsPerSample } = format;
  const frames = (8 * block.length) / (channelCount * bitsPerSample);
  const sample = sampleReader(block, format);
  return Array.from({ length: channelCount }, (_, channel) => {
    const output = new Float32Array(frames);
    for (let i = 0; i < frames; i++) output[i] = sample(i * channelCount + channel);
    return output;
  });
}

/** Sample `i` of an interleaved block. */
function sampleReader(block: Buffer, info: SampleFormat): (i: number) => number {
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  if (info.encoding === 'float') {
    return info.bitsPerSample === 32 ? (i) => view.getFloat32(i * 4, true) : (i) => view.getFloat64(i * 8, true);
  }
  switch (info.bitsPerSample) {
    case 8: // The only unsigned width: silence is 128.
      return (i) => (block[i]! - 128) / 2 ** 7;
    case 16:
      return (i) => view.getInt16(i * 2, true) / 2 ** 15;
    case 24:
      return (i) => (view.getUint16(i * 3, true) + view.getInt8(i * 3 + 2) * 2 ** 16) / 2 ** 23;
    default:
      return (i) => view.getInt32(i * 4, true) / 2 ** 31;
  }
}

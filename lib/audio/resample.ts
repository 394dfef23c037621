import libsamplerate from '@alexanderolsen/libsamplerate-js';
import { EmoframeError } from '../errors.js';
import { joinFloats } from '../float32.js';
import { MAX_SAMPLE_RATE, MIN_SAMPLE_RATE } from './limits.js';

/** Samples a second of HuBERT's input. */
export const SAMPLE_RATE = 16_000;

/** Input samples a call into the library; its own buffers end at about a million, in or out. */
const BLOCK_SAMPLES = 2 ** 15;

type Converter = Awaited<ReturnType<typeof libsamplerate.create>>;

/**
 * Resamples with libsamplerate's medium sinc: band-limited, 121 dB of signal to noise, a pass band of 90 %. (Its best one
 * has a pass band of 97 % and takes four times as long.) The same samples give the same bits on any machine.
 *
 * @param samples one channel at `from` samples a second
 * @param from 1 000 to 192 000
 * @param to default 16 000
 * @returns ceil(length · to / from) samples, aligned with the input in time; `samples` itself where the rates agree
 * @throws `ERR_AUDIO_FORMAT` for a rate outside the limits
 * @example
 * const speech = await resample(channel, 44_100);
 */
export async function resample(samples: Float32Array, from: number, to: number = SAMPLE_RATE): Promise<Float32Array> {
  const resampler = await Resampler.open(from, to);
  if (from === to || samples.length === 0) return samples;
  return joinFloats([resampler.push(samples), resampler.finish()]);
}

/**
 * `resample` of audio that comes in parts, however it is cut: joined, the parts that come out have the same bits.
 *
 * @example
 * const resampler = await Resampler.open(48_000);
 * for await (const block of blocks) play(resampler.push(block));
 * play(resampler.finish());
 */
export class Resampler {
  /** Input that waits for a whole block: the library is always called with blocks of one size. */
  readonly #waiting = new Float32Array(BLOCK_SAMPLES);
  #waitingCount = 0;
  #consumed = 0;
  #produced = 0;

  private constructor(
    private readonly from: number,
    private readonly to: number,
    private converter: Converter | undefined,
  ) {}

  /** @throws `ERR_AUDIO_FORMAT` for a rate outside the limits. */
  static async open(from: number, to: number = SAMPLE_RATE): Promise<Resampler> {
    for (const rate of [from, to]) {
      if (!(rate >= MIN_SAMPLE_RATE && rate <= MAX_SAMPLE_RATE)) {
        throw new EmoframeError(
          'ERR_AUDIO_FORMAT',
          `Expected a sample rate of ${MIN_SAMPLE_RATE} to ${MAX_SAMPLE_RATE} but received ${rate}.`,
        );
      }
    }
    return new Resampler(from, to, from === to ? undefined : await takeConverter(from, to));
  }

  /** The next input; gives the output that is ready, which lags behind by up to 2^15 samples of input. */
  push(samples: Float32Array): Float32Array {
    if (this.from === this.to) return samples;
    this.#consumed += samples.length;
    const parts: Float32Array[] = [];
    for (let position = 0; position < samples.length; ) {
      const part = samples.subarray(position, position + BLOCK_SAMPLES - this.#waitingCount);
      this.#waiting.set(part, this.#waitingCount);
      this.#waitingCount += part.length;
      position += part.length;
      if (this.#waitingCount === BLOCK_SAMPLES) parts.push(this.#convert());
    }
    return joinFloats(parts);
  }

  /** The rest of the output, of ceil(input · to / from) samples in all; the resampler is used up. */
  finish(): Float32Array {
    const parts: Float32Array[] = [];
    const wanted = Math.ceil((this.#consumed * this.to) / this.from);
    // The filter looks ahead, so silence after the end brings out its last samples.
    while (this.converter !== undefined && this.#produced < wanted) {
      const before = this.#produced;
      const part = this.#convert();
      parts.push(part.subarray(0, wanted - before));
    }
    this.release();
    return joinFloats(parts);
  }

  /** Gives the library's instance back when the input breaks off; `finish` does so too. */
  release(): void {
    if (this.converter !== undefined) keepConverter(`${this.from}>${this.to}`, this.converter);
    this.converter = undefined;
  }

  #convert(): Float32Array {
    this.#waiting.fill(0, this.#waitingCount);
    // The library gives a view of its own buffer.
    const part = this.converter!.full(this.#waiting.subarray(0, this.#waitingCount || BLOCK_SAMPLES)).slice();
    this.#waitingCount = 0;
    this.#produced += part.length;
    return part;
  }
}

// An instance of the library costs ten milliseconds and some memory: the last few that were given back wait for more work.
const idle: { key: string; converter: Converter }[] = [];
const KEPT_CONVERTERS = 4;

async function takeConverter(from: number, to: number): Promise<Converter> {
  const index = idle.findIndex(({ key }) => key === `${from}>${to}`);
  const [kept] = index < 0 ? [] : idle.splice(index, 1);
  const converterType = libsamplerate.ConverterType.SRC_SINC_MEDIUM_QUALITY;
  const converter = kept?.converter ?? (await libsamplerate.create(1, from, to, { converterType }));
  // Setting a rate, even to what it was, begins anew.
  converter.inputSampleRate = from;
  return converter;
}

function keepConverter(key: string, converter: Converter): void {
  idle.push({ key, converter });
  if (idle.length > KEPT_CONVERTERS) idle.shift();
}

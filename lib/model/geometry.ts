import type { HubertShape } from './binding.js';

/**
 * How samples become frames. For HuBERT's own strides: frame i covers samples [320 i, 320 i + 400) of 16 kHz audio.
 *
 * @example
 * const geometry = new Geometry(config.shape);
 * geometry.frames(16000); // 49
 */
export class Geometry {
  /** Samples a second, everywhere in this package. */
  static readonly sampleRate = 16000;
  /** Samples from one frame to the next (320). */
  readonly stride: number;
  /** Samples that a frame sees (400). */
  readonly receptiveField: number;
  private readonly convolutions: readonly { kernel: number; stride: number }[];

  constructor(shape: Pick<HubertShape, 'convKernel' | 'convStride'>) {
    // There are as many strides as kernels: `parseHubertConfig` sees to it.
    this.convolutions = shape.convKernel.map((kernel, i) => ({ kernel, stride: shape.convStride[i]! }));
    let total = 1;
    let field = 1;
    for (const { kernel, stride } of this.convolutions) {
      field += (kernel - 1) * total;
      total *= stride;
    }
    this.stride = total;
    this.receptiveField = field;
  }

  /** Frames of so many samples; 0 when they are fewer than one receptive field. */
  frames(samples: number): number {
    let length = samples;
    for (const { kernel, stride } of this.convolutions) {
      if (length < kernel) return 0;
      length = Math.floor((length - kernel) / stride) + 1;
    }
    return length;
  }

  /** The fewest samples that give so many frames (at least one). */
  samplesFor(frames: number): number {
    return (frames - 1) * this.stride + this.receptiveField;
  }

  /** Seconds from one frame to the next (0.02). */
  get frameSeconds(): number {
    return this.stride / Geometry.sampleRate;
  }

  /** Middle of frame i in seconds. */
  frameCenterSeconds(i: number): number {
    return (i * this.stride + this.receptiveField / 2) / Geometry.sampleRate;
  }
}

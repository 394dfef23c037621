// What an alignment network is made of, and what of an utterance it hears: frame logits come from a frame's neighbourhood
// alone, so that audio heard through windows gives those of the whole.
import { z } from 'zod';
import type { AlignmentOptions } from './binding.js';

const count = z.int().nonnegative();

/**
 * Settings of an alignment network, as they are kept with a model. `layer`, `chunkFrames` and `contextFrames` count for the sources
 * `hidden` and `layers` alone.
 */
export const alignmentSchema = z
  .strictObject({
    /** Index of the neutral class. */
    neutral: count,
    /**
     * What it reads: `features` of the convolutional encoder, the `hidden` state at `layer`, or a weighted sum of the states of
     * `layers` 0 to `layer`.
     */
    source: z.enum(['features', 'hidden', 'layers']),
    /** 0 is the transformer's input, `output` what the model gives. */
    layer: z.union([count, z.literal('output')], "expected a number of a layer, or 'output'"),
    /** The transformer hears an utterance in chunks of so many frames, counted from its first. */
    chunkFrames: z.int().positive(),
    /** Frames on either side of a chunk that are heard with it. */
    contextFrames: count,
    /** Log-mel bands of the sound that it hears beside its source: 40 are usual, 0 are none. */
    melBands: count.default(0),
    /** Channels within. */
    width: z.int().positive(),
    /** Of each block: frames on either side of a frame that its convolution reads. */
    halfWidths: z.array(count),
    dropout: z.number().min(0).lt(1),
    /** κ: evidence of a frame is κ (z_emotion − z_neutral). */
    scale: z.number().positive(),
    /** Nats: a frame stays in its state with probability σ(switchingCost). */
    switchingCost: z.number().nonnegative(),
    /**
     * What brings sound to the network in place of an utterance's own mean, scale and moments, from which each of its frames
     * would know the whole: those of the training audio.
     */
    statistics: z
      .strictObject({
        /** Samples become (sample − mean) · scale. */
        waveform: z.strictObject({ mean: z.number(), scale: z.number().positive() }),
        /** Of the first convolution's windows, where its norm is over time: mean `[kernel]` and covariance `[kernel · kernel]`. */
        windows: z.strictObject({ mean: z.array(z.number()), covariance: z.array(z.number()) }).optional(),
      })
      .optional(),
  })
  .refine(({ source, layer }) => source !== 'layers' || layer !== 'output', {
    path: ['layer'],
    message: "'layers' are summed up to a number of a layer, not 'output'",
  });

/** An alignment network without its number of classes, which is that of a model's labels. */
export type AlignmentSettings = z.infer<typeof alignmentSchema>;

/** What brings sound to an alignment network. */
export type SoundStatistics = NonNullable<AlignmentSettings['statistics']>;

/** What a model with such a network is made with. */
export function alignmentOptions({ statistics: _, ...network }: AlignmentSettings, classes: number): AlignmentOptions {
  return { classes, ...network };
}

/** What an alignment network hears around a frame. */
export interface AlignmentField {
  /** The most frames on either side of a frame that have a part in its logits. */
  readonly frames: number;
  /** The same in seconds. */
  readonly seconds: number;
  /** Windows of an utterance give its own frame logits where they start at multiples of so many frames, … */
  readonly chunk: number;
  /** … and have so many frames more, on either side, than those that are kept. */
  readonly overlap: number;
}

/**
 * How far an alignment network hears.
 *
 * @param frameSeconds seconds from one frame to the next.
 * @example
 * alignmentField(settings, 0.02).seconds; // 0.4, of three blocks with half-widths 4, 8 and 8 over features
 */
export function alignmentField(
  {
    source,
    chunkFrames,
    contextFrames,
    halfWidths,
  }: Pick<AlignmentSettings, 'source' | 'chunkFrames' | 'contextFrames' | 'halfWidths'>,
  frameSeconds: number,
): AlignmentField {
  const convolutions = halfWidths.reduce((sum, half) => sum + half, 0);
  const chunked = source !== 'features';
  // The first frame of a chunk hears all of it, and what is heard with it.
  const frames = convolutions + (chunked ? chunkFrames - 1 + contextFrames : 0);
  return {
    frames,
    seconds: frames * frameSeconds,
    chunk: chunked ? chunkFrames : 1,
    // Chunks whose context goes beyond the window are not those of the whole.
    overlap: convolutions + (chunked ? Math.ceil(contextFrames / chunkFrames) * chunkFrames : 0),
  };
}

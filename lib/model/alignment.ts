// What an alignment network is made of, and how much of an utterance it sees: frame logits follow from a frame's neighbourhood
// alone, so that audio in windows gives those of the whole.
import { z } from 'zod';
import { listOf } from '../issues.js';
import type { AlignmentOptions } from './binding.js';

/** What brings sound to an alignment network in place of an utterance's own statistics: those of the training audio. */
export interface SoundStatistics {
  /** Samples become (sample − mean) · scale. */
  waveform: { mean: number; scale: number };
  /** Of the first convolution's windows, where its norm is over time: mean `[kernel]` and covariance `[kernel · kernel]`. */
  windows?: { mean: number[]; covariance: number[] } | undefined;
}

/**
 * Settings of an alignment network, as they are kept with a model, without its number of classes, which is that of the model's
 * labels. `layer`, `chunkFrames` and `contextFrames` count for the sources `hidden` and `layers` alone.
 */
export interface AlignmentSettings {
  /** Index of the neutral class. */
  neutral: number;
  /**
   * What it reads: `features` of the convolutional encoder, the `hidden` state at `layer`, or a weighted sum of the states of
   * `layers` 0 to `layer`.
   */
  source: 'features' | 'hidden' | 'layers';
  /** 0 is the transformer's input, `output` what the model gives. */
  layer: number | 'output';
  /** The transformer is run over chunks of so many frames, counted from the utterance's first. */
  chunkFrames: number;
  /** Frames on either side of a chunk that the transformer is given with it. */
  contextFrames: number;
  /** Log-mel bands of the sound that it takes beside its source: 40 are usual, 0 are none. */
  melBands: number;
  /** Channels within. */
  width: number;
  /** Of each block: frames on either side of a frame that its convolution reads. */
  halfWidths: number[];
  dropout: number;
  /** κ: evidence of a frame is κ (z_emotion − z_neutral). */
  scale: number;
  /** Nats: a frame stays in its state with probability σ(switchingCost). */
  switchingCost: number;
  /** Absent: an utterance comes by its own, from which each of its frames knows something of the whole. */
  statistics?: SoundStatistics | undefined;
}

const count = z.int().nonnegative();

/** Checks {@link AlignmentSettings}; those of before log-mel bands have none. @internal */
export const alignmentSchema: z.ZodType<AlignmentSettings> = z
  .strictObject({
    neutral: count,
    source: z.enum(['features', 'hidden', 'layers']),
    layer: z.union([count, z.literal('output')], "expected the number of a layer, or 'output'"),
    chunkFrames: z.int().positive(),
    contextFrames: count,
    melBands: count.default(0),
    width: z.int().positive(),
    halfWidths: listOf(count),
    dropout: z.number().min(0).lt(1),
    scale: z.number().positive(),
    switchingCost: z.number().nonnegative(),
    statistics: z
      .strictObject({
        waveform: z.strictObject({ mean: z.number(), scale: z.number().positive() }),
        windows: z.strictObject({ mean: listOf(z.number()), covariance: listOf(z.number()) }).optional(),
      })
      .optional(),
  })
  .refine(({ source, layer }) => source !== 'layers' || layer !== 'output', {
    path: ['layer'],
    message: "source 'layers' needs the number of the last layer in the sum, not 'output'",
  });

/**
 * What a model with such a network is made with.
 *
 * @example
 * const { config, head } = await loadPretrained('predictor');
 * const alignment = alignmentOptions(head.alignment, head.labels.length);
 * const model = await engine.createModel({ config, precision: 'fp32', alignment });
 */
export function alignmentOptions({ statistics: _, ...network }: AlignmentSettings, classes: number): AlignmentOptions {
  return { classes, ...network };
}

/** What an alignment network sees around a frame. */
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
 * How far around a frame an alignment network sees.
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
  // The states of a chunk's first frame follow from all of the chunk and its context.
  const frames = convolutions + (chunked ? chunkFrames - 1 + contextFrames : 0);
  return {
    frames,
    seconds: frames * frameSeconds,
    chunk: chunked ? chunkFrames : 1,
    // Chunks whose context goes beyond the window are not those of the whole.
    overlap: convolutions + (chunked ? Math.ceil(contextFrames / chunkFrames) * chunkFrames : 0),
  };
}

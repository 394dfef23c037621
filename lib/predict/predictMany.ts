// Many audios, in their order: decoded ahead, in batches, a few batches at once.
import { type AudioInput, audioOf, idOf, isFile } from '../audio/input.js';
import type { AudioPool } from '../audio/pool.js';
import { EmoframeError } from '../errors.js';
import { describe } from '../issues.js';
import { Geometry } from '../model/geometry.js';
import { reasonOf } from '../quote.js';
import type { Inference } from './inference.js';
import type { PredictManyOptions } from './options.js';
import { ownInput } from './ownInput.js';
import type { Prediction, PredictionFailure } from './prediction.js';
import { loadUtterance, predictUtterances, type Utterance } from './utterances.js';
import type { WindowPlan } from './windows.js';
import { type Batch, batchesOf, inFlight, ReadAhead } from './workAhead.js';

/** An input of {@link EmotionModel.predictMany} with a name. */
export interface NamedAudio {
  readonly id: string;
  readonly audio: AudioInput;
}

export type AudioInputs = Iterable<AudioInput | NamedAudio> | AsyncIterable<AudioInput | NamedAudio>;

/** Batches that are given to the engine: one computes while the next is packed and travels to the device. */
const batchesInFlight = 2;
/** Inputs that are taken from their source before their turn. */
const mostAhead = 64;
/** Seconds of decoded audio that are held at least. */
const heldSeconds = 30;

/** An input that is waiting for its turn, or what is wrong with it. */
type Input = NamedAudio | { readonly id: string; readonly failure: EmoframeError };

/** What came of an utterance of a batch. */
type Outcome = Prediction | { id: string; failure: unknown };

/** Predictions in the inputs' order; failures as `onError` says. */
export async function* predictMany(
  inference: Inference,
  pool: AudioPool,
  inputs: AudioInputs,
  plan: WindowPlan,
  settings: PredictManyOptions & { batchSeconds: number },
): AsyncGenerator<Prediction | PredictionFailure, void, undefined> {
  const { batchSeconds } = settings;
  const ahead = new ReadAhead(
    numberInputs(inputs),
    async (input) => {
      if ('failure' in input) throw input.failure;
      return loadUtterance(pool, inference.geometry, input.id, input.audio, settings);
    },
    {
      items: mostAhead,
      working: pool.threads,
      held: Math.max(batchSeconds, heldSeconds) * Geometry.sampleRate,
      size: ({ samples }) => samples.length,
    },
  );
  const budget = batchSeconds * Geometry.sampleRate;
  const batches = batchesOf(ahead, ({ samples }) => samples.length, budget, settings.signal);
  const predictBatch = async (batch: Batch<Input, Utterance>): Promise<Outcome[]> =>
    'error' in batch
      ? [{ id: batch.item.id, failure: batch.error }]
      : predictTogether(inference, batch.results, plan, settings);
  try {
    for await (const outcomes of inFlight(batches, predictBatch, batchesInFlight)) {
      for (const outcome of outcomes) {
        if (!('failure' in outcome)) yield outcome;
        else if (goesOn(outcome.failure, settings)) yield { id: outcome.id, error: outcome.failure };
        else throw outcome.failure;
      }
    }
  } finally {
    ahead.close();
  }
}

/**
 * Predictions of utterances, or of each alone where together they fail: a failure belongs to one of them. The last may be one
 * that ends the iteration.
 */
async function predictTogether(
  inference: Inference,
  group: readonly Utterance[],
  plan: WindowPlan,
  settings: PredictManyOptions,
): Promise<Outcome[]> {
  try {
    return await predictUtterances(inference, group, plan, settings);
  } catch (failure) {
    if (group.length === 1) return [{ id: group[0]!.id, failure }];
  }
  const outcomes: Outcome[] = [];
  for (const utterance of group) {
    const [outcome] = await predictTogether(inference, [utterance], plan, settings);
    outcomes.push(outcome!);
    if ('failure' in outcome! && !goesOn(outcome.failure, settings)) break;
  }
  return outcomes;
}

/** Every input with an id: its own, a file's name without its ending, or its number from 0. */
async function* numberInputs(inputs: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<Input> {
  let index = 0;
  if (Symbol.asyncIterator in inputs) for await (const input of inputs) yield named(input, index++);
  // Without `await`, which looks for a promise in each: what is wrong with an input is to be its own.
  else for (const input of inputs) yield named(input, index++);
}

function named(input: unknown, index: number): Input {
  let id: unknown;
  try {
    const own = isNamed(input);
    if (own) id = input.id;
    if (own && typeof id !== 'string') {
      throw new EmoframeError('ERR_ARGUMENT', `Expected text for id but received ${describe(id)}.`);
    }
    const audio = ownInput(audioOf(own ? input.audio : input));
    return { id: typeof id === 'string' ? id : isFile(audio) ? idOf(audio) : String(index), audio };
  } catch (error) {
    const message = `Input ${index}, counted from 0, cannot be used: ${reasonOf(error)}`;
    return {
      id: typeof id === 'string' ? id : String(index),
      failure: new EmoframeError('ERR_ARGUMENT', message.replace(/\.?$/, '.'), { cause: error }),
    };
  }
}

/** @throws `ERR_ARGUMENT` for what holds no inputs */
export function checkIterable(inputs: unknown): void {
  let iterable = false;
  try {
    iterable =
      typeof inputs === 'object' && inputs !== null && (Symbol.iterator in inputs || Symbol.asyncIterator in inputs);
  } catch {
    // A proxy.
  }
  // Samples and bytes can be iterated over too, but are one audio.
  if (iterable && !ArrayBuffer.isView(inputs)) return;
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `Expected an iterable of audio for inputs but received ${ArrayBuffer.isView(inputs) ? 'one audio' : describe(inputs)}.`,
  );
}

function isNamed(input: unknown): input is { id: unknown; audio: unknown } {
  return typeof input === 'object' && input !== null && 'audio' in input && 'id' in input;
}

/** Whether a failure is that of one audio, and the others are to go on. */
function goesOn(error: unknown, { onError }: PredictManyOptions): error is EmoframeError {
  return onError === 'yield' && error instanceof EmoframeError && !['ERR_ABORTED', 'ERR_DISPOSED'].includes(error.code);
}

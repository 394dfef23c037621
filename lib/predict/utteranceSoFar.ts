import { type Head, poolingOf } from '../checkpoint/head.js';
import { fusedLogits } from '../evaluate/fusion.js';
import { IslandForward } from '../evaluate/islandForward.js';
import type { ClassifyResult } from '../model/binding.js';
import { PooledStretches } from './pooledStretches.js';

/** What decides on an utterance that is heard part by part: its pooled classifier, its alignment network, or both. */
export class UtteranceSoFar {
  /** Of a head with a pooled classifier. */
  readonly pooled: PooledStretches | undefined;
  readonly #islands: IslandForward | undefined;

  constructor(private readonly head: Head) {
    const bias = head.tensors.find(({ name }) => name === 'alignment.utterance_bias');
    this.pooled = poolingOf(head) === undefined ? undefined : new PooledStretches(head);
    this.#islands = head.alignment === undefined ? undefined : new IslandForward(bias!.data, head.alignment);
  }

  /** The next part, classified alone. */
  add(result: ClassifyResult): void {
    this.pooled?.add(result);
    if (result.alignment !== undefined) this.#islands?.push(result.alignment.frameLogits);
  }

  /** `[classes]`, of all parts so far. */
  logits(): Float32Array {
    return fusedLogits(
      {
        ...(this.pooled !== undefined && { classifier: this.pooled.logits() }),
        ...(this.#islands !== undefined && { alignment: this.#islands.logits() }),
      },
      this.head.calibration,
    );
  }
}

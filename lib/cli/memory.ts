import { mebibytes } from '../model/memory.js';
import type { PredictionMemory } from '../predict/passMemory.js';

/** The most memory that prediction or encoding needs, for a note before the first audio. */
export function describeMemory({ weights, passes, total, available }: PredictionMemory, device: string): string {
  const needs = `needs at most ${mebibytes(total)} on ${device} (${mebibytes(weights)} of weights, ${mebibytes(passes)} for passes), ${mebibytes(available)} available`;
  return total <= available
    ? needs
    : `${needs}: audio that does not fit will be refused, and a lower --window-seconds makes it fit`;
}

import { EmoframeError } from '../errors.js';
import { allFinite } from '../float32.js';
import type { StoredTensor, Tensor } from '../model/tensor.js';
import { yieldWhenDue } from '../yield.js';

/** Values that are checked without a break: a fraction of a millisecond, some more before V8 has compiled the loop. */
const chunk = 1 << 16;

/**
 * Refuses tensors that hold NaN or infinities, of which a single one makes every result NaN. This takes a fraction of the time of
 * reading them. Errors: `ERR_NOT_FINITE` with the tensor, how many there are and the first.
 *
 * @param holder what holds the tensors, for the message
 */
export async function checkFinite(tensors: Iterable<Tensor>, holder: string, file?: string): Promise<void> {
  for (const { name, data } of tensors) {
    let index = -1;
    let count = 0;
    for (let first = 0; first < data.length; first += chunk) {
      await yieldWhenDue();
      const part = data.subarray(first, first + chunk);
      if (allFinite(part)) continue;
      for (let i = 0; i < part.length; i++) {
        if (Number.isFinite(part[i])) continue;
        if (count === 0) index = first + i;
        count++;
      }
    }
    if (count === 0) continue;
    throw new EmoframeError(
      'ERR_NOT_FINITE',
      `Tensor ${name} of ${holder} has ${count} values that are not finite numbers, the first (${data[index]}) at index ${index}.`,
      { tensor: name, file },
    );
  }
}

/** The same tensors, each checked when it is read. Errors of reading: as {@link checkFinite}. */
export function checkedWhenRead(
  tensors: Iterable<Tensor | StoredTensor>,
  holder: string,
  file?: string,
): StoredTensor[] {
  return [...tensors].map((tensor) => ({
    name: tensor.name,
    shape: tensor.shape,
    read: async (into) => {
      const data = 'read' in tensor ? await tensor.read(into) : tensor.data;
      await checkFinite([{ name: tensor.name, shape: tensor.shape, data }], holder, file);
      return data;
    },
  }));
}

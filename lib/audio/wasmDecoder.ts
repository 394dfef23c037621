import type { Corrupt } from './format.js';

/** Runs a decoder, which prints its errors besides returning them; ours are thrown. All its work is done before it first waits. */
function quietly<Result>(work: () => Result): Result {
  const print = console.error;
  console.error = () => undefined;
  try {
    return work();
  } finally {
    console.error = print;
  }
}

/** What a decoder answers. Throws what `corrupt` makes of its failing. */
export async function answerOf<Result>(work: () => Result | Promise<Result>, corrupt: Corrupt): Promise<Result> {
  try {
    return await quietly(work);
  } catch (error) {
    throw corrupt('the decoder stopped', error);
  }
}

/** An answer. */
export interface Answer {
  channelData: Float32Array[];
  samplesDecoded: number;
  errors: { message: string }[];
}

/** The channels of an answer; none when it holds no samples. Throws what `corrupt` makes of the decoder's first error, or of its failing. */
export async function channelsOf(work: () => Answer | Promise<Answer>, corrupt: Corrupt): Promise<Float32Array[]> {
  const { errors, channelData, samplesDecoded } = await answerOf(work, corrupt);
  if (errors.length > 0) throw corrupt(`the decoder says: ${errors[0]!.message}`);
  // Without samples, the number of channels may not be known.
  return samplesDecoded === 0 ? [] : channelData.map((channel) => channel.subarray(0, samplesDecoded));
}

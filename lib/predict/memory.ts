import { EmoframeError } from '../errors.js';

/** What prediction does when the device's memory does not suffice: it says what lowers the need. The model stays usable. */
export async function withinMemory<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof EmoframeError) || error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    throw new EmoframeError(
      error.code,
      `${error.message} To make it fit, lower windowSeconds (--window-seconds) or batchSeconds (--batch-seconds), or use precision bf16.`,
      { cause: error },
    );
  }
}

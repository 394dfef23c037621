// What goes wrong first is what a user must know: that something could then not be closed follows from it, and must not take its place.
import { closeSync } from 'node:fs';

/** What `use` makes of something that is open, which is closed then. Where both fail, the error is that of `use`. */
export async function closeAfter<Result>(
  opened: { close(): Promise<void> },
  use: () => Promise<Result>,
): Promise<Result> {
  let result: Result;
  try {
    result = await use();
  } catch (error) {
    await opened.close().catch(() => undefined);
    throw error;
  }
  await opened.close();
  return result;
}

/** What `use` makes of a descriptor, which stays open; where that fails, it is closed. */
export function orCloseNow<Result>(descriptor: number, use: () => Result): Result {
  try {
    return use();
  } catch (error) {
    closeQuietly(descriptor);
    throw error;
  }
}

/** Closes what nothing was written through, or of which something worse is told. */
export function closeQuietly(descriptor: number): void {
  try {
    closeSync(descriptor);
  } catch {
    // It is gone all the same.
  }
}

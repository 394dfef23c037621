// What goes wrong first is what a user must know: that something could then not be closed follows from it, and must not take its place.

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

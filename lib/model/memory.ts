/** What a device can give; a CPU does not know, but the system does. */
export function availableBytes(device: string, said: number): number {
  return device === 'cpu' ? Math.min(said, process.availableMemory()) : said;
}

/** For messages, e.g. `1234 MiB`. */
export function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

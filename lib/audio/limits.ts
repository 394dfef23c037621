/**
 * Bounds on what one audio file may make this package hold in memory. They are far above any corpus of utterances (2^28
 * samples are 4.6 hours of 16 kHz mono) and exist so that a broken or hostile header is an error, never an exhausted
 * machine. For a long recording, ask for a stretch of it: only that stretch counts.
 */
export const MAX_DECODED_SAMPLES = 2 ** 28;

/** A compressed file is read whole, so its size is bounded too: 512 MiB. */
export const MAX_COMPRESSED_BYTES = 512 * 2 ** 20;

/** Sample rates that the resampler can take. */
export const MIN_SAMPLE_RATE = 1000;
export const MAX_SAMPLE_RATE = 192_000;

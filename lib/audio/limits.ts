/**
 * The most that one audio may make this package hold in memory, in samples of 16 kHz mono: 2^28 are 4.6 hours, 1 GiB. It is
 * far above any corpus of utterances, and exists so that a broken or hostile header is an error, never an exhausted
 * machine. For a longer recording, ask for a part of it: only that part counts.
 */
export const MAX_SAMPLES = 2 ** 28;

/** Sample rates that the resampler can take. */
export const MIN_SAMPLE_RATE = 1000;
export const MAX_SAMPLE_RATE = 192_000;

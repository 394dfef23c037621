/** How the learning rate of an update follows from its number. */
export interface Schedule {
  /** `linear`: falls to 0 after the last update; `constant`: stays at the peak. */
  decay: 'linear' | 'constant';
  warmupUpdates: number;
  updates: number;
}

/**
 * Share of the peak learning rate at an update (from 0): linear warm-up, then linear decay or constant. It is the lambda of
 * transformers' `get_linear_schedule_with_warmup`, with the warm-up one update ahead, so that no update is spent on a rate
 * of 0: the warm-up's last update has the peak.
 *
 * @example
 * learningRateShare(0, { decay: 'linear', warmupUpdates: 4000, updates: 20000 }); // 1 / 4000
 */
export function learningRateShare(update: number, { decay, warmupUpdates, updates }: Schedule): number {
  if (update < warmupUpdates) return (update + 1) / warmupUpdates;
  return decay === 'constant' ? 1 : (updates - update) / (updates - warmupUpdates);
}

// Waiting that ends when a signal fires.
import { aborted } from './errors.js';

/** What is to be called when a signal fires: however much waits for one signal, it has one listener, since Node warns of many. */
const waiting = new WeakMap<AbortSignal, Set<() => void>>();

/** Calls `stop` once when a signal fires that has not fired yet; gives what takes that back. */
export function onAbort(signal: AbortSignal, stop: () => void): () => void {
  const stops = waiting.get(signal) ?? listen(signal);
  // A function of its own for each call, so that one that is given twice is called twice.
  const own = () => stop();
  stops.add(own);
  return () => {
    if (stops.delete(own) && stops.size === 0) signal.removeEventListener('abort', callAll);
    if (stops.size === 0 && waiting.get(signal) === stops) waiting.delete(signal);
  };
}

function listen(signal: AbortSignal): Set<() => void> {
  const stops = new Set<() => void>();
  waiting.set(signal, stops);
  signal.addEventListener('abort', callAll, { once: true });
  return stops;
}

function callAll({ currentTarget }: Event): void {
  const signal = currentTarget as AbortSignal;
  const stops = waiting.get(signal);
  waiting.delete(signal);
  for (const stop of stops ?? []) stop();
}

/** Waits for work, but not longer than until the signal fires: then it throws `ERR_ABORTED`, and the work's result is dropped. */
export async function unlessAborted<Result>(work: Promise<Result>, signal: AbortSignal | undefined): Promise<Result> {
  if (signal === undefined) return work;
  let forget: (() => void) | undefined;
  try {
    return await new Promise<Result>((succeed, fail) => {
      work.then(succeed, fail);
      if (signal.aborted) fail(aborted(signal));
      else forget = onAbort(signal, () => fail(aborted(signal)));
    });
  } finally {
    forget?.();
  }
}

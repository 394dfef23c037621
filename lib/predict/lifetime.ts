// From the loading of a model to its disposal: the calls that go on are known, so that they end with it.
import { onAbort } from '../abort.js';
import { aborted, EmoframeError, stopWithError, throwIfAborted } from '../errors.js';

/** A call that goes on. */
export interface Call {
  /** Fires with the call's own signal, with the disposal, and when the call is over. */
  readonly signal: AbortSignal;
  /** The call is over: whatever it has begun and nobody waits for is stopped. */
  end(): void;
}

const over = aborted(undefined);

/** The calls of a model. */
export class Lifetime {
  readonly #calls = new Set<AbortController>();
  #disposed = false;

  /** `what` was disposed of, in errors: "model". */
  constructor(private readonly what: string) {}

  /** @throws `ERR_DISPOSED` */
  check(): void {
    if (this.#disposed) throw this.#error();
  }

  /** @throws `ERR_DISPOSED`; `ERR_ABORTED` where the signal has fired */
  begin(signal: AbortSignal | undefined): Call {
    this.check();
    throwIfAborted(signal);
    const stop = stopWithError();
    this.#calls.add(stop);
    const forget = signal && onAbort(signal, () => stop.abort(aborted(signal)));
    return {
      signal: stop.signal,
      end: () => {
        forget?.();
        this.#calls.delete(stop);
        stop.abort(over);
      },
    };
  }

  /** Work as a call. @throws as `begin`, and what `work` does */
  async run<Result>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const call = this.begin(signal);
    try {
      return await work(call.signal);
    } finally {
      call.end();
    }
  }

  /** Ends all calls, with `ERR_DISPOSED`. */
  end(): void {
    this.#disposed = true;
    const error = this.#error();
    for (const stop of this.#calls) stop.abort(error);
    this.#calls.clear();
  }

  #error(): EmoframeError {
    return new EmoframeError('ERR_DISPOSED', `The ${this.what} was disposed of: load it again to go on.`);
  }
}

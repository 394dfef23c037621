import { printable } from './quote.js';

/** Where an error lies, as far as it is known. */
export interface ErrorContext {
  /** The file concerned. */
  file?: string | undefined;
  /** 1-based row or line in `file`. */
  row?: number | undefined;
  /** The tensor concerned. */
  tensor?: string | undefined;
  cause?: unknown;
}

/** Codes of {@link EmoframeError}, each with its meaning in `docs/errors.md`. */
export const errorCodes = [
  'ERR_ABORTED',
  'ERR_ADDON',
  'ERR_ARGUMENT',
  'ERR_AUDIO',
  'ERR_AUDIO_CACHE',
  'ERR_AUDIO_FORMAT',
  'ERR_AUDIO_LIMIT',
  'ERR_AUDIO_RANGE',
  'ERR_AUDIO_SHORT',
  'ERR_AUDIO_WORKER',
  'ERR_BATCH',
  'ERR_CHECKPOINT',
  'ERR_CHECKPOINT_DAMAGED',
  'ERR_CLUSTERS',
  'ERR_CONFIG',
  'ERR_CORPUS',
  'ERR_DEMO',
  'ERR_DEVICE',
  'ERR_DEVICE_DRIVER',
  'ERR_DEVICE_FAULT',
  'ERR_DEVICE_UNSUPPORTED',
  'ERR_DISPOSED',
  'ERR_DOWNLOAD',
  'ERR_FILE_NOT_FOUND',
  'ERR_FOLDS',
  'ERR_HEAD',
  'ERR_HUB',
  'ERR_INTERNAL',
  'ERR_LABEL',
  'ERR_MODEL_CONFIG',
  'ERR_NOT_FINITE',
  'ERR_NPY',
  'ERR_OUT_OF_MEMORY',
  'ERR_PICKLE',
  'ERR_READ',
  'ERR_RUN_EXISTS',
  'ERR_RUN_INCOMPLETE',
  'ERR_RUN_IN_USE',
  'ERR_RUN_MISMATCH',
  'ERR_STAGE',
  'ERR_TENSOR',
  'ERR_USAGE',
  'ERR_WRITE',
] as const;

/** One of the codes in `docs/errors.md`. */
export type EmoframeErrorCode = (typeof errorCodes)[number];

/** Whether an error of somewhere else carries one of this package's codes. */
export function isErrorCode(code: unknown): code is EmoframeErrorCode {
  return errorCodes.some((known) => known === code);
}

/**
 * The one error class of this package. `code` is stable and documented in `docs/errors.md`; `message` says what is wrong
 * and what to do.
 *
 * @example
 * try {
 *   await loadPretrained('missing');
 * } catch (error) {
 *   if (error instanceof EmoframeError && error.code === 'ERR_FILE_NOT_FOUND') console.error(error.message);
 * }
 */
export class EmoframeError extends Error {
  override readonly name = 'EmoframeError';
  readonly code: EmoframeErrorCode;
  readonly file?: string;
  readonly row?: number;
  readonly tensor?: string;

  constructor(code: EmoframeErrorCode, message: string, context: ErrorContext = {}) {
    // Messages name and quote what files hold.
    super(printable(message), context.cause === undefined ? undefined : { cause: context.cause });
    this.code = code;
    if (context.file !== undefined) this.file = context.file;
    if (context.row !== undefined) this.row = context.row;
    if (context.tensor !== undefined) this.tensor = context.tensor;
  }
}

/** Throws `ERR_ABORTED` when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted(signal);
}

/** Signals whose reason is what the work that they stop is to throw. */
const withErrors = new WeakSet<AbortSignal>();

/** Stops work with an error: `abort` is to be given the `EmoframeError` that the work then throws. */
export function stopWithError(): AbortController {
  const controller = new AbortController();
  withErrors.add(controller.signal);
  return controller;
}

/** What work throws that a signal stops. */
export function aborted(signal: AbortSignal | undefined): EmoframeError {
  if (signal !== undefined && withErrors.has(signal)) return signal.reason as EmoframeError;
  return new EmoframeError('ERR_ABORTED', 'The work was stopped on request.', { cause: signal?.reason });
}

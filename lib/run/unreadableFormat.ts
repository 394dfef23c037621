import { z } from 'zod';
import type { UnreadableUtterance } from '../corpus/unreadable.js';
import { type EmoframeErrorCode, isErrorCode } from '../errors.js';
import type { Shape } from '../issues.js';

/** An utterance that a run leaves out, in `skipped.json` and `summary.json`. */
export const unreadableSchema = z.looseObject({
  id: z.string(),
  file: z.string(),
  code: z.custom<EmoframeErrorCode>(isErrorCode, 'Expected the code of an error'),
  reason: z.string(),
} satisfies Shape<UnreadableUtterance>);

// What a schema finds wrong, in sentences that say what was expected and what was received.
import { z } from 'zod';
import { EmoframeError } from './errors.js';
import { isObject } from './files/json.js';
import { isList, quoted, reasonOf } from './quote.js';

/**
 * Options as a call takes them.
 *
 * @throws `ERR_ARGUMENT` with the option's name, what was expected and what was received
 */
export function parseOptions<Value>(schema: z.ZodType<Value>, options: unknown): Value {
  let result: z.ZodSafeParseResult<Value>;
  try {
    result = schema.safeParse(options, { reportInput: true });
  } catch (error) {
    // A property that throws when it is read.
    throw new EmoframeError('ERR_ARGUMENT', `The options cannot be read: ${reasonOf(error)}.`, { cause: error });
  }
  if (result.success) return result.data;
  throw new EmoframeError('ERR_ARGUMENT', result.error.issues.map((issue) => explain(issue, 'option')).join(' '));
}

/** An option that stops the work. */
export const abortSignal = z.custom<AbortSignal>((value) => value instanceof AbortSignal, 'Expected an AbortSignal');

/** An option that is a function, whatever it takes. */
export function callback<Call extends (...args: never[]) => void>() {
  return z.custom<Call>((value) => typeof value === 'function', 'Expected a function');
}

/**
 * The fields of an options interface, one entry each: neither can change without the other.
 *
 * @example
 * strictOptions({ signal: abortSignal.exactOptional() } satisfies Shape<CallOptions>);
 */
export type Shape<T> = { [K in keyof Required<T>]: z.ZodType<Required<T>[K]> };

/** An object with values of one kind under any names; zod's own record passes over one that is called `__proto__`. */
export function byName<Value>(schema: z.ZodType<Value>) {
  return z
    .custom<Record<string, Value>>(isObject, 'Expected an object')
    .superRefine((values, context) => checkEach(Object.entries(values), schema, context));
}

/**
 * A list of any length, of which the first that are wrong are told. zod's own array tells all: seconds for a million, and a RangeError
 * where it hands so many on as arguments.
 */
export function listOf<Value>(schema: z.ZodType<Value>) {
  return z
    .custom<Value[]>(isList, 'Invalid input: expected array')
    .superRefine((values, context) => checkEach(values.entries(), schema, context));
}

/** More than is ever shown. @internal */
export const mostIssues = 100;

function checkEach(
  entries: Iterable<[string | number, unknown]>,
  schema: z.ZodType,
  context: { addIssue(issue: { code: 'custom'; message: string; path: PropertyKey[] }): void },
): void {
  let found = 0;
  for (const [key, value] of entries) {
    const issues = schema.safeParse(value).error?.issues ?? [];
    for (const { message, path } of issues) context.addIssue({ code: 'custom', message, path: [key, ...path] });
    found += issues.length;
    if (found >= mostIssues) return;
  }
}

/** Options of these fields and no others. One that is given as `undefined` is absent, so that the types say what there is. */
export function strictOptions<Fields extends z.ZodRawShape>(fields: Fields) {
  const given = ([name, value]: [string, unknown]) => value !== undefined || !Object.hasOwn(fields, name);
  return z.preprocess(
    (options) => (isObject(options) ? Object.fromEntries(Object.entries(options).filter(given)) : options),
    z.strictObject(fields),
  );
}

/** One issue as a sentence. `kind`: what a field is called here. */
export function explain(issue: z.core.$ZodIssue, kind: string): string {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => (path === '' ? key : `${path}.${key}`));
    return `There is no ${kind} ${names.map((name) => `'${name}'`).join(', ')}.`;
  }
  if (issue.code === 'custom') return `${issue.message} for ${path}.`;
  return `Expected ${expected(issue)} for ${path === '' ? `the ${kind}s` : path} but received ${describe(issue.input)}.`;
}

/** A value as a message shows it. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null || isList(value)) return quoted(value);
  return `${quoted(value)} of type ${typeof value}`;
}

function expected(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int'
        ? 'an integer'
        : `${/^[aeiou]/.test(issue.expected) ? 'an' : 'a'} ${issue.expected}`;
    case 'invalid_value':
      return `one of ${issue.values.map((value) => `'${String(value)}'`).join(', ')}`;
    case 'too_small':
      return issue.origin === 'array'
        ? `at least ${issue.minimum} items`
        : `a value ${issue.inclusive ? 'of at least' : 'above'} ${issue.minimum}`;
    case 'too_big':
      return `a value ${issue.inclusive ? 'of at most' : 'below'} ${issue.maximum}`;
    default:
      return issue.message;
  }
}

const shown = 3;

/** What is wrong with a file's content, on one line: the first three places, and how many more there are. */
export function describeIssues({ issues }: z.ZodError): string {
  const reasons = issues.slice(0, shown).map(({ path, message }) => {
    const place = path.map(String).join('.');
    return place === '' ? message : `${place}: ${message}`;
  });
  if (issues.length >= mostIssues) return `${reasons.join('; ')}; and many more`;
  return `${reasons.join('; ')}${issues.length > shown ? `; and ${issues.length - shown} more` : ''}`;
}

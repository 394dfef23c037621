// Which classes an experiment has, and which of a corpus's labels each of them stands for.
import { EmoframeError } from '../errors.js';
import { quoted } from '../quote.js';
import { yieldWhenDue } from '../yield.js';
import type { Corpus, Segment, Utterance } from './types.js';

/** The scheme that takes every label as a class of its own. */
export const EVERY_LABEL = 'all';

/** A scheme as it is applied. */
export interface LabelScheme {
  /** The name that was asked for, or the classes written out. */
  name: string;
  /** The class of each label; absent: every label is its own. */
  classes?: ReadonlyMap<string, string>;
}

/** What a dataset knows of its labels. */
export interface KnownSchemes {
  /** Classes of each named scheme, as {@link parseLabelScheme} takes them. */
  schemes: Readonly<Record<string, string>>;
  /** Labels that say that there is none, such as IEMOCAP's `xxx`; `all` has no class for them. */
  unlabelled: readonly string[];
}

const NONE: KnownSchemes = { schemes: {}, unlabelled: [] };

/**
 * Reads a scheme: `all`, a name that the dataset knows, or classes separated by commas, each of which may be made of several
 * labels: `ang,hap=hap+exc,neu,sad`.
 *
 * @throws `ERR_ARGUMENT` saying what was expected
 */
export function parseLabelScheme(text: string, known: KnownSchemes = NONE): LabelScheme {
  if (text === EVERY_LABEL) return { name: text };
  const [, scheme = text] = Object.entries(known.schemes).find(([name]) => name === text) ?? [];
  return { name: text, classes: parseClasses(scheme, known) };
}

function parseClasses(text: string, known: KnownSchemes): Map<string, string> {
  const refuse = (reason: string) => {
    const names = [EVERY_LABEL, ...Object.keys(known.schemes)].join(', ');
    return new EmoframeError(
      'ERR_ARGUMENT',
      `Expected one of ${names}, or at least 2 classes such as ang,hap=hap+exc,neu, for labels but received ${quoted(text)}: ${reason}.`,
    );
  };
  const classes = new Map<string, string>();
  const names = new Set<string>();
  for (const part of text.split(',')) {
    const [name = '', sum, ...rest] = part.split('=').map((word) => word.trim());
    if (name === '' || rest.length > 0) throw refuse(`${quoted(part)} is not a class`);
    if (names.has(name)) throw refuse(`class ${name} is there twice`);
    names.add(name);
    for (const label of sum === undefined ? [name] : sum.split('+').map((word) => word.trim())) {
      if (label === '') throw refuse(`${quoted(part)} lacks a label`);
      if (classes.has(label)) throw refuse(`label ${label} is in two classes`);
      classes.set(label, name);
    }
  }
  if (names.size < 2) throw refuse('that is neither');
  return classes;
}

/** What becomes of utterances whose label is in no class. */
export const OTHERS = ['leave-out', 'pretrain'] as const;
export type Others = (typeof OTHERS)[number];

/**
 * Gives utterances the classes of a scheme. Those of other labels are left out and counted, or stay as unlabelled speech
 * (`pretrain`); what has no label from the start stays.
 *
 * @throws `ERR_CORPUS`, naming `file`, when no utterance is of any of the classes
 */
export async function applyLabelScheme(
  corpus: Corpus,
  scheme: LabelScheme,
  { others, unlabelled, file }: { others: Others; unlabelled: readonly string[]; file: string },
): Promise<Corpus> {
  const classOf = (label: string) => {
    if (scheme.classes !== undefined) return scheme.classes.get(label);
    return unlabelled.includes(label) ? undefined : label;
  };
  const leftOut = new Map(Object.entries(corpus.leftOut ?? {}));
  const utterances: Utterance[] = [];
  let classed = 0;
  for (const utterance of corpus.utterances) {
    await yieldWhenDue();
    const { label: annotated, segments, ...rest } = utterance;
    const label = annotated === undefined ? undefined : classOf(annotated);
    if (label !== undefined) {
      classed++;
      const mapped = segments?.map((segment) => ({ ...segment, label: classOf(segment.label) }));
      // A segment outside of the classes is no neutral time: what the frames are is then not known.
      utterances.push({ ...rest, label, ...(mapped?.every(isLabelled) ? { segments: mapped } : {}) });
    } else if (annotated === undefined) utterances.push(utterance);
    else if (others === 'pretrain') utterances.push(rest);
    else leftOut.set(annotated, (leftOut.get(annotated) ?? 0) + 1);
  }
  if (classed === 0) {
    const found = [...new Set(corpus.utterances.flatMap(({ label }) => label ?? []))].sort();
    throw new EmoframeError(
      'ERR_CORPUS',
      `No utterance of ${file} has a label of the scheme ${quoted(scheme.name)}: its labels are ${found.length === 0 ? 'none' : found.join(', ')}.`,
      { file },
    );
  }
  return {
    ...corpus,
    utterances,
    labels: scheme.name,
    others,
    ...(leftOut.size === 0 ? {} : { leftOut: Object.fromEntries(leftOut) }),
  };
}

function isLabelled(segment: { start: number; end: number; label: string | undefined }): segment is Segment {
  return segment.label !== undefined;
}

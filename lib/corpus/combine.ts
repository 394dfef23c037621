// Several corpora as one: to train on some datasets and test on another, as the protocol of ZED does.

import { z } from 'zod';
import { EmoframeError } from '../errors.js';
import { given } from '../given.js';
import { abortSignal, parseOptions, type Shape, strictOptions } from '../issues.js';
import { yieldWhenDue } from '../yield.js';
import {
  applyLabelScheme,
  EVERY_LABEL,
  type LabelScheme,
  OTHERS,
  type Others,
  parseLabelScheme,
} from './labelScheme.js';
import { readCorpus } from './read.js';
import type { Corpus, Utterance } from './types.js';

/** What the datasets call the four emotions that most of them have. */
const SPELLINGS: Record<string, readonly string[]> = {
  angry: ['ang', 'anger', 'angry'],
  happy: ['amused', 'exc', 'excited', 'hap', 'happiness', 'happy', 'joy'],
  neutral: ['neu', 'neutral'],
  sad: ['sad', 'sadness'],
};

/** The scheme of several corpora unless another is asked for: four classes, in any of the datasets' spellings. */
export const COMMON_SCHEME = 'common-4';

const known = {
  schemes: {
    [COMMON_SCHEME]: Object.entries(SPELLINGS)
      .map(([name, labels]) => `${name}=${labels.join('+')}`)
      .join(','),
  },
  unlabelled: [],
};

/** One of several corpora. */
export interface CorpusSource {
  /** A dataset's folder or a manifest, as `readCorpus` takes it. */
  path: string;
  /** The dataset that a folder is, in place of recognising it. */
  dataset?: string;
}

/** How several corpora are read. */
export interface ReadCorporaOptions {
  /** What is tested on, all of it; nothing else is. Absent: groups of speakers in turn. */
  test?: CorpusSource;
  /**
   * The classes of all of them: `common-4` (default: angry, happy, neutral and sad in every dataset's spelling), `all`, or classes
   * with the labels that each is made of.
   */
  labels?: string;
  /** What becomes of utterances of other labels: `leave-out` (default), or `pretrain`: they stay as unlabelled speech. */
  others?: Others;
  signal?: AbortSignal;
}

const source = strictOptions({
  path: z.string().min(1),
  dataset: z.string().exactOptional(),
} satisfies Shape<CorpusSource>);
const optionsSchema = strictOptions({
  test: source.exactOptional(),
  labels: z.string().min(1).exactOptional(),
  others: z.enum(OTHERS).exactOptional(),
  signal: abortSignal.exactOptional(),
} satisfies Shape<ReadCorporaOptions>);

/** A corpus that was read, and where. */
interface ReadSource {
  path: string;
  /** Of its dataset, unlike that of any other here. */
  name: string;
  corpus: Corpus;
}

/**
 * Reads several corpora as one, whose labels are of one scheme. Ids begin with the name of the dataset or manifest, speakers
 * with that of the dataset, so that those of one never are another's. With `test` the split is given: that corpus is tested
 * on, all others train, and splits of their own are not used.
 *
 * @throws `ERR_CORPUS` when a corpus has no label of the scheme, or spells a class in a way that the scheme does not have;
 * when a label that is tested is in no training corpus; or when audio is in two of them. Otherwise as `readCorpus`.
 * @example
 * const corpus = await readCorpora([{ path: 'IEMOCAP' }, { path: 'ESD', dataset: 'esd-english' }], { test: { path: 'ZED' } });
 */
export async function readCorpora(train: readonly CorpusSource[], options: ReadCorporaOptions = {}): Promise<Corpus> {
  parseOptions(z.array(source).min(1), train);
  const { test, labels = COMMON_SCHEME, others = 'leave-out', signal } = parseOptions(optionsSchema, options);
  const scheme = parseLabelScheme(labels, known);
  const sources: ReadSource[] = [];
  for (const { path, dataset } of test === undefined ? train : [...train, test]) {
    const annotated = await readCorpus(path, { labels: EVERY_LABEL, others, ...given({ dataset, signal }) });
    const corpus = await applyLabelScheme(annotated, scheme, { others, unlabelled: [], file: path });
    refuseOtherSpelling(path, annotated, corpus, scheme);
    sources.push({ path, name: nameOf(annotated, sources), corpus });
  }
  await refuseSharedAudio(sources);
  const [training, tested] = test === undefined ? [sources] : [sources.slice(0, -1), sources.at(-1)];
  if (tested !== undefined) refuseUnknownLabel(training, tested);
  const utterances = sources.flatMap((one) =>
    one.corpus.utterances.map((utterance) => renamed(utterance, one, tested && (one === tested ? 'test' : 'train'))),
  );
  const leftOut = sumOf(sources.map(({ corpus }) => corpus.leftOut ?? {}));
  return {
    name: training.map(({ name }) => name).join('+') + (tested === undefined ? '' : `, tested on ${tested.name}`),
    utterances,
    problems: sources.flatMap(({ corpus }) => corpus.problems),
    labels: scheme.name,
    others,
    customary: tested === undefined ? { scheme: 'speakers', count: 5 } : { scheme: 'given' },
    ...(Object.keys(leftOut).length === 0 ? {} : { leftOut }),
  };
}

function nameOf({ dataset, name }: Corpus, before: readonly ReadSource[]): string {
  const stem = dataset ?? name;
  const same = before.filter(({ corpus }) => (corpus.dataset ?? corpus.name) === stem).length;
  return same === 0 ? stem : `${stem}-${same + 1}`;
}

function renamed(
  { split: _, ...utterance }: Utterance,
  { name, corpus }: ReadSource,
  split: Utterance['split'],
): Utterance {
  const { speaker, session } = utterance;
  return {
    ...utterance,
    id: `${name}/${utterance.id}`,
    // A manifest's speakers may be those of another manifest, and then must not be on both sides of a split.
    ...(speaker !== undefined && { speaker: corpus.dataset === undefined ? speaker : `${corpus.dataset}/${speaker}` }),
    ...(session !== undefined && { session: `${name}/${session}` }),
    ...(split !== undefined && { split }),
  };
}

/** A class without a single utterance, where a label that is left out means just that, is an oversight in the scheme. */
function refuseOtherSpelling(
  path: string,
  annotated: Corpus,
  { utterances }: Corpus,
  { name, classes }: LabelScheme,
): void {
  if (classes === undefined) return;
  const found = new Set(utterances.flatMap(({ label }) => label ?? []));
  const written = new Set(annotated.utterances.flatMap(({ label }) => label ?? []));
  for (const missing of new Set(classes.values())) {
    if (found.has(missing)) continue;
    const others = Object.values(SPELLINGS).find((spellings) => spellings.includes(missing)) ?? [];
    const meant = others.filter((label) => written.has(label) && !classes.has(label));
    if (meant.length === 0) continue;
    throw new EmoframeError(
      'ERR_CORPUS',
      `${path} has no label of the class ${missing} of the scheme ${name}, but has ${meant.join(' and ')}, which belong to no class: write ${missing}=${[missing, ...meant].join('+')}, or use the scheme ${COMMON_SCHEME}.`,
      { file: path },
    );
  }
}

function refuseUnknownLabel(training: readonly ReadSource[], tested: ReadSource): void {
  const taught = new Set(training.flatMap(({ corpus }) => corpus.utterances.flatMap(({ label }) => label ?? [])));
  const stranger = tested.corpus.utterances.find(({ label }) => label !== undefined && !taught.has(label));
  if (stranger === undefined) return;
  throw new EmoframeError(
    'ERR_CORPUS',
    `${tested.path} is tested on the label ${stranger.label}, which no training corpus has; they have ${[...taught].sort().join(', ')}. Give a label scheme that names it alike in all corpora, or leaves it out.`,
    { file: tested.path },
  );
}

async function refuseSharedAudio(sources: readonly ReadSource[]): Promise<void> {
  const seen = new Map<string, ReadSource>();
  for (const one of sources) {
    for (const { audio, startSeconds, endSeconds, channel } of one.corpus.utterances) {
      await yieldWhenDue();
      const key = JSON.stringify([audio, startSeconds, endSeconds, channel]);
      const other = seen.get(key) ?? one;
      if (other !== one) {
        throw new EmoframeError(
          'ERR_CORPUS',
          `${audio} is in ${other.path} and in ${one.path}: give each corpus only once, and do not train on what is tested.`,
          { file: audio },
        );
      }
      seen.set(key, one);
    }
  }
}

function sumOf(counts: readonly Record<string, number>[]): Record<string, number> {
  const sum = new Map<string, number>();
  for (const [label, count] of counts.flatMap(Object.entries<number>)) sum.set(label, (sum.get(label) ?? 0) + count);
  return Object.fromEntries(sum);
}

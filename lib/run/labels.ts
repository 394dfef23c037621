import type { RunConfig } from '../config/types.js';
import type { Corpus } from '../corpus/types.js';
import { hasValues } from '../corpus/values.js';
import { EmoframeError } from '../errors.js';

export interface RunLabels {
  /** Classes, or dimensions of a regression, in the order of the outputs. */
  labels: string[];
  /** The class of time outside all segments. */
  neutral: string;
  /** The corpus in the order of its ids, of whose utterances only what is learned is known: labels of classes, or values. */
  corpus: Corpus;
}

const neutralNames = ['neutral', 'neu'];

/**
 * Decides the classes or dimensions of a run.
 *
 * @throws `ERR_CORPUS` when fewer than two classes have utterances, or frame-level truth names something that is no class; when
 * fewer than two utterances have all dimensions;
 * `ERR_CONFIG` when `align.objective` needs a neutral class and there is none.
 */
export function chooseLabels(corpus: Corpus, config: RunConfig): RunLabels {
  return config.dimensions === null ? chooseClasses(corpus, config) : chooseDimensions(corpus, config.dimensions);
}

function chooseDimensions(corpus: Corpus, dimensions: readonly string[]): RunLabels {
  const utterances = corpus.utterances.map(({ label: _, segments: __, values, ...utterance }) => {
    if (values === undefined || !hasValues({ values }, dimensions)) return utterance;
    return { ...utterance, values: Object.fromEntries(dimensions.map((name) => [name, values[name]!])) };
  });
  if (utterances.filter((utterance) => 'values' in utterance).length < 2) {
    const found = [...new Set(corpus.utterances.flatMap(({ values = {} }) => Object.keys(values)))].sort();
    throw new EmoframeError(
      'ERR_CORPUS',
      `Regression needs at least 2 utterances with values of ${dimensions.join(', ')}; ${corpus.name} has ${found.length === 0 ? 'no values' : `values of ${found.join(', ')}`}.`,
    );
  }
  return { labels: [...dimensions], neutral: '', corpus: { ...corpus, utterances: sortedById(utterances) } };
}

function sortedById(utterances: Corpus['utterances']): Corpus['utterances'] {
  return utterances.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function chooseClasses(corpus: Corpus, config: RunConfig): RunLabels {
  const found = [...new Set(corpus.utterances.flatMap(({ label }) => label ?? []))].sort();
  const labels = config.labels ?? found;
  const used = labels.filter((label) => found.includes(label));
  if (used.length < 2) {
    const had = found.length === 0 ? 'no labels' : `the labels ${found.join(', ')}`;
    throw new EmoframeError(
      'ERR_CORPUS',
      `Classification needs utterances of at least 2 labels; ${corpus.name} has ${had}${config.labels === null ? '' : `, the config asks for ${labels.join(', ')}`}.`,
    );
  }
  const neutral = [config.neutralLabel, ...neutralNames].find((name) => labels.includes(name)) ?? config.neutralLabel;
  const utterances = sortedById(
    corpus.utterances.map(({ values: _, ...utterance }) => {
      if (utterance.label === undefined || labels.includes(utterance.label)) return utterance;
      const { label: __, ...unlabelled } = utterance;
      return unlabelled;
    }),
  );
  checkSegments(utterances, labels, neutral);
  const { objective } = config.align;
  if (objective !== 'attention' && !labels.includes(neutral)) {
    throw new EmoframeError(
      'ERR_CONFIG',
      `align.objective '${objective}' separates emotions from neutral speech, but there is no label '${neutral}' among ${labels.join(', ')}: set neutralLabel in the config to the class that is neutral, or align.objective to 'attention'.`,
    );
  }
  return { labels, neutral, corpus: { ...corpus, utterances } };
}

/** Checked before training starts. */
function checkSegments(utterances: Corpus['utterances'], labels: readonly string[], neutral: string): void {
  for (const { id, label, segments } of utterances) {
    if (segments === undefined || label === undefined) continue;
    const stranger = [neutral, ...segments.map((segment) => segment.label)].find((name) => !labels.includes(name));
    if (stranger === undefined) continue;
    throw new EmoframeError(
      'ERR_CORPUS',
      stranger === neutral
        ? `Utterance ${id} has segments, and the time outside them is neutral, but there is no label '${neutral}' among ${labels.join(', ')}: set neutralLabel in the config.`
        : `Utterance ${id} has a segment '${stranger}', which is not one of the labels ${labels.join(', ')}.`,
    );
  }
}

// The labels of a corpus and those of a model brought to the same classes.
import { dimensionOf, emotionOf } from '../corpus/emotions.js';
import { EmoframeError } from '../errors.js';

/** Which outputs of a model stand for which labels of a corpus. */
export interface LabelMap {
  /** The classes that are scored, by the corpus's names, and the model's labels that each is made of. */
  readonly classes: Readonly<Record<string, readonly string[]>>;
  /** Labels of the corpus that the model has no output for: their utterances are not scored. */
  readonly unknownToModel: readonly string[];
  /** Labels of the model that the corpus does not have. */
  readonly unknownToCorpus: readonly string[];
}

/**
 * Finds which labels mean the same: those that are equal, else those of one emotion ({@link emotionOf}).
 *
 * @param given labels of the model and the labels of the corpus that they stand for, in place of what the table says.
 * @throws `ERR_ARGUMENT` when `given` names a label that there is not; `ERR_CORPUS` when fewer than two labels have a counterpart, or
 * several labels of the corpus are one emotion of the model's.
 * @example
 * mapLabels(['ang', 'hap', 'neu'], ['neutral', 'happiness', 'anger', 'fear']).classes; // { ang: ['anger'], hap: ['happiness'], neu: ['neutral'] }
 */
export function mapLabels(
  corpusLabels: readonly string[],
  modelLabels: readonly string[],
  given: Readonly<Record<string, string>> = {},
): LabelMap {
  const stated = new Map(Object.entries(given));
  for (const [model, corpus] of stated) {
    requireLabel(model, modelLabels, 'model');
    requireLabel(corpus, corpusLabels, 'corpus');
  }
  const classes = new Map<string, string[]>(corpusLabels.map((label) => [label, []]));
  for (const label of modelLabels) {
    const counterpart = stated.get(label) ?? counterpartOf(label, corpusLabels);
    if (counterpart !== undefined) classes.get(counterpart)!.push(label);
  }
  const known = [...classes].filter(([, labels]) => labels.length > 0);
  if (known.length < 2) {
    throw new EmoframeError(
      'ERR_CORPUS',
      `Fewer than 2 labels of the corpus (${corpusLabels.join(', ')}) are known to be labels of the model (${modelLabels.join(', ')}): state which are the same (map).`,
    );
  }
  const used = new Set(known.flatMap(([, labels]) => labels));
  return {
    classes: Object.fromEntries(known),
    unknownToModel: corpusLabels.filter((label) => classes.get(label)!.length === 0),
    unknownToCorpus: modelLabels.filter((label) => !used.has(label)),
  };
}

/**
 * Which of a model's dimensions is which of a corpus's, by the corpus's names: those of one name, or one meaning ({@link dimensionOf}).
 *
 * @throws `ERR_ARGUMENT` when `given` names a dimension that there is not.
 */
export function mapDimensions(
  corpusNames: readonly string[],
  modelNames: readonly string[],
  given: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const stated = new Map(Object.entries(given));
  const found = new Map<string, string>();
  for (const [model, corpus] of stated) {
    requireLabel(model, modelNames, 'model');
    requireLabel(corpus, corpusNames, 'corpus');
    found.set(corpus, model);
  }
  for (const name of corpusNames) {
    const same = modelNames.find((model) => !stated.has(model) && dimensionOf(model) === dimensionOf(name));
    if (!found.has(name) && same !== undefined) found.set(name, same);
  }
  return Object.fromEntries(found);
}

function counterpartOf(label: string, corpusLabels: readonly string[]): string | undefined {
  if (corpusLabels.includes(label)) return label;
  const emotion = emotionOf(label);
  if (emotion === undefined) return undefined;
  const same = corpusLabels.filter((candidate) => emotionOf(candidate) === emotion);
  if (same.length > 1) {
    throw new EmoframeError(
      'ERR_CORPUS',
      `The labels ${same.join(' and ')} of the corpus are both the model's ${label}: make one class of them (labels: ${same[0]}=${same.join('+')}), or state which it is (map).`,
    );
  }
  return same[0];
}

function requireLabel(label: string, labels: readonly string[], whose: string): void {
  if (labels.includes(label)) return;
  throw new EmoframeError(
    'ERR_ARGUMENT',
    `The ${whose} has no label ${label}, which the map names: its labels are ${labels.join(', ')}.`,
  );
}

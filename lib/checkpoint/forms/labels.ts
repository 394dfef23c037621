// What a config calls a head's outputs.
import { isObject, textOf } from '../../files/json.js';
import type { HeadReader } from './form.js';

/** Names in the order of their indices, which count from 0; undefined where one is missing. */
function inOrder(entries: [index: number, name: string][]): string[] | undefined {
  const names = entries.map(() => '');
  for (const [index, name] of entries) if (index in names) names[index] = name;
  return names.length > 0 && !names.includes('') ? names : undefined;
}

/** The names of classes in a config of transformers, `id2label` or else `label2id`; undefined where it has none. */
export function labelsOf(config: Record<string, unknown>): string[] | undefined {
  const { id2label, label2id } = config;
  if (isObject(id2label)) {
    const named = inOrder(Object.entries(id2label).map(([index, name]) => [Number(index), textOf(name) ?? '']));
    if (named !== undefined) return named;
  }
  return isObject(label2id)
    ? inOrder(Object.entries(label2id).map(([name, index]) => [Number(textOf(index)), name]))
    : undefined;
}

/**
 * The names of a head's outputs, as many as it has.
 *
 * @param names those that were found
 * @param where in what, for the message
 * @throws EmoframeError `ERR_HEAD` when they are not as many, or not distinct
 */
export function checkedLabels(reader: HeadReader, names: string[], outputs: number, where: string): string[] {
  if (names.length !== outputs) {
    throw reader.refuse(`it has ${outputs} outputs, and ${where} names ${names.length}: they do not belong together`);
  }
  const seen = new Set<string>();
  const twice = names.find((name) => seen.size === seen.add(name).size);
  if (twice !== undefined) {
    throw reader.refuse(`${where} gives the name ${twice} to two of its outputs; give each a name of its own there`);
  }
  return names;
}

/** Labels of the config, or `LABEL_0` and so on where it has none, as in transformers. */
export function configLabels(reader: HeadReader, outputs: number): string[] {
  const names = labelsOf(reader.source.config) ?? Array.from({ length: outputs }, (_, i) => `LABEL_${i}`);
  return checkedLabels(reader, names, outputs, 'config.json');
}

/** Dimensions of emotion, in the order in which models of all three give them. */
export const dimensions: readonly string[] = ['arousal', 'dominance', 'valence'];

/** Whether outputs of these names are values of dimensions. */
export function areDimensions(labels: readonly string[]): boolean {
  return labels.every((label) => dimensions.includes(label.toLowerCase()));
}

/**
 * Whether a head's outputs are values and not logits of classes: what `problem_type` says and, where it says nothing, a single output, as
 * in transformers, and outputs that are named as dimensions.
 *
 * @throws EmoframeError `ERR_HEAD` for classes that do not exclude each other
 */
export function taskOf(reader: HeadReader, labels: readonly string[]): { task?: 'regression' } {
  const values = labels.length === 1 || areDimensions(labels);
  const type = reader.source.config.problem_type ?? (values ? 'regression' : 'single_label_classification');
  if (type === 'regression') return { task: 'regression' };
  if (type === 'single_label_classification') return {};
  throw reader.refuse(
    `problem_type in config.json is ${JSON.stringify(type)}; only "regression" and "single_label_classification" are supported`,
  );
}

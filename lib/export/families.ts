// Families of encoders: what people call them, and the classes of transformers that read them.
import { EmoframeError } from '../errors.js';
import type { HubertConfig } from '../model/hubertConfig.js';

const families = {
  hubert: { name: 'HuBERT', classes: 'Hubert', prefix: 'hubert' },
  wav2vec2: { name: 'wav2vec 2.0', classes: 'Wav2Vec2', prefix: 'wav2vec2' },
  wavlm: { name: 'WavLM', classes: 'WavLM', prefix: 'wavlm' },
  'data2vec-audio': { name: 'data2vec', classes: 'Data2VecAudio', prefix: 'data2vec_audio' },
  emotion2vec: { name: 'emotion2vec', classes: undefined, prefix: undefined },
} as const;

/** As `model_type` of `config.json` says it. */
export type FamilyType = keyof typeof families;

/** What starts the names of transformers' classes. */
type Classes = Exclude<(typeof families)[FamilyType]['classes'], undefined>;

/** The class of transformers that reads the weights. */
export type Architecture = `${Classes}Model` | `${Classes}ForSequenceClassification`;

export const architectures = Object.values(families).flatMap(({ classes }): Architecture[] =>
  classes === undefined ? [] : [`${classes}Model`, `${classes}ForSequenceClassification`],
);

/** A model's, and what starts the names of its encoder's tensors in a model of transformers with a head. */
export function familyOf({ raw }: HubertConfig): { type: FamilyType; name: string; prefix: string | undefined } {
  const said = String(raw.model_type);
  const type = Object.hasOwn(families, said) ? (said as FamilyType) : 'hubert';
  const { name, prefix } = families[type];
  return { type, name, prefix };
}

/** The class that reads a model's encoder; undefined where transformers has none. */
export function encoderClass(config: HubertConfig): Architecture | undefined {
  const { classes } = families[familyOf(config).type];
  return classes === undefined ? undefined : `${classes}Model`;
}

/** Whether a class reads a classifier too. */
export function readsClassifier(architecture: Architecture): boolean {
  return architecture.endsWith('ForSequenceClassification');
}

/**
 * The class that is to read a model.
 *
 * @param asked absent: the one that reads its encoder
 * @param source the model's directory, for messages
 * @throws EmoframeError `ERR_ARGUMENT` where transformers has no class for it, or another is asked for
 */
export function architectureFor(config: HubertConfig, asked: Architecture | undefined, source: string): Architecture {
  const { name } = familyOf(config);
  const encoder = encoderClass(config);
  const refuse = (why: string) =>
    new EmoframeError('ERR_ARGUMENT', `${source} is an encoder of ${name}, ${why}`, { file: source });
  if (encoder === undefined) throw refuse('for which transformers has no class; export it with format onnx.');
  const both = architectures.filter((architecture) => architecture.startsWith(encoder.replace(/Model$/, '')));
  if (asked !== undefined && !both.includes(asked)) throw refuse(`which ${both.join(' and ')} read, and not ${asked}.`);
  return asked ?? encoder;
}

import type { Normalization } from '../audio/normalize.js';
import { given } from '../given.js';
import { mebibytes } from '../model/memory.js';
import { type ModelFacts, modelFacts } from '../predict/modelFacts.js';
import { columns, defineCommand } from './command.js';
import { findModel, headOption, revisionOption } from './model.js';
import { deviceOptions, UsageError } from './options.js';
import { Progress } from './progress.js';

export const modelCommand = defineCommand({
  name: 'model',
  summary: 'say what a model is, what it takes and how fast it is here',
  arguments: 'MODEL',
  description:
    'Says of a predictor, a checkpoint or a public model, given as OWNER/NAME on the Hub, what it gives, what its head does and\nhow its input is prepared; and measures for a few seconds how fast it is on this machine.',
  options: { ...revisionOption, ...headOption, ...deviceOptions },
  examples: ['emoframe model superb/hubert-large-superb-er', 'emoframe model runs/demo/folds/s5/predictor --json'],
  run: async ([model, ...more], values, context) => {
    if (model === undefined || more.length > 0) throw new UsageError('Expected one model.');
    const { head, device, precision, threads, revision } = values;
    const path = await findModel({ model, revision }, context, new Progress());
    const settings = given({ head, device, precision, threads, memoryLimit: values['memory-limit'] });
    const facts = await modelFacts(path, settings);
    if (values.json) await context.printJson({ model, path, ...facts });
    else await context.print(table(model, facts));
  },
});

function table(model: string, facts: ModelFacts): string[] {
  const { form, family, layers, hiddenSize, task, labels, head, input, ignored, parameters, bytes } = facts;
  const { timeline, device, memory, speed } = facts;
  const of = (name: string, value: string | undefined): [string, string][] =>
    value === undefined ? [] : [[name, value]];
  return columns([
    ['model', model],
    ['form', form],
    ['encoder', `${family}, ${layers} layers, ${hiddenSize} channels`],
    ...of(task === 'regression' ? 'dimensions' : 'emotions', labels?.join(', ')),
    ['head', head?.join(' → ') ?? 'none: hidden states alone'],
    ...of('timeline', timeline && timelines[timeline]),
    ['input', `${input.sampleRate / 1000} kHz, ${normalization(input.normalize)}`],
    ...of('not used', ignored.length === 0 ? undefined : ignored.join(', ')),
    ['parameters', `${parameters.toLocaleString('en')}, ${mebibytes(bytes)} on disk`],
    ['memory', `${mebibytes(memory.total)} on ${device} at most, of which ${mebibytes(memory.weights)} are weights`],
    ['speed', `${Number(speed.toPrecision(3))} s of audio a second, measured on ${device}`],
  ]);
}

const timelines: Record<NonNullable<ModelFacts['timeline']>, string> = {
  alignment: 'alignment: a network that was trained to say when',
  attention: 'attention: the head on each frame, as published',
  frames: 'frames: the head on each frame, of which the utterance is the mean',
  windows: 'windows: the head on one second around each tenth of a second',
};

function normalization(normalize: Normalization): string {
  if (normalize === false) return 'as it is';
  if (normalize === true || 'epsilon' in normalize) return 'zero mean and unit variance';
  const [mean, scale] = [normalize.mean, normalize.scale].map((value) => Number(value.toPrecision(3)));
  return `brought to the training data's level: mean ${mean} is taken away, times ${scale}`;
}

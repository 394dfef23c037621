import { exportModel, formatOf } from '../export/exportModel.js';
import { architectures } from '../export/families.js';
import { given } from '../given.js';
import { columns, defineCommand } from './command.js';
import { findModel, revisionOption } from './model.js';
import { choice, flag, required, text, UsageError } from './options.js';
import { Progress } from './progress.js';

/** Command-line options by their names in the API. */
const spelled = { architecture: 'architecture', clusters: 'no-clusters', externalData: 'external-data' } as const;

/** Below this size, progress would be over before it could be read. */
const shownBytes = 100e6;

export const exportCommand = defineCommand({
  name: 'export',
  summary: 'export a model as a Hugging Face directory or ONNX graph',
  arguments: 'MODEL',
  description:
    'Writes a model into its own folder, with a model card that states the data, settings and scores of its run.\nhf: weights that transformers reads as HubertModel (or WavLMModel, by the encoder), with the classifier in separate files, or, for\na model with mean pooling, both as HubertForSequenceClassification. onnx: one graph from the waveform, [batch, samples], to\nlogits, frame posteriors and attention, or to values and frame values. See docs/export.md.',
  options: {
    out: required(text('DIR', 'the folder to write')),
    format: required(choice(['hf', 'onnx'], 'what to write')),
    architecture: choice(architectures, 'hf: the transformers class that reads it (default: the one of its encoder)'),
    head: choice(
      ['ctc-mean', 'none'],
      'which head: of a speech recogniser as a classifier, or none (default: its own)',
    ),
    'no-clusters': flag('hf: leave out the model that assigns frames to clusters'),
    'external-data': flag('onnx: weights in a separate file (default: only above 2 GiB)'),
    name: text('NAME', "the model card's title (default: the folder's name)"),
    license: text('ID', "the model card's license, as the Hub writes it, e.g. mit"),
    'base-model': text('ID', "the model card's base model on the Hub"),
    overwrite: flag('replace an earlier export'),
    ...revisionOption,
  },
  examples: [
    'emoframe export runs/demo/folds/s5/predictor --format onnx --out emotions-onnx',
    'emoframe export runs/demo/folds/s5/predictor --format hf --out emotions --license mit',
    'emoframe export runs/demo/folds/s5/finetune/model --format hf --out baseline --architecture HubertForSequenceClassification',
  ],
  run: async (positionals, values, context) => {
    const { print, printJson, signal } = context;
    const [named] = positionals;
    if (named === undefined || positionals.length > 1) {
      throw new UsageError(`Expected one model but received ${positionals.length}.`);
    }
    const { out, format, name, license, overwrite, architecture, json } = values;
    const ofFormat = given({
      architecture,
      clusters: values['no-clusters'] ? false : undefined,
      externalData: values['external-data'] ? true : undefined,
    });
    for (const option of Object.keys(ofFormat) as (keyof typeof formatOf)[]) {
      if (formatOf[option] !== format) throw new UsageError(`--${spelled[option]} needs --format ${formatOf[option]}.`);
    }
    const progress = new Progress();
    const model = await findModel({ model: named, revision: values.revision }, context, progress);
    const exported = await exportModel(model, {
      out,
      format,
      overwrite,
      signal,
      ...ofFormat,
      ...given({ head: values.head, name, license, baseModel: values['base-model'] }),
      onProgress: ({ doneBytes, totalBytes }) => {
        if (totalBytes < shownBytes) return;
        const [done, total] = [Math.round(doneBytes / 1e6), Math.round(totalBytes / 1e6)];
        progress.update({ title: 'export', done, total, message: 'MB of weights' });
      },
    });
    progress.finish();
    if (json) return printJson(exported);
    await print(columns(exported.files.map(({ path, bytes }) => [path, size(bytes)])));
    if (exported.ignored.length > 0) await print(`not exported: ${exported.ignored.join(', ')}`);
  },
});

function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

import { exportModel, formatOf } from '../export/exportModel.js';
import { columns, defineCommand } from './command.js';
import { findModel, revisionOption } from './model.js';
import { choice, flag, given, required, text, UsageError } from './options.js';
import { Progress } from './progress.js';

/** Options by their names in a program. */
const spelled = { architecture: 'architecture', clusters: 'no-clusters', externalData: 'external-data' } as const;

/** A smaller model is written before one could read how far it is. */
const shownBytes = 100e6;

export const exportCommand = defineCommand({
  name: 'export',
  summary: 'a model for use elsewhere: Hugging Face directory or ONNX',
  arguments: 'MODEL',
  description:
    'Writes a model into a folder of its own, with a model card that states the data, settings and scores of its run.\nhf: weights that transformers reads as HubertModel, with the classifier beside them, or, where frames are pooled by their\nmean, both as HubertForSequenceClassification. onnx: one graph from the waveform, [batch, samples], to logits, frame\nposteriors and attention. See docs/export.md.',
  options: {
    out: required(text('DIR', 'the folder to write')),
    format: required(choice(['hf', 'onnx'], 'what to write')),
    architecture: choice(
      ['HubertModel', 'HubertForSequenceClassification'],
      'hf: the class of transformers that reads it (default: HubertModel)',
    ),
    'no-clusters': flag('hf: leave out the model that gives frames their cluster'),
    'external-data': flag('onnx: weights in a file of their own (default: when they pass 2 GiB)'),
    name: text('NAME', "in the model card (default: the folder's)"),
    license: text('ID', 'in the model card, as the Hub writes it, e.g. mit'),
    'base-model': text('ID', 'in the model card: the model on the Hub that this one comes from'),
    overwrite: flag('replace an earlier export'),
    ...revisionOption,
  },
  examples: [
    'emoframe export runs/demo/folds/s5/predictor --format onnx --out emotions-onnx',
    'emoframe export runs/demo/folds/s5/predictor --format hf --out emotions --license mit',
    'emoframe export runs/demo/folds/s5/finetune/model --format hf --out baseline --architecture HubertForSequenceClassification',
  ],
  run: async (positionals, values, context) => {
    const { print, signal } = context;
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
      if (formatOf[option] !== format)
        throw new UsageError(`--${spelled[option]} goes with --format ${formatOf[option]}.`);
    }
    const progress = new Progress();
    const model = await findModel({ model: named, revision: values.revision }, context, progress);
    const exported = await exportModel(model, {
      out,
      format,
      overwrite,
      signal,
      ...ofFormat,
      ...given({ name, license, baseModel: values['base-model'] }),
      onProgress: ({ doneBytes, totalBytes }) => {
        if (totalBytes < shownBytes) return;
        const [done, total] = [Math.round(doneBytes / 1e6), Math.round(totalBytes / 1e6)];
        progress.update({ title: 'export', done, total, message: 'MB of weights' });
      },
    });
    progress.finish();
    if (json) await print(JSON.stringify(exported, null, 2));
    else for (const line of columns(exported.files.map(({ path, bytes }) => [path, size(bytes)]))) await print(line);
  },
});

function size(bytes: number): string {
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

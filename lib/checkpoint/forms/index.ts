// The forms in which heads are published, and the choice among them by what a checkpoint holds. Nothing of a head is left out: a tensor
// that no form knows is refused by its name.
import { EmoframeError } from '../../errors.js';
import type { Head } from '../head.js';
import { ctcMean } from './ctcMean.js';
import { emotion2vec } from './emotion2vec.js';
import { type Form, HeadReader, type HeadSource, type PublicForm, type ReadingOptions } from './form.js';
import { hflea } from './hflea.js';
import { odyssey } from './odyssey.js';
import { sequenceClassification } from './sequenceClassification.js';
import { speechbrain } from './speechbrain.js';
import { speechClassification } from './speechClassification.js';

/** The first of which a tensor is there is the form of a head. */
const forms: readonly PublicForm[] = [
  speechClassification,
  sequenceClassification,
  odyssey,
  emotion2vec,
  speechbrain,
  hflea,
];

/** Of the tensors that pretraining, speech recognition and training itself leave in checkpoints: none says anything of an emotion. */
const known = [
  // Masked prediction and contrastive learning: fairseq, transformers, torchaudio, HFLEA's pretraining.
  /(?:^|\.)(?:final_proj|logit_generator|label_embs?_concat|quantizer|input_quantizer|project_q|project_hid|project_inp|target_glu|layer_norm_for_extract|mask_emb|mask_generator|masked_spec_embed)(?:\.|$)/,
  // Speech recognition.
  /(?:^|\.)(?:lm_head|aux|w2v_encoder\.proj)\.(?:weight|bias)$/,
  // data2vec: its teacher, its decoder and what regresses to the teacher.
  /(?:^|\.)_?ema(?:\.|$)|(?:^|\.)(?:decoder|recon_proj|shared_decoder)(?:\.|$)/,
  // Counters and states of training.
  /(?:^|\.)(?:num_batches_tracked|num_updates|_float_tensor|optimizer\w*|lr_scheduler\w*)(?:\.|$)/,
];

/** What was read of a head. */
export interface PublicHead {
  form: Form;
  head?: Head;
  /** Names of tensors that belong to none. */
  ignored: string[];
}

function notUnderstood(file: string, names: readonly string[]): EmoframeError {
  const [tensor] = names;
  const more = names.length === 1 ? '' : ` (and ${names.length - 1} more, such as ${names[1]})`;
  return new EmoframeError(
    'ERR_HEAD',
    `${file} holds tensor ${tensor}${more}, which is neither the encoder's nor of a head in a known form: its predictions cannot be computed. Its hidden states can (emoframe encode; head: 'none' of loadPretrained).`,
    { file, tensor },
  );
}

/**
 * The head of a checkpoint.
 *
 * @throws EmoframeError `ERR_HEAD` (a tensor is missing, or not understood; or the head computes what ours cannot), `ERR_TENSOR` (a shape
 *   that does not fit the encoder), `ERR_NOT_FINITE`, and as reading
 */
export async function readPublicHead(source: HeadSource, { head: asked }: ReadingOptions): Promise<PublicHead> {
  const names = source.tensors.map(({ name }) => name);
  if (asked === 'none') return { form: 'encoder', ignored: names };
  const form = asked === 'ctc-mean' ? ctcMean : forms.find(({ owns }) => names.some((name) => owns(name, source)));
  if (form === undefined) return { form: 'encoder', ignored: onlyKnown(names, source.file) };
  const reader = new HeadReader(source, form.title);
  const described = await form.read(reader);
  return {
    form: form.form,
    head: { kind: 'classifier', ...described, tensors: reader.tensors },
    ignored: onlyKnown(reader.left(), source.file),
  };
}

function onlyKnown(names: string[], file: string): string[] {
  const unknown = names.filter((name) => !known.some((pattern) => pattern.test(name)));
  if (unknown.length > 0) throw notUnderstood(file, unknown);
  return names;
}

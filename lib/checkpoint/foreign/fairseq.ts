// The description of a model in fairseq's checkpoints: a nested config (`cfg.model`, `cfg.task`) since 2021, one flat namespace of the
// command line (`args`) before. A model fine-tuned for recognition holds the config of the one that it began as in `w2v_args`.
// s3prl's conversions keep the two parts of the config as `model_cfg` and `task_cfg`.
import { EmoframeError } from '../../errors.js';
import type { ModelDescription } from '../shapes.js';
import { parseConvolutions } from './convolutions.js';
import { describedByData2vec } from './data2vec.js';
import { type PickleDict, PickleObject, type PickleValue, shown } from './pickleValues.js';

/** Objects around a value: omegaconf's option, and in it a member of an enumeration. One that holds itself would have no end. */
const mostWrappings = 8;

/** A value without the object that holds it: an option of omegaconf, or a member of an enumeration. */
function plain(wrapped: PickleValue | undefined): PickleValue | undefined {
  let value = wrapped;
  for (let i = 0; i < mostWrappings && value instanceof PickleObject; i++) {
    const { state, given }: PickleObject = value;
    if (!(state instanceof Map)) {
      if (given.length !== 1) break;
      value = given[0];
    } else if (state.has('_content')) return state.get('_content');
    else if (state.has('_val')) value = state.get('_val');
    else break;
  }
  return value;
}

/** Whether a value is an option by itself. Containers of a pickle are walked nowhere: see {@link shown}. */
const isOption = (value: PickleValue | undefined): boolean =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';

/** More options than any config has. */
const mostOptions = 10_000;

/** A field of a dict, of omegaconf's dict, or of a namespace; undefined if it is not there, or None. */
function field(container: PickleValue | undefined, name: string): PickleValue | undefined {
  const held = plain(container);
  const fields = held instanceof PickleObject ? held.state : held;
  return fields instanceof Map ? (plain(fields.get(name)) ?? undefined) : undefined;
}

/** The options in one part of a config, without its parts; none where it is no part. */
function fieldsOf(container: PickleValue | undefined): Record<string, unknown> {
  const held = plain(container);
  const fields = held instanceof PickleObject ? held.state : held;
  if (!(fields instanceof Map) || fields.size > mostOptions) return {};
  const options = [...fields].map(([name, value]) => [String(name), plain(value)] as const);
  return Object.fromEntries(options.filter(([, value]) => isOption(value)));
}

/** The options of the model, in a config where they are a part of it, or in a namespace of all. */
function modelPart(config: PickleValue | undefined): PickleValue | undefined {
  const part = field(config, 'model');
  return field(part, 'encoder_layers') === undefined && field(part, 'w2v_args') === undefined ? config : part;
}

/** fairseq's options and transformers' for them, where the values are the same. */
const sameFields = {
  encoder_embed_dim: 'hidden_size',
  encoder_layers: 'num_hidden_layers',
  encoder_attention_heads: 'num_attention_heads',
  encoder_ffn_embed_dim: 'intermediate_size',
  activation_fn: 'hidden_act',
  dropout: 'hidden_dropout',
  attention_dropout: 'attention_dropout',
  activation_dropout: 'activation_dropout',
  dropout_input: 'feat_proj_dropout',
  encoder_layerdrop: 'layerdrop',
  conv_bias: 'conv_bias',
  conv_pos: 'num_conv_pos_embeddings',
  conv_pos_groups: 'num_conv_pos_embedding_groups',
  conv_pos_batch_norm: 'conv_pos_batch_norm',
  layer_norm_first: 'do_stable_layer_norm',
} as const;

/** fairseq's own defaults, for what a config leaves out and transformers takes otherwise. */
const defaults = { activation_dropout: 0, layerdrop: 0, conv_bias: false, do_stable_layer_norm: false };
const defaultConvolutions = '[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2';

/** What Microsoft's WavLM, whose files are of this form, has besides: its own default of `max_distance` is 1280. */
function wavlm(options: PickleValue | undefined, refuse: (what: string) => EmoframeError): Record<string, unknown> {
  const option = (name: string) => {
    const value = field(options, name);
    if (value !== undefined && !isOption(value)) throw refuse(`has ${name} ${shown(value)}`);
    return value;
  };
  if (field(options, 'gru_rel_pos') !== true)
    throw refuse('has a bias of relative positions without the gate of WavLM');
  return {
    model_type: 'wavlm',
    num_buckets: option('num_buckets') ?? 320,
    max_bucket_distance: option('max_distance') ?? 1280,
  };
}

/**
 * The model that the root of a fairseq checkpoint describes, in transformers' terms.
 *
 * @returns undefined when it describes none
 * @throws EmoframeError `ERR_MODEL_CONFIG` when the model is not supported
 */
export function describedByFairseq(root: PickleDict, file: string): ModelDescription | undefined {
  const refuse = (what: string) =>
    new EmoframeError('ERR_MODEL_CONFIG', `The fairseq config in ${file} ${what}.`, { file });
  const cfg = field(root, 'cfg') ?? field(root, 'args');
  const outer = modelPart(root.get('model_cfg') ?? cfg);
  const before = field(outer, 'w2v_args');
  const options = before === undefined ? outer : modelPart(before);
  const task = root.get('task_cfg') ?? field(cfg, 'task');
  const stated = [field(task, 'normalize'), field(outer, 'normalize'), field(options, 'normalize')];
  const normalize = stated.find((value) => typeof value === 'boolean');
  const data2vec = field(cfg, 'model');
  const modalities = field(data2vec, 'modalities');
  if (modalities !== undefined) {
    const audio = fieldsOf(field(modalities, 'audio'));
    return describedByData2vec({ ...fieldsOf(data2vec), modalities: { audio } }, normalize, refuse);
  }
  if (field(options, 'encoder_layers') === undefined) return undefined;

  const layerType = field(options, 'layer_type') ?? 'transformer';
  if (layerType !== 'transformer') throw refuse(`has layers of type ${shown(layerType)}, which HuBERT does not have`);
  const depth = field(options, 'pos_conv_depth') ?? 1;
  if (depth !== 1) throw refuse(`has ${shown(depth)} positional convolutions, where HuBERT and wav2vec 2.0 have one`);
  const mode = field(options, 'extractor_mode') ?? 'default';
  if (mode !== 'default' && mode !== 'layer_norm') throw refuse(`has extractor_mode ${shown(mode)}`);
  const text = field(options, 'conv_feature_layers') ?? defaultConvolutions;
  const convolutions = typeof text === 'string' ? parseConvolutions(text) : undefined;
  if (convolutions === undefined) {
    throw refuse(`has conv_feature_layers ${shown(text)}, which is not a list of (channels, kernel, stride)`);
  }
  const config: Record<string, unknown> = {
    ...defaults,
    feat_extract_norm: mode === 'layer_norm' ? 'layer' : 'group',
    conv_dim: convolutions.map(([channels]) => channels),
    conv_kernel: convolutions.map(([, kernel]) => kernel),
    conv_stride: convolutions.map(([, , stride]) => stride),
  };
  for (const [theirs, ours] of Object.entries(sameFields)) {
    const value = field(options, theirs);
    if (value === undefined) continue;
    if (!isOption(value)) throw refuse(`has ${theirs} ${shown(value)}`);
    config[ours] = value;
  }
  const distances = field(options, 'relative_position_embedding') === true;
  if (distances) Object.assign(config, wavlm(options, refuse));
  const normalized = normalize ?? mode === 'layer_norm';
  // Microsoft's code gives WavLM's waveforms a LayerNorm.
  return { config, normalize: normalized && distances ? { epsilon: 1e-5 } : normalized };
}

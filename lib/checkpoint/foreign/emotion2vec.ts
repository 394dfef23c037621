// The tensors of emotion2vec (FunASR; data2vec 2.0 before it) as those of a transformer of the usual names and shapes: its first blocks
// belong to the "modality encoder", and each has q, k and v in one.
import { elementsOf, type StoredTensor } from '../../model/tensor.js';

const encoder = 'modality_encoders.AUDIO.';

/** A tensor that every such model has. FunASR's names may begin with `d2v_model.`. */
export const emotion2vecAnchor = `${encoder}local_encoder.conv_layers.0.0.weight`;

const prenet = /^modality_encoders\.AUDIO\.context_encoder\.blocks\.(\d+)\./;

/** The first pattern that matches is used. The positional convolutions follow a module without tensors, number 0. */
const renames: readonly (readonly [pattern: RegExp, replacement: (...groups: string[]) => string])[] = [
  [/^local_encoder\.conv_layers\.(\d+)\.0\./, (layer) => `feature_extractor.conv_layers.${layer}.conv.`],
  [/^local_encoder\.conv_layers\.(\d+)\.2\.(?:1\.)?/, (layer) => `feature_extractor.conv_layers.${layer}.layer_norm.`],
  [/^project_features\.1\./, () => 'feature_projection.layer_norm.'],
  [/^project_features\.2\./, () => 'feature_projection.projection.'],
  [
    /^relative_positional_encoder\.([1-9]\d*)\.0\./,
    (place) => `encoder.pos_conv_embed.layers.${Number(place) - 1}.conv.`,
  ],
  [/^extra_tokens$/, () => 'encoder.extra_tokens'],
  [/^alibi_scale$/, () => 'encoder.alibi_scale'],
  [/^context_encoder\.norm\./, () => 'encoder.layer_norm.'],
];

const ofBlock: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/^attn\.proj\./, 'attention.out_proj.'],
  [/^norm1\./, 'layer_norm.'],
  [/^norm2\./, 'final_layer_norm.'],
  [/^mlp\.fc1\./, 'feed_forward.intermediate_dense.'],
  [/^mlp\.fc2\./, 'feed_forward.output_dense.'],
];

/** q, k and v, which are one after another in it. */
function split(layer: string, { name, shape, read }: StoredTensor): StoredTensor[] {
  const kind = name.slice(name.lastIndexOf('.') + 1);
  const [rows = 0, ...rest] = shape;
  const own = [rows / 3, ...rest];
  const size = elementsOf({ shape: own });
  return ['q', 'k', 'v'].map((part, i) => ({
    name: `${layer}attention.${part}_proj.${kind}`,
    shape: own,
    read: async (into) => {
      const whole = (await read()).subarray(i * size, (i + 1) * size);
      if (into === undefined || into.length < size) return whole.slice();
      into.set(whole);
      return into.subarray(0, size);
    },
  }));
}

/** What of a block a tensor is; none: something else. */
function blockTensors(layer: number, part: string, tensor: StoredTensor): StoredTensor[] {
  const name = `encoder.layers.${layer}.`;
  if (/^attn\.qkv\.(?:weight|bias)$/.test(part) && tensor.shape[0]! % 3 === 0) return split(name, tensor);
  const rename = ofBlock.find(([pattern]) => pattern.test(part));
  return rename === undefined ? [] : [{ ...tensor, name: name + part.replace(...rename) }];
}

/** Without the sides of 1 in front and behind that broadcasting wants. */
function reshaped(tensor: StoredTensor): StoredTensor {
  const { name, shape } = tensor;
  if (name === 'encoder.extra_tokens' && shape.length === 3 && shape[0] === 1)
    return { ...tensor, shape: shape.slice(1) };
  // [layers, 1, heads, 1, 1], without the first in older files: scales of layers are not supported.
  const heads = shape.at(-3) ?? 0;
  if (name === 'encoder.alibi_scale' && elementsOf(tensor) === heads) return { ...tensor, shape: [heads] };
  return tensor;
}

/** The encoder's tensors by transformers' names, and the names of the others. */
export function emotion2vecTensors(all: readonly StoredTensor[]): {
  tensors: Map<string, StoredTensor>;
  ignored: string[];
} {
  const anchor = all.find(({ name }) => name.endsWith(emotion2vecAnchor))?.name ?? emotion2vecAnchor;
  const prefix = anchor.slice(0, -emotion2vecAnchor.length);
  const own = (name: string) => (name.startsWith(prefix) ? name.slice(prefix.length) : '');
  const before = all.reduce((most, { name }) => Math.max(most, Number(prenet.exec(own(name))?.[1] ?? -1)), -1) + 1;
  const tensors = new Map<string, StoredTensor>();
  const ignored: string[] = [];
  for (const tensor of all) {
    const found = encoderTensors(own(tensor.name), before, tensor);
    if (found.length === 0) ignored.push(tensor.name);
    for (const each of found) tensors.set(each.name, each);
  }
  return { tensors, ignored };
}

function encoderTensors(name: string, before: number, tensor: StoredTensor): StoredTensor[] {
  const [first, ofPrenet] = prenet.exec(name) ?? [];
  if (first !== undefined) return blockTensors(Number(ofPrenet), name.slice(first.length), tensor);
  const [main, block] = /^blocks\.(\d+)\./.exec(name) ?? [];
  if (main !== undefined) return blockTensors(before + Number(block), name.slice(main.length), tensor);
  if (!name.startsWith(encoder)) return [];
  const part = name.slice(encoder.length);
  for (const [pattern, replacement] of renames) {
    const match = pattern.exec(part);
    if (match === null) continue;
    const [whole, ...groups] = match;
    return [reshaped({ ...tensor, name: replacement(...groups) + part.slice(whole.length) })];
  }
  return [];
}

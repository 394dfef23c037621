// A model's weights on their way into a graph: still in their file, and turned into the form in which the graph reads them
// when their turn comes. Two tensors are in memory at a time.
import { classifierOptions, type Head } from '../checkpoint/head.js';
import { encoderShapes } from '../checkpoint/shapes.js';
import { EmoframeError } from '../errors.js';
import type { AlignmentSettings } from '../model/alignment.js';
import type { ClassifierOptions, HubertShape } from '../model/binding.js';
import { frameWidth, pooledWidth } from '../model/classifier.js';
import { newFloats, roomFor } from '../model/floats.js';
import { elementsOf, type StoredTensor } from '../model/tensor.js';
import { yieldWhenDue } from '../yield.js';
import { distanceTable } from './positionBias.js';

const positionalConv = 'encoder.pos_conv_embed.conv';

/** Rows and columns of a block that is transposed at once: both sides stay in the processor's first cache. */
const block = 32;
/** Elements of the positional convolution between two looks at the clock. */
const chunk = 1 << 15;

/** HuBERT's weights and those of its classifier and alignment network, by transformers' names and our own. */
export class Weights {
  readonly #tensors: ReadonlyMap<string, StoredTensor>;
  /** The buffer that a tensor is read into before it is transposed. */
  #memory = new Float32Array();

  /**
   * @throws EmoframeError `ERR_TENSOR` naming a tensor that is missing or has the wrong shape; `ERR_HEAD` for an alignment
   * network over a layer that the model does not have
   */
  constructor(
    private readonly shape: HubertShape,
    head: Head | undefined,
    encoder: ReadonlyMap<string, StoredTensor>,
    file: string,
  ) {
    const network = head?.alignment;
    if (network && network.source !== 'features' && network.layer !== 'output' && network.layer > shape.layers) {
      throw new EmoframeError(
        'ERR_HEAD',
        `The alignment network of ${file} reads hidden state ${network.layer}, but the model has ${shape.layers} layers: the two do not belong together.`,
        { file },
      );
    }
    const tensors = new Map(encoder);
    for (const { name, shape, data } of head?.tensors ?? []) {
      tensors.set(name, { name, shape, read: async () => data });
    }
    const wanted = [...encoderShapes(shape), ...(head === undefined ? [] : headShapes(shape, head))];
    for (const [name, extents] of wanted) {
      // A model that was never trained with masks has none, and inference has no use for it.
      if (name === 'masked_spec_embed') continue;
      const found = tensors.get(name)?.shape;
      if (found?.join() === extents.join()) continue;
      const problem = found === undefined ? 'is missing' : `has shape [${found.join(', ')}]`;
      throw new EmoframeError(
        'ERR_TENSOR',
        `Tensor ${name} of ${file} ${problem}; its model needs it with shape [${extents.join(', ')}].`,
        { file, tensor: name },
      );
    }
    this.#tensors = tensors;
  }

  /** A tensor as it is. */
  get(name: string): StoredTensor {
    return this.#tensors.get(name)!;
  }

  /** A linear layer's `[out, in]`, or some columns of it, as `[in, out]`. */
  transposed(name: string, columns?: { first: number; count: number }): StoredTensor {
    const source = this.get(name);
    const [rows, width] = source.shape as [number, number];
    const { first, count } = columns ?? { first: 0, count: width };
    return {
      name: columns === undefined ? name : `${name}[${first}:${first + count}]`,
      shape: [count, rows],
      read: async (into) => {
        const from = await this.#read(source);
        const out = roomFor(count * rows, into);
        for (let row = 0; row < rows; row += block) {
          await yieldWhenDue();
          for (let column = 0; column < count; column += block) {
            const [rowEnd, columnEnd] = [Math.min(row + block, rows), Math.min(column + block, count)];
            for (let c = column; c < columnEnd; c++)
              for (let r = row; r < rowEnd; r++) out[c * rows + r] = from[r * width + first + c]!;
          }
        }
        return out;
      },
    };
  }

  /** Of attention's bias `[H, 2 reach + 1]`: a value for each distance from query to key. */
  distanceTable(bias: { buckets: number; reach: number }): StoredTensor {
    return distanceTable(this.get('encoder.layers.0.attention.rel_attn_embed.weight'), bias);
  }

  /** The positional convolution's `[out, in / groups, kernel]`: of each tap, its direction over its norm times its magnitude. */
  positional(): StoredTensor {
    const magnitudes = this.get(`${positionalConv}.parametrizations.weight.original0`);
    const directions = this.get(`${positionalConv}.parametrizations.weight.original1`);
    const kernel = this.shape.positionalKernel;
    return {
      name: `${positionalConv}.weight`,
      shape: directions.shape,
      read: async (into) => {
        const scales = Float64Array.from(await magnitudes.read());
        const from = await this.#read(directions);
        const out = roomFor(from.length, into);
        const squares = new Float64Array(kernel);
        const each = async (work: (i: number) => void) => {
          for (let first = 0; first < from.length; first += chunk) {
            await yieldWhenDue();
            const end = Math.min(first + chunk, from.length);
            for (let i = first; i < end; i++) work(i);
          }
        };
        await each((i) => {
          squares[i % kernel]! += from[i]! * from[i]!;
        });
        // A tap of zeros has no direction, and stays as it is.
        for (let tap = 0; tap < kernel; tap++) scales[tap]! /= Math.sqrt(squares[tap]!) || 1;
        await each((i) => {
          out[i] = from[i]! * scales[i % kernel]!;
        });
        return out;
      },
    };
  }

  /** The same memory serves one tensor after another. */
  async #read(source: StoredTensor): Promise<Float32Array> {
    const count = elementsOf(source);
    if (this.#memory.length < count) this.#memory = newFloats(count);
    return source.read(this.#memory);
  }
}

type Named = [name: string, shape: number[]];

/** Names and shapes of a head's tensors. */
function headShapes(shape: HubertShape, head: Head): Named[] {
  const classifier = classifierOptions(head);
  return [
    ...(classifier === undefined ? [] : classifierShapes(shape, classifier)),
    ...(head.alignment === undefined ? [] : alignmentShapes(shape, head.labels.length, head.alignment)),
  ];
}

const pair = (name: string, weight: number[]): Named[] => [
  [`${name}.weight`, weight],
  [`${name}.bias`, [weight[0]!]],
];

function classifierShapes({ hiddenSize, layers }: HubertShape, options: ClassifierOptions): Named[] {
  const { classes, pooling, source, projector, dense = [], bias = true } = options;
  const width = frameWidth(options, hiddenSize);
  const inputs = [pooledWidth(options, hiddenSize), ...dense.map((layer) => layer.width)];
  const scores = !['mean', 'sum', 'max'].includes(pooling);
  return [
    ...(source === 'layers' ? [['layer_weights', [layers + 1]] satisfies Named] : []),
    ...(projector === undefined ? [] : pair('projector', [projector, hiddenSize])),
    ...(scores ? [['pooling.weight', [width]] satisfies Named] : []),
    ...(pooling === 'attentive-stats' ? pair('pooling.linear', [width, width]) : []),
    ...dense.flatMap((layer, i) => [
      ...pair(`dense.${i}`, [layer.width, inputs[i]!]),
      ...(layer.norm ? pair(`dense.${i}.norm`, [layer.width]) : []),
    ]),
    ...pair('classifier', [classes, inputs.at(-1)!]).slice(0, bias ? 2 : 1),
  ];
}

function alignmentShapes(
  { hiddenSize, convDim }: HubertShape,
  classes: number,
  { source, layer, width, halfWidths, melBands }: AlignmentSettings,
): Named[] {
  const columns = (source === 'features' ? convDim.at(-1)! : hiddenSize) + melBands;
  return [
    ['alignment.input_mean', [columns]],
    ['alignment.input_factor', [columns]],
    ...pair('alignment.projection', [width, columns]),
    ...halfWidths.flatMap((half, i) => [
      ...pair(`alignment.blocks.${i}.norm`, [width]),
      ...pair(`alignment.blocks.${i}.conv`, [width, width, 2 * half + 1]),
    ]),
    ...pair('alignment.norm', [width]),
    ...pair('alignment.output', [classes, width]),
    ['alignment.utterance_bias', [classes]],
    ...(source === 'layers' ? [['alignment.layer_weights', [Number(layer) + 1]] satisfies Named] : []),
  ];
}

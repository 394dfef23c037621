// Builds a graph of ONNX operators. It knows the format and nothing of any model.
import { create } from '@bufbuild/protobuf';
import type { StoredTensor } from '../model/tensor.js';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
  ValueInfoProtoSchema,
} from './onnx_pb.js';

/** The name under which a value of a graph is known. */
export type Value = string;

/** An attribute of an operator: an integer, several, a floating-point number, or a graph that the operator runs. */
export type Attribute = number | readonly number[] | { float: number } | { graph: GraphProto };

/** How an operator is made. */
interface NodeOptions {
  /** Where in the model it is, e.g. `encoder.layers.0.attention`; the operator's name is made of it. */
  scope: string;
  attributes?: Record<string, Attribute>;
  /** What its output is called; absent: as the operator. */
  output?: Value;
}

/** A recurrence: what it starts from, what it goes through, and its step. */
interface ScanOptions {
  scope: string;
  /** Float32 values before the first step. */
  initial: readonly Value[];
  /** Float32 values of which each step takes a slice, along this axis of theirs. */
  over: readonly Value[];
  axis: number;
  /** From the last slice to the first. What is collected lies in the order of the slices all the same. */
  backwards?: boolean;
  /** One step, as operators of `graph`: from the state and slices, without their axis, to the next state and what is collected. */
  step: (graph: Graph, state: Value[], slices: Value[]) => { state: Value[]; collected: Value[] };
}

/** What all graphs of a model share, however deep they nest. */
interface Shared {
  /** Small constants of the graph itself. */
  readonly constants: TensorProto[];
  readonly constantNames: Set<string>;
  readonly weights: Map<string, StoredTensor>;
  /** How often each name was asked for. */
  readonly names: Map<string, number>;
}

/**
 * Operators in the order in which they run, and the constants that they read.
 *
 * @example
 * const graph = new Graph();
 * const doubled = graph.node('Mul', ['input', graph.scalar(2)], { scope: 'gain' });
 */
export class Graph {
  readonly nodes: NodeProto[] = [];
  readonly #shared: Shared;

  /** @param outer the graph of whose operators one runs this: its values can be read here, and it keeps the constants */
  constructor(outer?: Graph) {
    this.#shared = outer
      ? outer.#shared
      : { constants: [], constantNames: new Set(), weights: new Map(), names: new Map() };
  }

  get constants(): TensorProto[] {
    return this.#shared.constants;
  }

  /** The model's weights, which stay where they are until the graph is written. */
  get weights(): StoredTensor[] {
    return [...this.#shared.weights.values()];
  }

  /** Adds an operator and gives its one output. */
  node(type: string, inputs: readonly Value[], { scope, attributes = {}, output }: NodeOptions): Value {
    const name = this.#unique(`${scope}/${type}`);
    const value = output ?? name;
    this.#add(type, name, inputs, [value], attributes);
    return value;
  }

  /**
   * Adds a recurrence over slices of values.
   *
   * @returns what its steps collect, with the slices' axis
   * @example
   * // Running sums of x [batch, frames].
   * const [sums] = graph.scan({
   *   scope: 'sums',
   *   initial: [zeros],
   *   over: [x],
   *   axis: 1,
   *   step: (inner, [sum], [slice]) => {
   *     const next = inner.node('Add', [sum!, slice!], { scope: 'sums' });
   *     return { state: [next], collected: [inner.node('Identity', [next], { scope: 'sums' })] };
   *   },
   * });
   */
  scan({ scope, initial, over, axis, backwards = false, step }: ScanOptions): Value[] {
    const name = this.#unique(`${scope}/Scan`);
    const inner = new Graph(this);
    const state = initial.map((_, i) => `${name}/state.${i}`);
    const slices = over.map((_, i) => `${name}/slice.${i}`);
    const { state: next, collected } = step(inner, state, slices);
    const body = create(GraphProtoSchema, {
      name: `${name}/step`,
      node: inner.nodes,
      input: [...state, ...slices].map(floats),
      output: [...next, ...collected].map(floats),
    });
    const last = next.map((_, i) => `${name}/last.${i}`);
    const outputs = collected.map((_, i) => `${name}/collected.${i}`);
    const each = (values: readonly unknown[], setting: number) => values.map(() => setting);
    const direction = backwards ? 1 : 0;
    this.#add('Scan', name, [...initial, ...over], [...last, ...outputs], {
      body: { graph: body },
      num_scan_inputs: over.length,
      scan_input_axes: each(over, axis),
      scan_output_axes: each(collected, axis),
      scan_input_directions: each(over, direction),
      scan_output_directions: each(collected, direction),
    });
    return outputs;
  }

  /** A float32 tensor of the model, by its own name. */
  weight(tensor: StoredTensor): Value {
    this.#shared.weights.set(tensor.name, tensor);
    return tensor.name;
  }

  /** A float32 number. */
  scalar(value: number): Value {
    return this.#constant(`float:${value}`, TensorProto_DataType.FLOAT, [], bytesOf(Float32Array.of(value)));
  }

  /** Float32 numbers, row by row. */
  floats(values: readonly number[], shape: readonly number[]): Value {
    const name = `float[${shape.join()}]:${values.join()}`;
    return this.#constant(name, TensorProto_DataType.FLOAT, shape, bytesOf(Float32Array.from(values)));
  }

  /** An int64 number. */
  integer(value: number): Value {
    return this.#constant(`int64.${value}`, TensorProto_DataType.INT64, [], bytesOf(BigInt64Array.of(BigInt(value))));
  }

  /** A list of int64, as shapes and axes are given. */
  integers(...values: number[]): Value {
    const bytes = bytesOf(BigInt64Array.from(values, BigInt));
    return this.#constant(`int64:${values.join()}`, TensorProto_DataType.INT64, [values.length], bytes);
  }

  #add(
    type: string,
    name: string,
    input: readonly Value[],
    output: Value[],
    attributes: Record<string, Attribute>,
  ): void {
    const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
    this.nodes.push(create(NodeProtoSchema, { name, opType: type, input: [...input], output, attribute }));
  }

  /** One for all who ask for the same. */
  #constant(name: string, dataType: TensorProto_DataType, shape: readonly number[], rawData: Bytes): Value {
    const { constants, constantNames } = this.#shared;
    if (!constantNames.has(name)) {
      constantNames.add(name);
      constants.push(create(TensorProtoSchema, { name, dataType, dims: shape.map(BigInt), rawData }));
    }
    return name;
  }

  #unique(name: string): string {
    const { names } = this.#shared;
    const before = names.get(name) ?? 0;
    names.set(name, before + 1);
    return before === 0 ? name : `${name}.${before}`;
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

function bytesOf({ buffer }: Float32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>): Bytes {
  return new Uint8Array(buffer);
}

/** What an inner graph takes or gives: its shape follows from what the operator is given. */
function floats(name: Value) {
  const tensorType = { elemType: TensorProto_DataType.FLOAT };
  return create(ValueInfoProtoSchema, { name, type: { value: { case: 'tensorType', value: tensorType } } });
}

function attributeOf(name: string, value: Attribute): AttributeProto {
  const type = AttributeProto_AttributeType;
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if ('float' in value) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: value.float });
  if ('graph' in value) return create(AttributeProtoSchema, { name, type: type.GRAPH, g: value.graph });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

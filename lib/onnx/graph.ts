// A graph of ONNX operators in the making. It knows the format and nothing of any model.
import { create } from '@bufbuild/protobuf';
import type { StoredTensor } from '../model/tensor.js';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataType,
  TensorProtoSchema,
} from './onnx_pb.js';

/** The name under which a value of a graph is known. */
export type Value = string;

/** An attribute of an operator: an integer, several, or a floating-point number. */
export type Attribute = number | readonly number[] | { float: number };

/** What an operator reads and how it is set. */
interface NodeOptions {
  /** Where in the model it is, e.g. `encoder.layers.0.attention`; the operator's name is made of it. */
  scope: string;
  attributes?: Record<string, Attribute>;
  /** What its output is called; absent: as the operator. */
  output?: Value;
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
  /** Small constants of the graph itself. */
  readonly constants: TensorProto[] = [];
  readonly #weights = new Map<string, StoredTensor>();
  readonly #constantNames = new Set<string>();
  readonly #names = new Map<string, number>();

  /** The model's weights, which stay where they are until the graph is written. */
  get weights(): StoredTensor[] {
    return [...this.#weights.values()];
  }

  /** Adds an operator and gives its one output. */
  node(type: string, inputs: readonly Value[], { scope, attributes = {}, output }: NodeOptions): Value {
    const name = this.#unique(`${scope}/${type}`);
    const value = output ?? name;
    this.nodes.push(
      create(NodeProtoSchema, {
        name,
        opType: type,
        input: [...inputs],
        output: [value],
        attribute: Object.entries(attributes).map(([key, value]) => attribute(key, value)),
      }),
    );
    return value;
  }

  /** A float32 tensor of the model, by its own name. */
  weight(tensor: StoredTensor): Value {
    this.#weights.set(tensor.name, tensor);
    return tensor.name;
  }

  /** A float32 number. */
  scalar(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    return this.#constant(`float:${value}`, TensorProto_DataType.FLOAT, [], bytes);
  }

  /** A list of int64, as shapes and axes are given. */
  integers(...values: number[]): Value {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.#constant(`int64:${values.join()}`, TensorProto_DataType.INT64, [values.length], bytes);
  }

  /** One for all who ask for the same. */
  #constant(name: string, dataType: TensorProto_DataType, dims: number[], rawData: Uint8Array<ArrayBuffer>): Value {
    if (!this.#constantNames.has(name)) {
      this.#constantNames.add(name);
      this.constants.push(create(TensorProtoSchema, { name, dataType, dims: dims.map(BigInt), rawData }));
    }
    return name;
  }

  #unique(name: string): string {
    const before = this.#names.get(name) ?? 0;
    this.#names.set(name, before + 1);
    return before === 0 ? name : `${name}.${before}`;
  }
}

function attribute(name: string, value: Attribute): AttributeProto {
  const type = AttributeProto_AttributeType;
  if (typeof value === 'number') return create(AttributeProtoSchema, { name, type: type.INT, i: BigInt(value) });
  if ('float' in value) return create(AttributeProtoSchema, { name, type: type.FLOAT, f: value.float });
  return create(AttributeProtoSchema, { name, type: type.INTS, ints: value.map(BigInt) });
}

// Writes an ONNX file whose weights are still stored elsewhere: one tensor at a time is in memory, whatever the model's size. All
// lengths follow from the shapes, so the messages around the weights can be written first. A protobuf message has at most 2 GiB;
// the weights of a larger model go into a file of their own beside it (ONNX's "external data").

import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { streamFileAtomic, writeFully } from '../files/atomic.js';
import { largestOf } from '../lists.js';
import { newFloats } from '../model/floats.js';
import { elementsOf, type StoredTensor } from '../model/tensor.js';
import type { Graph } from './graph.js';
import {
  GraphProtoSchema,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './onnx_pb.js';

/** The standard operators of ONNX 1.12, which every runtime of the last years has, and the format that goes with them. */
const opsetVersion = 17n;
const irVersion = 8n;

/** The most that protobuf's parsers take. */
const largestMessage = 2 ** 31 - 1;
/** Weights in a file of their own start at pages, so that it can be mapped into memory. */
const pageBytes = 4096;
/** Smaller ones stay with the graph: runtimes read them while they optimise it. */
const smallestExternal = 1024;

/** An input or output of a graph, float32; extents are numbers or, where they vary, names. */
export interface GraphValue {
  name: string;
  shape: (number | string)[];
  description: string;
}

/** All that an ONNX file holds. */
export interface OnnxModel {
  name: string;
  description: string;
  producer: { name: string; version: string };
  graph: Graph;
  inputs: GraphValue[];
  outputs: GraphValue[];
  metadata: Record<string, string>;
}

/** How it is written. */
export interface WriteOptions {
  /** A file for the weights, beside the graph's. Absent: only when the graph's would be larger than 2 GiB, as `externalName`. */
  external?: boolean;
  /** Of that file. */
  externalName: string;
  /** The largest graph file that is written. */
  limitBytes?: number;
}

/** A weight and where its bytes go. */
interface Placed {
  weight: StoredTensor;
  bytes: number;
  /** The message in the graph's file up to the weight's bytes. */
  before: Uint8Array;
  /** In the weights' file; absent: in the message. */
  offset?: number;
}

/**
 * Writes `file`, and beside it the file of the weights where there is to be one.
 *
 * @returns the files' names
 * @throws EmoframeError `ERR_WRITE`, and what reading the weights throws
 * @example
 * await writeOnnx('out/model.onnx', model, { externalName: 'model.onnx_data' });
 */
export async function writeOnnx(file: string, model: OnnxModel, options: WriteOptions): Promise<string[]> {
  const { externalName, limitBytes = largestMessage } = options;
  const { graph } = model;
  let external = options.external ?? false;
  let placed = place(graph.weights, external ? externalName : undefined);
  let { head, totalBytes } = layOut(model, placed);
  if (!external && totalBytes > limitBytes) {
    external = true;
    placed = place(graph.weights, externalName);
    ({ head, totalBytes } = layOut(model, placed));
  }
  const memory = newFloats(Math.max(0, largestOf(graph.weights.map(elementsOf))));
  const bytesOf = async ({ weight }: Placed) => {
    const data = await weight.read(memory);
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  };
  if (external) {
    await streamFileAtomic(join(dirname(file), externalName), async (handle) => {
      let end = 0;
      for (const part of placed) {
        if (part.offset === undefined) continue;
        await writeFully(handle, new Uint8Array(part.offset - end));
        await writeFully(handle, await bytesOf(part));
        end = part.offset + part.bytes;
      }
    });
  }
  await streamFileAtomic(file, async (handle: FileHandle) => {
    await writeFully(handle, head);
    for (const part of placed) {
      await writeFully(handle, part.before);
      if (part.offset === undefined) await writeFully(handle, await bytesOf(part));
    }
  });
  return external ? [basename(file), externalName] : [basename(file)];
}

function place(weights: readonly StoredTensor[], externalName: string | undefined): Placed[] {
  let end = 0;
  return weights.map((weight) => {
    const bytes = 4 * elementsOf(weight);
    const tensor = create(TensorProtoSchema, {
      name: weight.name,
      dataType: TensorProto_DataType.FLOAT,
      dims: weight.shape.map(BigInt),
    });
    if (externalName === undefined || bytes < smallestExternal) {
      const message = concatenate(encode(tensor), prefix(TensorProtoSchema.field.rawData, bytes));
      return { weight, bytes, before: concatenate(initializer(message.length + bytes), message) };
    }
    const offset = Math.ceil(end / pageBytes) * pageBytes;
    end = offset + bytes;
    tensor.dataLocation = TensorProto_DataLocation.EXTERNAL;
    tensor.externalData = entries({ location: externalName, offset: String(offset), length: String(bytes) });
    const message = encode(tensor);
    return { weight, bytes, before: concatenate(initializer(message.length), message), offset };
  });
}

const encode = (tensor: TensorProto): Uint8Array => toBinary(TensorProtoSchema, tensor);

/** What stands before a field's bytes: its number and their count. */
function prefix(field: { number: number }, bytes: number): Uint8Array {
  return new BinaryWriter().tag(field.number, WireType.LengthDelimited).uint64(bytes).finish();
}

/** What stands before a weight's message of so many bytes. */
const initializer = (bytes: number): Uint8Array => prefix(GraphProtoSchema.field.initializer, bytes);

/** What comes before the first weight in the graph's file, and how large that file becomes. */
function layOut(model: OnnxModel, placed: readonly Placed[]): { head: Uint8Array; totalBytes: number } {
  const { graph } = model;
  const own = toBinary(
    GraphProtoSchema,
    create(GraphProtoSchema, {
      name: model.name,
      node: graph.nodes,
      initializer: graph.constants,
      input: model.inputs.map(valueInfo),
      output: model.outputs.map(valueInfo),
    }),
  );
  const weightBytes = placed.reduce(
    (sum, { before, bytes, offset }) => sum + before.length + (offset === undefined ? bytes : 0),
    0,
  );
  const outer = toBinary(
    ModelProtoSchema,
    create(ModelProtoSchema, {
      irVersion,
      opsetImport: [{ domain: '', version: opsetVersion }],
      producerName: model.producer.name,
      producerVersion: model.producer.version,
      docString: model.description,
      metadataProps: entries(model.metadata),
    }),
  );
  const head = concatenate(outer, prefix(ModelProtoSchema.field.graph, own.length + weightBytes), own);
  return { head, totalBytes: head.length + weightBytes };
}

function concatenate(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function entries(record: Record<string, string>) {
  return Object.entries(record).map(([key, value]) => create(StringStringEntryProtoSchema, { key, value }));
}

function valueInfo({ name, shape, description }: GraphValue): ValueInfoProto {
  const dim = shape.map((extent) =>
    typeof extent === 'number'
      ? { value: { case: 'dimValue' as const, value: BigInt(extent) } }
      : { value: { case: 'dimParam' as const, value: extent } },
  );
  const tensorType = { elemType: TensorProto_DataType.FLOAT, shape: { dim } };
  return create(ValueInfoProtoSchema, {
    name,
    docString: description,
    type: { value: { case: 'tensorType', value: tensorType } },
  });
}

// TensorBoard's event files, as TensorBoard reads them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { crc32c } from '../../dist/log/crc32c.js';

/** TFRecord frames, their checksums verified. `cutShort`: the last one may be, as a kill leaves it. */
export function frames(bytes, { cutShort = false } = {}) {
  const found = [];
  const unmask = (stored) => {
    const rotated = (stored - 0xa282ead8) >>> 0;
    return ((rotated << 15) | (rotated >>> 17)) >>> 0;
  };
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    if (cutShort && (left < 16 || left < 16 + Number(bytes.readBigUInt64LE(at)))) break;
    const length = Number(bytes.readBigUInt64LE(at));
    assert.is(unmask(bytes.readUInt32LE(at + 8)), crc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.is(unmask(bytes.readUInt32LE(at + 12 + length)), crc32c(data));
    found.push(data);
    at += 16 + length;
  }
  return found;
}

/** A protobuf message as field number → value; messages and strings as bytes. */
export function message(bytes) {
  const fields = {};
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const [field, type] = [key >>> 3, key & 7];
    if (type === 0) {
      fields[field] = varint();
      continue;
    }
    const length = type === 1 ? 8 : type === 5 ? 4 : varint();
    const content = bytes.subarray(at, at + length);
    at += length;
    fields[field] = type === 1 ? content.readDoubleLE() : type === 5 ? content.readFloatLE() : content;
  }
  return fields;
}

/** `[tag, step, value]` of every point that TensorBoard shows of a directory: a restart drops earlier points from its step. */
export function shownPoints(directory) {
  let points = [];
  for (const name of readdirSync(directory).sort()) {
    for (const event of frames(readFileSync(join(directory, name)), { cutShort: true }).map(message)) {
      const step = event[2] ?? 0;
      if (event[7] && message(event[7])[1] === 1) points = points.filter((point) => point[1] < step);
      if (!event[5]) continue;
      const value = message(message(event[5])[1]);
      points.push([value[1].toString(), step, value[2]]);
    }
  }
  return points;
}

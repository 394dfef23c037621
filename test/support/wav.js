/** A mono WAV file of 16-bit integers. */
export function encodeWav(values, rate = 16000) {
  const bytes = Buffer.alloc(44 + 2 * values.length);
  bytes.write('RIFF', 0, 'latin1');
  bytes.writeUInt32LE(36 + 2 * values.length, 4);
  bytes.write('WAVEfmt ', 8, 'latin1');
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(2 * rate, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36, 'latin1');
  bytes.writeUInt32LE(2 * values.length, 40);
  for (const [i, value] of values.entries()) bytes.writeInt16LE(value, 44 + 2 * i);
  return bytes;
}

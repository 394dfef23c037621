/** The head of a WAV file of 16-bit integers. */
export function wavHeader(frames, channels, rate) {
  const frameBytes = 2 * channels;
  const header = Buffer.alloc(44);
  header.write('RIFF', 0, 'latin1');
  header.writeUInt32LE(36 + frameBytes * frames, 4);
  header.write('WAVEfmt ', 8, 'latin1');
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(frameBytes * rate, 28);
  header.writeUInt16LE(frameBytes, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36, 'latin1');
  header.writeUInt32LE(frameBytes * frames, 40);
  return header;
}

/** A mono WAV file of 16-bit integers. */
export function encodeWav(values, rate = 16000) {
  const samples = Buffer.alloc(2 * values.length);
  for (const [i, value] of values.entries()) samples.writeInt16LE(value, 2 * i);
  return Buffer.concat([wavHeader(values.length, 1, rate), samples]);
}

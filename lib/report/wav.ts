/** 16 kHz mono samples as a 16-bit PCM WAV file in a `data:` URL. */
export function wavDataUrl(samples: Float32Array): string {
  const wav = Buffer.alloc(44 + 2 * samples.length);
  wav.write('RIFF', 0, 'latin1');
  wav.writeUInt32LE(36 + 2 * samples.length, 4);
  wav.write('WAVEfmt ', 8, 'latin1');
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20); // PCM
  wav.writeUInt16LE(1, 22); // mono
  wav.writeUInt32LE(16000, 24);
  wav.writeUInt32LE(32000, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36, 'latin1');
  wav.writeUInt32LE(2 * samples.length, 40);
  for (const [i, sample] of samples.entries()) {
    wav.writeInt16LE(Math.round(Math.min(Math.max(sample, -1), 1) * 32767), 44 + 2 * i);
  }
  return `data:audio/wav;base64,${wav.toString('base64')}`;
}

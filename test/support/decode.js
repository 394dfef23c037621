import { decodeFile } from '../../dist/audio/decode.js';

/** A whole file, decoded and not resampled: `{ channels, sampleRate }`. */
export async function decodeAudio(path, range) {
  const blocks = [];
  for await (const block of decodeFile(path, range)) blocks.push(block);
  const channels = blocks[0].channels.map((_, c) =>
    Float32Array.from(blocks.flatMap((block) => [...block.channels[c]])),
  );
  return { channels, sampleRate: blocks[0].sampleRate };
}

// Opus and Vorbis in Ogg. The last page says where the sound ends: what a decoder gives beyond that is padding.
import { OggVorbisDecoder } from '@wasm-audio-decoders/ogg-vorbis';
import { OpusDecoder } from 'opus-decoder';
import { EmoframeError } from '../errors.js';
import type { ByteSource } from './byteSource.js';
import { type AudioFormat, blocksFrom, type Corrupt, corruptFile } from './format.js';
import { type OggInfo, type OggPage, readOggInfo, readPackets, readPages } from './oggPages.js';
import { channelsOf } from './wasmDecoder.js';

/** Comments, which may hold a picture, and the first sound. */
const LARGEST_START_BYTES = 2 ** 25;

export const ogg: AudioFormat = {
  matches: (start) => start.toString('latin1', 0, 4) === 'OggS',
  async open(source) {
    const info = await readOggInfo(source);
    return { info, blocks: () => blocksFrom(0, decode(source, info, source.name)) };
  },
};

/** Decodes a stream from its first byte on. */
async function* decode(source: ByteSource, info: OggInfo, name: string): AsyncGenerator<Float32Array[]> {
  const corrupt = corruptFile('Ogg', name);
  const { skipped } = info;
  let decoded = 0;
  let given = 0;
  let end: number | undefined;
  for await (const { page, channels } of info.format === 'opus'
    ? decodeOpus(source, info, name)
    : decodeVorbis(source, name)) {
    if (page.last) end = page.position;
    if (channels.length === 0) continue;
    if (channels.length !== info.channelCount) throw corrupt('its channels change midway');
    const from = Math.max(skipped - decoded, 0);
    const to = Math.max((end ?? Number.POSITIVE_INFINITY) - decoded, 0);
    decoded += channels[0]!.length;
    const sound = channels.map((channel) => channel.subarray(from, to));
    if (sound[0]!.length === 0) continue;
    given += sound[0]!.length;
    yield sound;
  }
  if (end !== undefined && decoded < end) {
    throw corrupt(`it is damaged or cut short: its last page promises ${end} samples, ${decoded} were found`);
  }
  if (given === 0) throw corrupt('it holds no samples');
}

interface DecodedPage {
  page: OggPage;
  channels: Float32Array[];
}

async function* decodeOpus(source: ByteSource, info: OggInfo, name: string): AsyncGenerator<DecodedPage> {
  const corrupt = corruptFile('Ogg', name);
  let decoder: OpusDecoder | undefined;
  let gain = 1;
  let headers = 0;
  try {
    for await (const { page, packets } of readPackets(readPages(source, name), name)) {
      for (; headers < 2 && packets.length > 0; headers++) {
        const packet = packets.shift()!;
        if (headers > 0) continue;
        const head = readOpusHead(packet, info, name);
        gain = head.gain;
        decoder = new OpusDecoder(head);
        await decoder.ready;
      }
      if (decoder === undefined || packets.length === 0) {
        yield { page, channels: [] };
        continue;
      }
      const current = decoder;
      const channels = await channelsOf(() => current.decodeFrames(packets), corrupt);
      yield { page, channels: gain === 1 ? channels : channels.map((channel) => channel.map((value) => value * gain)) };
    }
  } finally {
    decoder?.free();
  }
}

/** Of RFC 7845: how packets become channels, and a gain in 1/256 dB. */
function readOpusHead(
  packet: Buffer,
  { channelCount }: OggInfo,
  name: string,
): { channels: number; streamCount: number; coupledStreamCount: number; channelMappingTable: number[]; gain: number } {
  const gain = 10 ** (packet.readInt16LE(16) / 256 / 20);
  const family = packet[18]!;
  if (packet[8]! >> 4 !== 0 || family > 1 || channelCount < 1 || channelCount > (family === 0 ? 2 : 8)) {
    throw new EmoframeError(
      'ERR_AUDIO_FORMAT',
      `${name} is Opus of ${channelCount} channels in mapping ${family}; 1 to 8 in mappings 0 and 1 are supported. Convert it.`,
      { file: name },
    );
  }
  const base = { channels: channelCount, gain };
  if (family === 0) {
    const table = channelCount === 2 ? [0, 1] : [0];
    return { ...base, streamCount: 1, coupledStreamCount: channelCount - 1, channelMappingTable: table };
  }
  if (packet.length < 21 + channelCount) throw corruptFile('Ogg', name)('its Opus header is too short');
  const [streamCount, coupledStreamCount] = [packet[19]!, packet[20]!];
  const channelMappingTable = [...packet.subarray(21, 21 + channelCount)];
  const sound = streamCount >= 1 && coupledStreamCount <= streamCount;
  if (!sound || channelMappingTable.some((source) => source !== 255 && source >= streamCount + coupledStreamCount)) {
    throw corruptFile('Ogg', name)('its Opus header maps channels that are not there');
  }
  return { ...base, streamCount, coupledStreamCount, channelMappingTable };
}

async function* decodeVorbis(source: ByteSource, name: string): AsyncGenerator<DecodedPage> {
  const corrupt = corruptFile('Ogg', name);
  const decoder = new OggVorbisDecoder();
  await decoder.ready;
  let headers = 0;
  let soundPages = 0;
  // The decoder gives a page when it has seen the next, and must not be asked before there is sound.
  let waiting: Buffer[] | undefined = [];
  try {
    for await (const { page, packets } of readPackets(readPages(source, name), name)) {
      for (; headers < 3 && packets.length > 0; headers++) checkVorbisHeader(packets.shift()!, headers, corrupt);
      if (headers === 3 && packets.length > 0) soundPages++;
      if (waiting === undefined) {
        yield { page, channels: await channelsOf(() => decoder.decode(page.bytes), corrupt) };
        if (page.last) yield { page, channels: await channelsOf(() => decoder.flush(), corrupt) };
        continue;
      }
      waiting.push(page.bytes);
      const bytes: Buffer = Buffer.concat(waiting);
      if (bytes.length > LARGEST_START_BYTES) throw corrupt('its audio begins too late');
      if (page.last && soundPages > 0)
        yield { page, channels: await channelsOf(() => decoder.decodeFile(bytes), corrupt) };
      else if (soundPages < 2) yield { page, channels: [] };
      else {
        waiting = undefined;
        yield { page, channels: await channelsOf(() => decoder.decode(bytes), corrupt) };
      }
    }
  } finally {
    decoder.free();
  }
}

/** Vorbis begins with three packets that are no sound. */
function checkVorbisHeader(packet: Buffer, index: number, corrupt: Corrupt): void {
  if (packet[0] === 2 * index + 1 && packet.toString('latin1', 1, 7) === 'vorbis') return;
  throw corrupt(`its header ${index + 1} of 3 is missing`);
}

/** A stretch of a file, in seconds from its start. An absent bound is the file's own. */
export interface AudioRange {
  startSeconds?: number;
  endSeconds?: number;
}

/** Decoded audio: one array a channel, all of one length, full scale at ±1. */
export interface DecodedAudio {
  channels: Float32Array[];
  sampleRate: number;
}

/** What a file's header tells. */
export interface AudioInfo {
  format: 'wav' | 'flac';
  sampleRate: number;
  channelCount: number;
  /** Samples of one channel; absent where the header does not say (a streamed FLAC). */
  frameCount?: number;
}

/** The samples `[start, end)` of one channel. */
export interface FrameRange {
  start: number;
  end: number;
}

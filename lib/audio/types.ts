/** A part of a file: a time range, in seconds from its start, an absent bound being the file's own; and a channel. */
export interface AudioRange {
  startSeconds?: number;
  endSeconds?: number;
  /** One channel, counted from 1; absent: the mean of all. */
  channel?: number;
}

/** Decoded audio: one array a channel, all of one length, full scale at ±1. */
export interface DecodedAudio {
  channels: Float32Array[];
  sampleRate: number;
}

/** What a file's header says. */
export interface AudioInfo {
  format: 'wav' | 'flac' | 'mp3' | 'opus' | 'vorbis';
  sampleRate: number;
  channelCount: number;
  /** Samples of one channel; absent where the header does not say (a streamed FLAC). */
  sampleCount?: number;
}

/** The samples `[start, end)` of one channel. */
export interface SampleRange {
  start: number;
  end: number;
}

/** A stretch of speech with one emotion, in seconds from the utterance's start. */
export interface Segment {
  start: number;
  end: number;
  label: string;
}

/** One utterance of a corpus: a file, or a stretch of one. */
export interface Utterance {
  /** Unique within the corpus. */
  id: string;
  /** Absolute path. */
  audio: string;
  /** Absent: not labelled (used for pretraining only). */
  label?: string;
  speaker?: string;
  session?: string;
  split?: 'train' | 'validation' | 'test';
  /** Seconds into the file; absent: from its start. */
  startSeconds?: number;
  /** Seconds into the file; absent: to its end. */
  endSeconds?: number;
  /** Frame-level truth, when known. Time outside all segments is neutral. */
  segments?: Segment[];
}

/** Something wrong with a corpus, and where. */
export interface Problem {
  file: string;
  /** 1-based line. */
  row?: number;
  reason: string;
}

export interface Corpus {
  name: string;
  utterances: Utterance[];
  problems: Problem[];
}

/** A part of an utterance with one emotion, in seconds from the utterance's start. */
export interface Segment {
  start: number;
  end: number;
  label: string;
}

/** One utterance of a corpus: a file, or a part of one. */
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
  /** The channel of the file, counted from 1; absent: the mean of all. */
  channel?: number;
  /** Frame-level truth, when known. Time outside all segments is neutral. */
  segments?: Segment[];
  /** Mean ratings by dimension (`arousal`, `dominance`, `valence`); of datasets from 0, the scale's lowest, to 1, its highest. */
  values?: Values;
}

/** Numbers by the name of their dimension. */
export type Values = Readonly<Record<string, number>>;

/** Something wrong with a corpus, and where. */
export interface Problem {
  file: string;
  /** 1-based line. */
  row?: number;
  reason: string;
}

/** A split that a dataset itself gives: ids of utterances. */
export interface GivenFold {
  name: string;
  train: string[];
  /** Absent: cut from training. */
  validation?: string[];
  test: string[];
}

/** How results on a dataset are customarily reported. */
export interface CustomaryFolds {
  scheme: 'session' | 'speaker' | 'speakers' | 'given';
  /** Folds of `speakers`. */
  count?: number;
  /** The customary split has speakers in training and test alike. */
  allowSharedSpeakers?: boolean;
}

export interface Corpus {
  name: string;
  utterances: Utterance[];
  problems: Problem[];
  /** The dataset whose layout was recognised; absent: a manifest. */
  dataset?: string;
  /** The label scheme that was applied: a name, or classes such as `ang,hap=hap+exc`. Absent: labels are as they were read. */
  labels?: string;
  /** What became of utterances of other labels: left out, or kept without a label to pretrain on. */
  others?: 'leave-out' | 'pretrain';
  /** Utterances of labels outside the scheme that were left out, of each label. */
  leftOut?: Record<string, number>;
  /** Splits that the dataset gives. */
  folds?: GivenFold[];
  /** What `customary` folds are; absent: a session at a time. */
  customary?: CustomaryFolds;
}

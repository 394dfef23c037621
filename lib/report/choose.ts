import { largestOf } from '../lists.js';
import type { PredictionRow, RunSummary } from '../run/scores.js';
import type { ReportedRun } from './readRun.js';

/** An utterance for the page: stage 4's row and, if there is one, stage 1b's. */
export interface Example {
  fold: string;
  row: PredictionRow;
  baseline?: PredictionRow;
  right: boolean;
}

/** The scores of a constant prediction, from the truth in the prediction rows. */
export interface Chance {
  wa: number;
  ua: number;
  /** Of the most common frame class. */
  frameAccuracy?: number;
  frameUa?: number;
  /** Of the most common frame class. */
  eder?: number;
}

export interface Overview {
  utterances: number;
  seconds: number;
  chance: Chance;
  examples: Example[];
}

interface Candidate {
  fold: string;
  id: string;
  label: string;
  right: boolean;
}

/**
 * Reads all predictions in two passes (they can be large) and picks examples by a fixed rule, so that the page does not
 * flatter the model: for every emotion in turn one right and one wrong utterance, then right ones, evenly spread over the list.
 */
export async function readOverview(run: ReportedRun<RunSummary>, count: number): Promise<Overview> {
  const { labels } = run.summary;
  const candidates: Candidate[] = [];
  const utterancesByLabel = new Map<string, number>();
  const framesByClass = new Array<number>(labels.length).fill(0);
  let seconds = 0;
  for (const fold of run.folds) {
    for await (const row of run.reader.rows(fold, 'predictions')) {
      const right = row.predicted === row.label;
      candidates.push({ fold, id: row.id, label: row.label, right });
      utterancesByLabel.set(row.label, (utterancesByLabel.get(row.label) ?? 0) + 1);
      seconds += row.seconds;
      for (const label of row.truth ?? []) if (label in framesByClass) framesByClass[label]!++;
    }
  }
  const frames = framesByClass.reduce((sum, n) => sum + n, 0);
  const presentFrames = framesByClass.filter((n) => n > 0).length;
  const commonest = largestOf(framesByClass) / frames;
  const classes = Math.max(utterancesByLabel.size, 1);
  const chosen = choose(candidates, labels, count);
  return {
    utterances: candidates.length,
    seconds,
    chance: {
      wa: Math.max(0, largestOf(utterancesByLabel.values())) / Math.max(candidates.length, 1),
      ua: 1 / classes,
      ...(frames > 0 ? { frameAccuracy: commonest, frameUa: 1 / presentFrames, eder: 1 - commonest } : {}),
    },
    examples: await readExamples(run, chosen),
  };
}

function choose(candidates: Candidate[], labels: readonly string[], count: number): Candidate[] {
  const each = Math.ceil(count / Math.max(labels.length, 1));
  const queues = labels.map((label) => {
    const right = candidates.filter((candidate) => candidate.label === label && candidate.right);
    const wrong = candidates.filter((candidate) => candidate.label === label && !candidate.right);
    const wrongCount = Math.min(wrong.length, Math.max(each - right.length, Math.floor(each / 2), 1));
    const fromRight = evenly(right, each - wrongCount);
    const fromWrong = evenly(wrong, wrongCount);
    return [fromRight[0], fromWrong[0], ...fromRight.slice(1), ...fromWrong.slice(1)].filter((c) => c !== undefined);
  });
  const chosen: Candidate[] = [];
  for (let turn = 0; chosen.length < count && queues.some((queue) => turn < queue.length); turn++) {
    for (const queue of queues) {
      const candidate = queue[turn];
      if (candidate !== undefined && chosen.length < count) chosen.push(candidate);
    }
  }
  return chosen;
}

/** Some of the items, evenly spread over them. */
export function evenly<T>(items: readonly T[], count: number): T[] {
  const taken = Math.min(items.length, Math.max(count, 0));
  return Array.from({ length: taken }, (_, i) => items[Math.floor(((i + 0.5) * items.length) / taken)]!);
}

async function readExamples(run: ReportedRun<RunSummary>, chosen: Candidate[]): Promise<Example[]> {
  const rows = new Map<string, PredictionRow>();
  for (const fold of new Set(chosen.map((candidate) => candidate.fold))) {
    const wanted = new Set(chosen.filter((candidate) => candidate.fold === fold).map((candidate) => candidate.id));
    for (const which of ['predictions', 'baseline'] as const) {
      for await (const row of run.reader.rows(fold, which)) {
        if (wanted.has(row.id)) rows.set(`${which}/${fold}/${row.id}`, row);
      }
    }
  }
  return chosen.map(({ fold, id, right }) => {
    const baseline = rows.get(`baseline/${fold}/${id}`);
    return {
      fold,
      row: rows.get(`predictions/${fold}/${id}`)!,
      right,
      ...(baseline === undefined ? {} : { baseline }),
    };
  });
}

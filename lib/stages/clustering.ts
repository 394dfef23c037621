// k-means over the frames of many utterances, shared by every stage that makes pseudo-labels.

import { checkFinite } from '../checkpoint/finite.js';
import { readSafetensors, readTensors, writeSafetensors } from '../checkpoint/safetensors.js';
import type { KMeansSection } from '../config/types.js';
import { EmoframeError, throwIfAborted } from '../errors.js';
import { newFloats } from '../model/floats.js';
import { PhiloxStream, sites } from '../random/philox.js';
import { verifyResult } from '../run/stageResult.js';
import { yieldWhenDue } from '../yield.js';
import type { StageContext } from './context.js';

/** Frames to cluster. */
export interface ClusterSource {
  /** Utterances of at least one frame. */
  items: readonly { id: string; frames: number }[];
  dimension: number;
  /** Their rows f32 `[T, dimension]`, in order; may be read more than once. */
  rows(): AsyncGenerator<{ id: string; rows: Float32Array }>;
}

export type LabelMap = Map<string, Int32Array>;

export interface Clustering {
  /** f32 `[K, dimension]` */
  centroids: Float32Array;
  /** Mean squared distance of the fitted frames to their centroid. */
  inertiaPerFrame: number;
  /** Of every restart. */
  inertias: number[];
  /** Frames that were fitted. */
  fittedFrames: number;
}

/** Frames to fit on, and whether they are all there are. */
export interface FitPoints {
  points: Float32Array;
  complete: boolean;
}

/** Gathers the frames to fit on: all, or `limit` of them, each equally likely. */
export async function gatherPoints(context: StageContext, source: ClusterSource, limit: number): Promise<FitPoints> {
  const { dimension, items } = source;
  const total = items.reduce((sum, { frames }) => sum + frames, 0);
  const kept = Math.min(total, limit);
  const points = newFloats(kept * dimension);
  const random = new PhiloxStream(context.seed, 0, sites.frameSample);
  let seen = 0;
  let taken = 0;
  let done = 0;
  for await (const { rows } of source.rows()) {
    throwIfAborted(context.signal);
    await yieldWhenDue();
    context.report.progress(++done, items.length, 'reading frames to cluster');
    if (kept === total) {
      points.set(rows, seen * dimension);
      seen += rows.length / dimension;
      continue;
    }
    // Selection sampling (Knuth, algorithm S): exactly `kept` of `total` frames in one pass.
    for (let row = 0; row < rows.length; row += dimension) {
      if (random.uniform() * (total - seen++) >= kept - taken) continue;
      points.set(rows.subarray(row, row + dimension), taken++ * dimension);
    }
  }
  return { points, complete: kept === total };
}

/** Fits centroids. The settings' `frameLimit` was used by `gatherPoints`. */
export async function fitCentroids(
  context: StageContext,
  points: Float32Array,
  dimension: number,
  { frameLimit: _, ...settings }: KMeansSection,
): Promise<Clustering & { labels: Int32Array }> {
  const fittedFrames = points.length / dimension;
  if (fittedFrames < settings.clusters) {
    throw new EmoframeError(
      'ERR_CLUSTERS',
      `${settings.clusters} clusters need as many frames; there are ${fittedFrames}. Lower ${context.stage}.kmeans.clusters.`,
    );
  }
  const result = await context.engine.kmeans(
    points,
    dimension,
    { ...settings, seed: context.seed },
    {
      signal: context.signal,
      onProgress: (done, total, inertia) =>
        context.report.progress(done, total, 'k-means', { inertiaPerFrame: inertia / fittedFrames }),
    },
  );
  return {
    centroids: result.centroids,
    inertiaPerFrame: result.inertia / fittedFrames,
    inertias: result.inertias,
    fittedFrames,
    labels: result.labels,
  };
}

/** The nearest centroid of every frame of these utterances. */
export async function assignLabels(
  context: StageContext,
  source: ClusterSource,
  centroids: Float32Array,
): Promise<LabelMap> {
  const labels: LabelMap = new Map();
  for await (const { id, rows } of source.rows()) {
    throwIfAborted(context.signal);
    labels.set(id, (await context.engine.assign(rows, centroids, source.dimension)).labels);
    context.report.progress(labels.size, source.items.length, 'assigning frames to clusters');
  }
  return labels;
}

/** Fits centroids on the frames of a source and labels all of them. */
export async function clusterFrames(
  context: StageContext,
  source: ClusterSource,
  settings: KMeansSection,
): Promise<Clustering & { labels: LabelMap }> {
  const { points, complete } = await gatherPoints(context, source, settings.frameLimit);
  const { labels: fitted, ...clustering } = await fitCentroids(context, points, source.dimension, settings);
  if (!complete) return { ...clustering, labels: await assignLabels(context, source, clustering.centroids) };
  return { ...clustering, labels: splitByUtterance(source.items, fitted) };
}

/** Cuts one run of labels into those of each utterance. */
export function splitByUtterance(items: readonly { id: string; frames: number }[], labels: Int32Array): LabelMap {
  const map: LabelMap = new Map();
  let first = 0;
  for (const { id, frames } of items) {
    map.set(id, labels.slice(first, first + frames));
    first += frames;
  }
  return map;
}

/** Saves labels as one tensor `[T]` an utterance; float32 holds every cluster id exactly. */
export async function saveLabels(file: string, labels: LabelMap): Promise<void> {
  await writeSafetensors(
    file,
    [...labels].map(([name, data]) => ({ name, shape: [data.length], data: new Float32Array(data) })),
  );
}

/** More utterances than a header of the format's largest size names. */
const mostLabelled = 2_000_000;

/** Labels that a stage saved. Errors: `ERR_CHECKPOINT_DAMAGED`, and as `readSafetensors`. */
export async function readLabels(file: string): Promise<LabelMap> {
  await verifyResult(file);
  const { tensors } = await readTensors(file, mostLabelled);
  return new Map([...tensors].map(([id, { data }]) => [id, new Int32Array(data)]));
}

/** Saves centroids with the layer whose hidden states they divide. */
export async function saveCentroids(
  file: string,
  centroids: Float32Array,
  dimension: number,
  layer: number,
): Promise<void> {
  await writeSafetensors(
    file,
    [{ name: 'centroids', shape: [centroids.length / dimension, dimension], data: centroids }],
    { layer: String(layer) },
  );
}

/** Centroids that an earlier stage saved. */
export async function readCentroids(
  file: string,
): Promise<{ centroids: Float32Array; layer: number; clusters: number }> {
  await verifyResult(file);
  const { tensors, metadata } = await readSafetensors(file);
  const centroids = tensors.get('centroids');
  const layer = Number(metadata.layer);
  if (centroids?.shape.length !== 2 || !Number.isInteger(layer) || layer < 0) {
    throw new EmoframeError(
      'ERR_TENSOR',
      `${file} must hold a tensor 'centroids' [K, C] and name its layer. Cluster again.`,
      { file },
    );
  }
  await checkFinite([centroids], file, file);
  return { centroids: centroids.data, layer, clusters: centroids.shape[0]! };
}

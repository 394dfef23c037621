import { env, InferenceSession } from 'onnxruntime-node';

export const versions = { onnxruntime: env.versions.node };

/** A graph with all optimisations, ready to run. */
export function openGraph(graph, threads) {
  return InferenceSession.create(graph, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    enableCpuMemArena: true,
    enableMemPattern: true,
  });
}

import type { ReadingOptions } from '../checkpoint/forms/form.js';
import { type LoadedHubert, loadHubert, loadHubertClassifier } from '../checkpoint/load.js';
import type { Head } from '../checkpoint/pretrained.js';
import { given } from '../given.js';
import { locateModel } from '../hub/download.js';
import type { Precision } from '../model/binding.js';
import { Engine } from '../model/engine.js';
import type { DeviceOptions, HubModelOptions } from './options.js';
import { PassMemory } from './passMemory.js';

/** A model for inference, with what its checkpoint says about its input. */
export interface LoadedModel extends LoadedHubert {
  memory: PassMemory;
  head?: Head;
}

/**
 * Makes something that owns an engine; where that fails, the engine is disposed of at once.
 *
 * @throws `ERR_DEVICE`, `ERR_DEVICE_UNSUPPORTED`, and what `make` throws
 */
export async function onNewEngine<Made>(
  { device = 'cpu', precision = 'fp32', threads = 0, memoryLimit = 0 }: DeviceOptions,
  make: (engine: Engine, precision: Precision) => Promise<Made>,
): Promise<Made> {
  const engine = Engine.create({ device, threads, memoryLimit });
  try {
    engine.requirePrecision(precision);
    return await make(engine, precision);
  } catch (error) {
    engine.dispose();
    throw error;
  }
}

/** The path of a model: a file or directory here, or one that is downloaded from the Hub. Errors: as {@link downloadModel} */
export function findCheckpoint(
  model: string,
  { revision, token, cacheDir, endpoint, offline, onDownload: onProgress, onWarning, signal }: HubModelOptions,
): Promise<string> {
  return locateModel(model, given({ revision, token, cacheDir, endpoint, offline, onProgress, onWarning, signal }));
}

/** Loads the HuBERT of a checkpoint without its head. */
export async function loadEncoder(engine: Engine, dir: string, precision: Precision): Promise<LoadedModel> {
  return forInference(engine, await loadHubert(engine, dir, precision));
}

/** Loads HuBERT with its classifier, its alignment network, or both. @throws `ERR_HEAD` */
export async function loadClassifier(
  engine: Engine,
  dir: string,
  precision: Precision,
  options?: ReadingOptions,
): Promise<LoadedModel & { head: Head }> {
  return forInference(engine, await loadHubertClassifier(engine, dir, precision, options));
}

async function forInference<Loaded extends LoadedHubert>(
  engine: Engine,
  loaded: Loaded,
): Promise<Loaded & { memory: PassMemory }> {
  await loaded.model.packForInference();
  return { ...loaded, memory: new PassMemory(engine, loaded.model) };
}

import type { Precision } from '../model/binding.js';
import { Engine } from '../model/engine.js';
import type { DeviceOptions } from './options.js';

/** Makes something that owns an engine; where that fails, the engine goes at once. Errors: `ERR_DEVICE`, `ERR_DEVICE_UNSUPPORTED`, and what `make` throws. */
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

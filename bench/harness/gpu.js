// What the driver's own tool says of a GPU.
import { spawnSync } from 'node:child_process';

function query(device, what, fields) {
  const args = [`--id=${device.slice('cuda:'.length)}`, `--query-${what}=${fields}`, '--format=csv,noheader,nounits'];
  const { status, stdout } = spawnSync('nvidia-smi', args, { encoding: 'utf8' });
  return status === 0 ? stdout.trim().split('\n') : [];
}

/** Name and driver, or undefined for the CPU. */
export function describeGpu(device) {
  if (device === 'cpu') return undefined;
  const [name = 'unknown', driver = 'unknown'] = query(device, 'gpu', 'name,driver_version')[0]?.split(', ') ?? [];
  return { name, driver };
}

/**
 * What a process holds of a GPU's memory, its context included. emoframe and PyTorch give nothing back while they run, so that at
 * the end this is the peak. Undefined for the CPU, and where the driver does not say (in some containers).
 */
export function gpuBytes(device, pid) {
  if (device === 'cpu') return undefined;
  const row = query(device, 'compute-apps', 'pid,used_memory').find((line) => Number.parseInt(line, 10) === pid);
  const mebibytes = Number(row?.split(', ')[1]);
  return mebibytes > 0 ? mebibytes * 2 ** 20 : undefined;
}

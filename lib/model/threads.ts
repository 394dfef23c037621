// How many threads an engine takes when it is left to choose. OpenMP counts the processors that the process may run on; in a
// container that is often the whole machine, while a quota allows the time of a few: threads beyond it would be stopped in
// the middle of their work, and all others wait for them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { smallestOf } from '../lists.js';
import { binding } from './binding.js';

/** Files of a control group that hold its quota. */
interface Places {
  /** `/proc/self/cgroup` */
  membership: string;
  /** `/sys/fs/cgroup` */
  root: string;
}

const places: Places = { membership: '/proc/self/cgroup', root: '/sys/fs/cgroup' };

/** Threads for an engine: those that OpenMP would take (`OMP_NUM_THREADS`, processor affinity), of which there are processors, within the quota. */
export function defaultThreads(): number {
  return Math.min(binding().describe().cpu.threads, quotaThreads() ?? Number.POSITIVE_INFINITY);
}

/**
 * Processors that the process's control groups (version 1 or 2) allow it the time of, rounded up: the least of its own
 * group's and of those that hold it; undefined without a quota.
 *
 * @example
 * quotaThreads(); // 2, in a container that was started with --cpus=1.5
 */
export function quotaThreads({ membership, root }: Places = places): number | undefined {
  const quotas: number[] = [];
  for (const line of read(membership)?.split('\n') ?? []) {
    const [, controllers, group] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || group === undefined) continue;
    const version2 = controllers === '';
    if (!version2 && !controllers.split(',').includes('cpu')) continue;
    // A container sees its own group as the root, whatever its name outside.
    for (const folder of new Set([root, ...pathsTo(group).map((path) => join(root, path))])) {
      const quota = version2 ? quotaOf(folder) : quotaOfVersion1(folder.replace(root, join(root, 'cpu')));
      if (quota !== undefined) quotas.push(quota);
    }
  }
  return quotas.length === 0 ? undefined : Math.max(1, Math.ceil(smallestOf(quotas)));
}

/** `/a`, `/a/b` of `/a/b`. */
function pathsTo(group: string): string[] {
  const parts = group.split('/').filter((part) => part !== '' && part !== '..');
  return parts.map((_, index) => `/${parts.slice(0, index + 1).join('/')}`);
}

/** `cpu.max`: `MICROSECONDS PERIOD`, or `max PERIOD`. */
function quotaOf(folder: string): number | undefined {
  const [quota, period] = (read(join(folder, 'cpu.max')) ?? '').trim().split(' ');
  return positiveRatio(quota, period);
}

function quotaOfVersion1(folder: string): number | undefined {
  return positiveRatio(read(join(folder, 'cpu.cfs_quota_us'))?.trim(), read(join(folder, 'cpu.cfs_period_us'))?.trim());
}

function positiveRatio(quota: string | undefined, period: string | undefined): number | undefined {
  const ratio = Number(quota) / Number(period);
  return Number.isFinite(ratio) && ratio > 0 ? ratio : undefined;
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

import { until } from '../until.ts';
import type { Started } from './cluster.ts';

/** The tasks that an instance was given last; undefined before the first assignment. */
export function tasks({ entries }: Pick<Started, 'entries'>): number[] | undefined {
  const assigned = entries.findLast(({ message }) => message === 'tasks assigned')?.fields['tasks'];
  return Array.isArray(assigned) ? assigned.map(Number).sort((a, b) => a - b) : undefined;
}

/** Waits until each instance has that many tasks, and all of them together have each task once. */
export async function spread(
  instances: readonly Pick<Started, 'entries'>[],
  counts: readonly number[],
): Promise<number[][]> {
  return until(`tasks spread as ${counts.join('+')}`, () => {
    const held = instances.map((instance) => tasks(instance) ?? []);
    const all = held.flat().sort((a, b) => a - b);
    const isSpread =
      held
        .map(({ length }) => length)
        .sort((a, b) => a - b)
        .join() === [...counts].sort((a, b) => a - b).join();
    return isSpread && new Set(all).size === all.length ? held : undefined;
  });
}

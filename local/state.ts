import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { wipePostgres } from './postgres-home.ts';

const shape = z.object({
  brokers: z.union([z.literal(1), z.literal(3)]),
  /** Part of the brokers' data. */
  clusterId: z.string(),
  ports: z.object({
    kafka: z.array(z.number()).readonly(),
    registry: z.number(),
    postgres: z.number(),
    redis: z.number(),
  }),
  /** The redis-server program, or null when this stack has no Redis. */
  redis: z.string().nullable(),
  /** Meant to stay when the process that started it ends (`bridge local up`). */
  kept: z.boolean(),
});

/** What a directory's stack is, for the processes that find it later. */
export type StackState = z.infer<typeof shape>;

/** The stack that the directory's data belongs to; undefined when there is none (or its note cannot be read). */
export function readState(directory: string): StackState | undefined {
  try {
    return shape.parse(JSON.parse(readFileSync(join(directory, 'stack.json'), 'utf8')));
  } catch {
    return undefined;
  }
}

export function writeState(directory: string, state: StackState): void {
  const file = join(directory, 'stack.json');
  writeFileSync(`${file}.new`, `${JSON.stringify(state, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
}

/**
 * Removes all data of the stack together: topics, schema ids and rows refer to each other. Only names that a stack
 * makes are removed, so that a directory chosen by mistake loses nothing else; fetched software stays.
 */
export function wipe(directory: string): void {
  wipePostgres(directory);
  for (const name of [
    'kafka-1',
    'kafka-2',
    'kafka-3',
    'registry',
    'redis',
    'logs',
    'pids',
    'env',
    'stack.json',
  ]) {
    rmSync(join(directory, name), { recursive: true, force: true });
  }
}

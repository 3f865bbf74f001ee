import { randomUUID } from 'node:crypto';
import {
  adminVariables,
  stallVariables,
  is,
  kafkaVariables,
  processVariables,
  registryVariables,
  variable,
  type Config,
} from '../process/config.ts';

/** Names the topology's consumer group and changelogs. */
export const applicationVariables = {
  APPLICATION_ID: variable<string>({
    // The end of the name is reserved for the generation.
    schema: is.name.refine((name) => !/-g\d+$/.test(name), { error: 'must not end in -g and a number' }),
    default: 'biometric-bridge',
    description:
      'consumer group of the topology, and first part of its transactional ids and changelog names',
  }),
} as const;

/** The generation that a topology process is, and for which `bridge topics` makes topics. */
export const generationVariables = {
  GENERATION: variable<number>({
    schema: is.integer(0, 1_000_000),
    default: 0,
    description:
      'which recomputation of history this is: 0 for the first, the live one plus 1 for a candidate (docs/reprocessing.md)',
  }),
} as const;

/** The environment of the topology process. */
export const topologyVariables = {
  ...kafkaVariables,
  ...registryVariables,
  ...processVariables,
  ...applicationVariables,
  ...generationVariables,
  INSTANCE_ID: variable<string>({
    schema: is.name,
    default: () => randomUUID(),
    description:
      'name of this instance; keep it across restarts, so that an open transaction is settled at once',
  }),
  NUM_STREAM_THREADS: variable<number>({
    schema: is.integer(-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER).refine((threads) => threads === 1, {
      error:
        'must be 1: a process has one stream thread; run more processes instead, each with its own INSTANCE_ID',
    }),
    default: 1,
    description: 'stream threads; 1 is the only value',
  }),
  COMMIT_INTERVAL_MS: variable<number>({
    schema: is.integer(1, 5_000),
    default: 100,
    description: 'most work in one transaction, in milliseconds; an idle topology commits at once',
  }),
  TRIGGER_RULES_FILE: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    description: 'JSON file of trigger rules to use instead of the built-in ones',
  }),
  ...adminVariables(9890),
  ...stallVariables,
} as const;

export type TopologyConfig = Config<typeof topologyVariables>;

import { randomUUID } from 'node:crypto';
import {
  adminVariables,
  is,
  kafkaVariables,
  processVariables,
  registryVariables,
  variable,
  type Config,
} from '../process/config.ts';

/** What names the topology's consumer group and changelogs. */
export const applicationVariables = {
  APPLICATION_ID: variable<string>({
    schema: is.text,
    default: 'biometric-bridge',
    description:
      'consumer group of the topology, first part of its transactional ids and of its changelogs’ names',
  }),
} as const;

/** The environment of the topology process. */
export const topologyVariables = {
  ...kafkaVariables,
  ...registryVariables,
  ...processVariables,
  ...applicationVariables,
  INSTANCE_ID: variable<string>({
    schema: is.text,
    default: () => randomUUID(),
    description:
      'this instance; give a restarted one the same, so that it settles its predecessor’s transaction at once',
  }),
  NUM_STREAM_THREADS: variable<number>({
    schema: is.integer(1, 64),
    default: 1,
    description:
      'stream threads of this process, each with tasks of its own; more than the cores help nobody',
  }),
  COMMIT_INTERVAL_MS: variable<number>({
    schema: is.integer(1, 5_000),
    default: 100,
    description: 'the most work one transaction holds; an idle topology commits at once',
  }),
  TRIGGER_RULES_FILE: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    description: 'JSON file with trigger rules instead of the built-in ones',
  }),
  ...adminVariables(9890),
} as const;

export type TopologyConfig = Config<typeof topologyVariables>;

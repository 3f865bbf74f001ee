import { biometrics } from './biometrics.ts';
import type { TopicSpec } from '../kafka/topics.ts';
import { changelogSpecs as specsOf, writeOnly, type Topology } from '../streams/index.ts';
import { firstGeneration, generationId, shadowTopic } from './generation.ts';
import { defaultRules } from './triggers.ts';
import { topicNames } from '../schemas/topics.ts';
import { vendorNames } from '../vendors/index.ts';

/** The consumer group of the topology, which is the first part of its changelogs' names. */
export function applicationIdOf(config: {
  readonly TOPIC_PREFIX: string;
  readonly APPLICATION_ID: string;
}): string {
  return `${config.TOPIC_PREFIX}${config.APPLICATION_ID}`;
}

/**
 * The changelog topics of the biometric topology's stores, and for a generation above 0 its shadow topic.
 * @param applicationId - of generation 0.
 */
export function changelogSpecs(applicationId: string, generation = 0): TopicSpec[] {
  const shadow = generation === 0 ? undefined : shadowTopic(applicationId, generation);
  const topology = anyTopology(generation, shadow);
  const specs = specsOf(topology, generationId(applicationId, generation));
  return shadow === undefined ? specs : [...specs, shadowSpec(shadow)];
}

/** Whether this build can read a value of a store. */
export function isReadable(store: string, value: Buffer): boolean {
  try {
    anyStores.find(({ name }) => name === store)?.value.deserialize(value);
    return true;
  } catch {
    return false;
  }
}

/** The topology without what a deployment decides, for callers that only need its stores. */
function anyTopology(generation: number, shadow: string | undefined): Topology {
  return biometrics({
    topics: topicNames('', vendorNames),
    rules: defaultRules,
    biometricEvent: writeOnly(() => null),
    build: '',
    generation: { ...firstGeneration, number: generation, shadow },
  });
}

/** What every generation has, whatever its number. */
const anyStores = anyTopology(0, undefined).stores;

/** The names of the stores that every generation has. */
export const storeNames = anyStores.map(({ name }) => name);

/** Holds what a candidate makes of history, including dead letters, until its generation is discarded. */
function shadowSpec(name: string): TopicSpec {
  return {
    name,
    config: {
      'cleanup.policy': 'delete',
      'compression.type': 'producer',
      'max.message.bytes': String(16 * 1024 * 1024),
      'message.timestamp.type': 'CreateTime',
      'message.timestamp.after.max.ms': '9223372036854775807',
      'retention.ms': '-1',
    },
  };
}

import { biometrics } from './biometrics.ts';
import { changelogConfig, changelogTopic, describeNodes, writeOnly } from '../streams/index.ts';
import { type TopicSpec } from '../kafka/topics.ts';
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

/** The changelog topics of the topology's stores, read from its description. */
export function changelogSpecs(applicationId: string): TopicSpec[] {
  const topology = biometrics({
    topics: topicNames('', vendorNames),
    rules: defaultRules,
    biometricEvent: writeOnly(() => null),
    build: '',
  });
  return describeNodes(topology).stores.map(({ name }) => ({
    name: changelogTopic(applicationId, name),
    config: changelogConfig,
  }));
}

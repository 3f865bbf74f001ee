/** The settings of topics that exist: what differs from their specs, and changing it. */
import { setOnTopic, topicResource, type Admin } from './client.ts';
import { settingsOf, TopicError, untilVisible, type TopicSpec } from './topics.ts';

/** A setting of a topic that is not as its spec has it. */
export interface TopicDifference {
  readonly topic: string;
  /** The broker's name of the setting, or `replication factor`, which moves data and is therefore never changed here. */
  readonly setting: string;
  readonly is: string;
  readonly wanted: string;
}

const replication = 'replication factor';

/** What differs from `specs`, of those of their topics that exist. */
export async function topicDifferences(
  admin: Admin,
  specs: readonly TopicSpec[],
  replicationFactor: number,
): Promise<TopicDifference[]> {
  const existing = new Set(await admin.listTopics());
  const present = specs.filter(({ name }) => existing.has(name));
  if (present.length === 0) return [];
  const settings = await describe(
    admin,
    present.map(({ name }) => name),
  );
  const { topics } = await admin.fetchTopicMetadata({ topics: present.map(({ name }) => name) });
  return present.flatMap(({ name, config }) => {
    const values = new Map(settings.get(name)?.map((entry) => [entry.configName, entry.configValue]));
    const partitions = topics.find((topic) => topic.name === name)?.partitions ?? [];
    const replicas = partitions.map(({ replicas }) => replicas.length);
    const other = replicas.find((count) => count !== replicationFactor);
    const differences = Object.entries(settingsOf(config, replicationFactor))
      .map(([setting, wanted]) => ({ topic: name, setting, is: values.get(setting) ?? 'unknown', wanted }))
      .filter(({ is, wanted }) => is !== wanted);
    if (other !== undefined) {
      const [is, wanted] = [String(other), String(replicationFactor)];
      differences.push({ topic: name, setting: replication, is, wanted });
    }
    return differences;
  });
}

/** Whether applySettings can change it. */
export function isApplicable({ setting }: TopicDifference): boolean {
  return setting !== replication;
}

/**
 * Changes the settings that differ, and waits until the brokers show them. All that was set on a topic besides stays.
 * The client has only the request that replaces all settings of a topic, so nobody else may change them meanwhile.
 * @throws TopicError REFUSED_SETTING naming the topic.
 */
export async function applySettings(admin: Admin, differences: readonly TopicDifference[]): Promise<void> {
  const changes = differences.filter(isApplicable);
  const topics = [...new Set(changes.map(({ topic }) => topic))];
  if (topics.length === 0) return;
  const before = await describe(admin, topics);
  for (const topic of topics) {
    const kept = (before.get(topic) ?? []).filter(({ configSource }) => configSource === setOnTopic);
    const secret = kept.find(({ isSensitive }) => isSensitive);
    if (secret !== undefined) {
      throw new TopicError(
        'REFUSED_SETTING',
        `${topic} has the setting ${secret.configName}, which brokers do not show and which would be lost: change the topic with kafka-configs.sh`,
      );
    }
    const wanted = new Map(kept.map(({ configName, configValue }) => [configName, configValue]));
    for (const change of changes) if (change.topic === topic) wanted.set(change.setting, change.wanted);
    const configEntries = [...wanted].map(([name, value]) => ({ name, value }));
    try {
      await admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: topicResource, name: topic, configEntries }],
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown failure';
      throw new TopicError('REFUSED_SETTING', `${topic} could not be changed: ${reason}`, { cause: error });
    }
  }
  await untilVisible(async () => {
    const after = await describe(admin, topics);
    for (const { topic, setting, wanted } of changes) {
      const entry = after.get(topic)?.find(({ configName }) => configName === setting);
      if (entry?.configValue !== wanted) {
        throw new TopicError(
          'REFUSED_SETTING',
          `${topic} does not show ${setting}=${wanted}: check it again`,
        );
      }
    }
  });
}

type Entry = Awaited<ReturnType<Admin['describeConfigs']>>['resources'][number]['configEntries'][number];

/** All settings of each topic. */
async function describe(admin: Admin, topics: readonly string[]): Promise<Map<string, Entry[]>> {
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: topics.map((name) => ({ type: topicResource, name })),
  });
  return new Map(resources.map(({ resourceName, configEntries }) => [resourceName, configEntries]));
}

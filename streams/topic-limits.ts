import { topicResource, type Admin } from '../kafka/client.ts';

/** Kafka's default of max.message.bytes. */
export const defaultMessageBytes = 1_048_588;

/** What one batch of records may take in each topic, as far as it is known. */
export class TopicLimits {
  /** By topic. */
  readonly #configured = new Map<string, number>();
  /** Lower ones, which refusals have taught. */
  readonly #learnt = new Map<string, number>();
  #isStale = true;

  /** Bytes that a batch may have before compression so that a topic takes it for sure. */
  of(topic: string): number {
    return this.#learnt.get(topic) ?? this.#configured.get(topic) ?? defaultMessageBytes;
  }

  /** Has the limits read again: a refusal may mean that they were changed. */
  expire(): void {
    this.#isStale = true;
  }

  /** Learns that a topic takes fewer bytes than it seemed: its limit was lowered, or may not be read. */
  lower(topic: string, bytes: number): void {
    this.#learnt.set(topic, bytes);
  }

  /** Reads the limits of `topics`, at start and after expire(). Those that cannot be read stay as they were. */
  async read(admin: Admin, topics: readonly string[]): Promise<void> {
    if (!this.#isStale || topics.length === 0) return;
    const described = await admin
      .describeConfigs({
        includeSynonyms: false,
        resources: topics.map((name) => ({
          type: topicResource,
          name,
          configNames: ['max.message.bytes', 'segment.bytes'],
        })),
      })
      .catch(() => undefined);
    if (described === undefined) return;
    this.#isStale = false;
    for (const { resourceName: topic, configEntries } of described.resources) {
      const limit = Math.min(...configEntries.map(({ configValue }) => Number(configValue)));
      if (!(limit > 0) || limit === Infinity || limit === this.#configured.get(topic)) continue;
      this.#configured.set(topic, limit);
      this.#learnt.delete(topic);
    }
  }
}

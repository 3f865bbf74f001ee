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

  /** Bytes that a batch of several records may take in a topic, before compression. */
  of(topic: string): number {
    return this.#learnt.get(topic) ?? this.#configured.get(topic) ?? defaultMessageBytes;
  }

  /** Has the limits read again: a refusal may mean that they were changed. */
  expire(): void {
    this.#isStale = true;
  }

  /**
   * Learns that a batch of several records with together `bytes` before compression is too large, although it was
   * within the limit. The limit was lowered, or may not be read, or compression made the batch larger.
   */
  lower(topic: string, bytes: number): void {
    // Half, so that after a few refusals each record is alone in its batch.
    this.#learnt.set(topic, bytes >> 1);
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

/**
 * A reader of the priority topics whose handler takes a while: NeurosClient, or a plain consumer of kafkajs. Prints a line
 * for each HIGH event at its handover, and twice a second how many events of each priority it has handled.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { NeurosClient } from '../../../consumers/neuros/index.ts';
import { kafkaClient } from '../../../kafka/client.ts';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { createDecoder, schemaIdOf } from '../../../schemas/codec.ts';
import { schemaRegistry } from '../../../schemas/registry.ts';
import { priorityTopics } from '../../../schemas/topics.ts';
import { silentLog } from '../../streams/log.ts';
import { monotonicMs } from '../machine.ts';
import { answer, settings } from './settings.ts';

const { brokers, registry, prefix, reader, handlerMs } = z
  .object({
    brokers: z.string(),
    registry: z.string(),
    prefix: z.string(),
    /** `kafkajs-n` handles n partitions at once. */
    reader: z.enum(['neuros', 'kafkajs-1', 'kafkajs-8']),
    handlerMs: z.number(),
  })
  .parse(settings());

const handled = { HIGH: 0, MEDIUM: 0, NORMAL: 0 };

async function onEvent({ event_id, priority }: BiometricEvent): Promise<void> {
  if (priority === 'HIGH') answer({ event_id, at_ms: monotonicMs() });
  await sleep(handlerMs);
  handled[priority] += 1;
}

async function startNeuros(): Promise<() => Promise<void>> {
  const client = new NeurosClient({
    ...{ brokers: brokers.split(','), registry, topicPrefix: prefix, groupId: 'neuros', onEvent },
  });
  await client.start();
  return () => client.close();
}

async function startKafkaJs(partitionsConsumedConcurrently: number): Promise<() => Promise<void>> {
  const kafka = kafkaClient({ brokers: brokers.split(',') }, { clientId: 'plain', log: silentLog });
  const decoder = createDecoder((id) => schemaRegistry({ SCHEMA_REGISTRY_URL: registry }).typeById(id));
  const consumer = kafka.consumer({ groupId: `${prefix}plain` });
  await consumer.connect();
  await consumer.subscribe({ topics: Object.values(priorityTopics(prefix)), fromBeginning: true });
  await consumer.run({
    partitionsConsumedConcurrently,
    eachMessage: async ({ message: { value } }) => {
      if (value === null) return;
      await decoder.prepare(schemaIdOf(value));
      await onEvent(decoder.decode(value));
    },
  });
  return () => consumer.disconnect();
}

const close = await (reader === 'neuros' ? startNeuros() : startKafkaJs(Number(reader.slice(-1))));
setInterval(() => answer({ handled, at_ms: monotonicMs() }), 500);
process.once('SIGTERM', () => {
  // The last batch of a plain consumer may take a minute.
  void Promise.race([close(), sleep(2_000)]).then(() => process.exit(0));
});

/** One idempotent producer, a batch at a time, over the partitions of a topic; tells what that took. */
import { kafkaClient, type Message } from '../../../kafka/client.ts';
import { monotonicMs } from '../machine.ts';
import { silentLog } from '../../streams/log.ts';
import { answer, settings } from './settings.ts';

const { brokers, topic, partitions, records, batch } = settings() as {
  brokers: string;
  topic: string;
  partitions: number;
  records: number;
  batch: number;
};
const valueBytes = 200;

// Made beforehand: what is measured is a client that is handed records, not where they come from.
const messages: Message[] = Array.from({ length: 20_000 }, (_, at) => ({
  key: Buffer.from(`user-${at}`),
  value: Buffer.from(`${at} `.padEnd(valueBytes, 'the value of a record ')),
  partition: at % partitions,
  timestamp: String(Date.now()),
  headers: {
    priority: Buffer.from('NORMAL'),
    user_id: Buffer.from(`user-${at}`),
    device_type: Buffer.from('oura'),
  },
}));

const producer = kafkaClient(
  { brokers: brokers.split(',') },
  { clientId: 'bench-produce', log: silentLog },
).producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false });
await producer.connect();
const startedAtMs = monotonicMs();
const before = process.cpuUsage();
for (let sent = 0; sent < records; sent += batch) {
  const at = sent % messages.length;
  const next = messages.slice(at, at + Math.min(batch, records - sent));
  await producer.sendBatch({ acks: -1, topicMessages: [{ topic, messages: next }] });
}
const { user, system } = process.cpuUsage(before);
const seconds = (monotonicMs() - startedAtMs) / 1_000;
await producer.disconnect();
answer({ records, seconds, cpu_seconds: (user + system) / 1e6 });

/** Fills the raw topics of a deployment. A process of its own, so that what it leaves behind burdens nobody. */
import { CompressionTypes, kafkaClient, keyPartition, type Message } from '../../../kafka/client.ts';
import { vendorNames } from '../../../vendors/index.ts';
import { rawBodies } from '../records.ts';
import { silentLog } from '../../streams/log.ts';
import { answer, settings } from './settings.ts';
import { topicNames } from '../../../schemas/topics.ts';

const { brokers, prefix, partitions, count, seed, startMs } = settings() as {
  brokers: string;
  prefix: string;
  partitions: number;
  count: number;
  seed: number;
  startMs: number;
};

// About 200 kB a batch, as Java's producer makes them under load; as many in each whatever the count of partitions.
const recordsPerSend = 1_250 * partitions * vendorNames.length;

const producer = kafkaClient(
  { brokers: brokers.split(',') },
  { clientId: 'bench-load', log: silentLog },
).producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false });
await producer.connect();
const names = topicNames(prefix, vendorNames);
let malformed = 0;
let waiting = 0;
let topics = new Map<string, Message[]>();

async function send(): Promise<void> {
  const topicMessages = [...topics].map(([topic, messages]) => ({ topic, messages }));
  topics = new Map();
  waiting = 0;
  await producer.sendBatch({ acks: -1, compression: CompressionTypes.Snappy, topicMessages });
}

for (const { device, user, body, isMalformed } of rawBodies({ count, seed, startMs })) {
  if (isMalformed) malformed += 1;
  const key = Buffer.from(user);
  const message = {
    key,
    value: body,
    partition: keyPartition(key, partitions),
    timestamp: String(Date.now()),
  };
  const messages = topics.get(names.raw[device]);
  if (messages === undefined) topics.set(names.raw[device], [message]);
  else messages.push(message);
  waiting += 1;
  if (waiting === recordsPerSend) await send();
}
if (waiting > 0) await send();
await producer.disconnect();
answer({ records: count, malformed });

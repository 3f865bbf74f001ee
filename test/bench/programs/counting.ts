/**
 * A small topology with a store. `fill` appends a record for each key and lets the topology write its changelog, as it
 * does in production; `restore` starts it anew and tells how long the stores took.
 */
import { KafkaStreams, serdes, StreamsBuilder } from '../../../streams/index.ts';
import { noMetrics } from '../../../streams/metrics.ts';
import { kafkaClient, keyPartition } from '../../../kafka/client.ts';
import { silentLog } from '../../streams/log.ts';
import { monotonicMs, peakMiB } from '../machine.ts';
import { answer, settings } from './settings.ts';

const { brokers, prefix, partitions, keys, mode } = settings() as {
  brokers: string;
  prefix: string;
  partitions: number;
  keys: number;
  mode: 'fill' | 'restore';
};
const [from, to] = [`${prefix}in`, `${prefix}out`];
const connection = { brokers: brokers.split(',') };
/** About what a baseline takes. */
const valueBytes = 100;

const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
builder
  .stream('in', from, { key: serdes.utf8, value: serdes.utf8 })
  .processValues(
    'count',
    (_, { key }, { counts }): string[] => {
      const count = Number.parseInt(counts.get(key) ?? '0') + 1;
      counts.put(key, `${count} `.padEnd(valueBytes, 'what the store knows of a key '));
      return [];
    },
    { stores: ['counts'] },
  )
  .to('out', to, { value: serdes.utf8 });

if (mode === 'fill') await append();

let committed = 0;
const restored: number[] = [];
let assigned: Moment | undefined;
let isDone: (moment: Moment) => void = () => undefined;
const done = new Promise<Moment>((resolve) => (isDone = resolve));
const streams = new KafkaStreams(builder.build(), {
  connection,
  applicationId: `${prefix}counting`,
  instanceId: mode,
  log: {
    debug: silentLog.debug,
    info(fields, message) {
      if (message === 'tasks assigned') assigned ??= now();
      if (message !== 'task restored') return;
      restored.push((fields as { records: number }).records);
      if (mode === 'restore' && restored.length === partitions) isDone(now());
    },
    warn: complain,
    error: complain,
  },
  metrics: {
    ...noMetrics,
    onCommit({ records }) {
      committed += records;
      if (mode === 'fill' && committed >= keys) isDone(now());
    },
  },
});
await streams.start();
const end = await Promise.race([done, streams.failed]);
await streams.close();
if (assigned === undefined) throw new Error('no task was assigned');
answer({
  keys: restored.reduce((sum, records) => sum + records, 0),
  seconds: (end.atMs - assigned.atMs) / 1_000,
  cpu_seconds: end.cpuSeconds - assigned.cpuSeconds,
  rss_peak_mb: peakMiB('self'),
});

interface Moment {
  readonly atMs: number;
  readonly cpuSeconds: number;
}

function now(): Moment {
  const { user, system } = process.cpuUsage();
  return { atMs: monotonicMs(), cpuSeconds: (user + system) / 1e6 };
}

async function append(): Promise<void> {
  const producer = kafkaClient(connection, { clientId: 'bench-keys', log: silentLog }).producer({
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
  });
  await producer.connect();
  for (let first = 0; first < keys; first += 10_000) {
    const messages = Array.from({ length: Math.min(10_000, keys - first) }, (_, at) => {
      const key = Buffer.from(`user-${first + at}`);
      return { key, value: 'a', partition: keyPartition(key, partitions) };
    });
    await producer.send({ topic: from, acks: -1, messages });
  }
  await producer.disconnect();
}

function complain(fields: object, message: string): void {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
}

/**
 * A reader with a backlog: 100,000 NORMAL events wait, a handler takes 50 ms, and 10 HIGH events are committed a second. How
 * long after the acknowledgement of its commit is a HIGH event handed over, and how many NORMAL ones are handled meanwhile?
 * NeurosClient next to plain consumers of kafkajs.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTopics } from '../../../kafka/topics.ts';
import { kafkaClient, keyPartition } from '../../../kafka/client.ts';
import type { BiometricEvent, Priority } from '../../../schemas/biometric-event.ts';
import { createEncoder, type Encode } from '../../../schemas/codec.ts';
import { registerSchemas } from '../../../schemas/contract.ts';
import { schemaRegistry } from '../../../schemas/registry.ts';
import { priorityTopics, readerTopicSpecs, topicNames, topicSpecs } from '../../../schemas/topics.ts';
import { anEvent } from '../../schemas/events.ts';
import { silentLog } from '../../streams/log.ts';
import type { Bench } from '../bench.ts';
import { deleteTopicsWith } from '../deployment.ts';
import { monotonicMs } from '../machine.ts';
import { failure } from '../processes.ts';
import { quantile, type Figure, type Pair } from '../report.ts';

const partitions = 12;
const users = 1_000;
const handlerMs = 50;
const highPerSecond = 10;
const plain = ['kafkajs-1', 'kafkajs-8'] as const;
type Reader = 'neuros' | (typeof plain)[number];

interface ReaderRun {
  /** From the acknowledgement of the commit to the handover, ms; of an event that was not handed over until the end. */
  readonly latencies: readonly number[];
  readonly notHandedOver: number;
  readonly normalPerSecond: number;
}

export async function neuros(bench: Bench): Promise<Figure[]> {
  const runs: Record<Reader, ReaderRun>[] = [];
  for (let at = 0; at < bench.options.pairs; at += 1) {
    const readers: readonly Reader[] = at % 2 === 0 ? ['neuros', ...plain] : [...plain, 'neuros'];
    const run: Partial<Record<Reader, ReaderRun>> = {};
    for (const reader of readers) {
      bench.progress(`neuros, run ${at + 1} of ${bench.options.pairs}: ${reader}`);
      run[reader] = await measure(bench, reader);
    }
    runs.push(run as Record<Reader, ReaderRun>);
  }
  const figure = (
    name: string,
    unit: string,
    value: (run: ReaderRun) => number,
    goals: Figure['goals'] = [],
  ): Figure => ({
    figure: name,
    unit,
    goals,
    pairs: runs.map((run): Pair => ({
      ours: { value: value(run.neuros) },
      peer: { value: value(run['kafkajs-8']) },
    })),
    details: {
      kafkajs_serial: runs.map((run) => Math.round(value(run['kafkajs-1']) * 10) / 10),
      high_sent: runs.map(({ neuros: { latencies } }) => latencies.length),
      not_handed_over: Object.fromEntries(
        (['neuros', 'kafkajs-8', 'kafkajs-1'] as const).map((reader) => [
          reader,
          runs.map((run) => run[reader].notHandedOver),
        ]),
      ),
    },
  });
  return [
    figure('neuros_high_p50', 'ms', ({ latencies }) => quantile(latencies, 0.5)),
    figure('neuros_high_p99', 'ms', ({ latencies }) => quantile(latencies, 0.99), [
      { of: 'ours', is: 'at most', value: 250 },
    ]),
    figure('neuros_high_max', 'ms', ({ latencies }) => Math.max(...latencies)),
    // One handler is reserved for NORMAL.
    figure('neuros_normal', 'events/s', ({ normalPerSecond }) => normalPerSecond, [
      { of: 'ours', is: 'at least', value: 1_000 / handlerMs },
    ]),
  ];
}

async function measure(bench: Bench, reader: Reader): Promise<ReaderRun> {
  const prefix = `bench-neuros-${randomUUID().slice(0, 8)}.`;
  const names = topicNames(prefix, []);
  const topics = Object.values(names.priority);
  const specs = [
    ...topicSpecs(names).filter(({ name }) => topics.includes(name)),
    ...readerTopicSpecs(prefix, 'neuros'),
  ];
  await createTopics(bench.admin, specs, { partitions, replicationFactor: 1 });
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: bench.registryUrl });
  const [subject] = await registerSchemas(registry, prefix);
  const encode = createEncoder(subject?.id ?? 0);
  await fill(bench, prefix, encode);
  const seconds = bench.sized(60, 10);

  const started = bench.processes.start(
    reader,
    bench.program('neuros-reader', { registry: bench.registryUrl, prefix, reader, handlerMs }),
  );
  const handedOver = new Map<string, number>();
  const counts: Count[] = [];
  started.onLine((line) => {
    if (!line.startsWith('{')) return;
    const told = JSON.parse(line) as Told;
    if ('handled' in told) counts.push(told);
    else if (!handedOver.has(told.event_id)) handedOver.set(told.event_id, told.at_ms);
  });
  let ended: string | undefined;
  void started.ended.then((code) => (ended = failure(started, code)));
  await bench.until('the reader to be at work', () => {
    if (ended !== undefined) throw new Error(ended);
    return (counts.at(-1)?.handled.NORMAL ?? 0) > 0 || undefined;
  });
  const [first] = counts.slice(-1);
  const committed = await sendHigh(bench, prefix, encode, seconds);
  const end = monotonicMs();
  await started.stop();
  await deleteTopicsWith(bench, prefix);
  const last = counts.at(-1);
  if (first === undefined || last === undefined) throw new Error(failure(started, 'no count'));
  const latencies = [...committed].map(([id, atMs]) => (handedOver.get(id) ?? end) - atMs);
  return {
    latencies,
    notHandedOver: [...committed.keys()].filter((id) => !handedOver.has(id)).length,
    normalPerSecond: (last.handled.NORMAL - first.handled.NORMAL) / ((last.at_ms - first.at_ms) / 1_000),
  };
}

interface Count {
  readonly handled: Record<Priority, number>;
  readonly at_ms: number;
}
type Told = { readonly event_id: string; readonly at_ms: number } | Count;

/** The backlog: NORMAL events of every user. */
async function fill(bench: Bench, prefix: string, encode: Encode): Promise<void> {
  const producer = kafkaClient(
    { brokers: bench.brokers.split(',') },
    { clientId: 'bench-fill', log: silentLog },
  ).producer();
  await producer.connect();
  const count = bench.sized(100_000, 20_000);
  for (let at = 0; at < count; at += 1_000) {
    const messages = Array.from({ length: Math.min(1_000, count - at) }, (_, index) =>
      messageOf(at + index, 'NORMAL', encode),
    );
    await producer.send({ topic: priorityTopics(prefix).NORMAL, messages });
  }
  await producer.disconnect();
}

/** @returns when the commit of each event was acknowledged (monotonicMs), by event id. */
async function sendHigh(
  bench: Bench,
  prefix: string,
  encode: Encode,
  seconds: number,
): Promise<Map<string, number>> {
  const producer = kafkaClient(
    { brokers: bench.brokers.split(',') },
    { clientId: 'bench-high', log: silentLog },
  ).producer({ transactionalId: `${prefix}high`, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const committed = new Map<string, number>();
  const begun = monotonicMs();
  for (let at = 0; at < seconds * highPerSecond; at += 1) {
    await sleep(Math.max(0, begun + (at * 1_000) / highPerSecond - monotonicMs()));
    bench.signal.throwIfAborted();
    const transaction = await producer.transaction();
    await transaction.send({ topic: priorityTopics(prefix).HIGH, messages: [messageOf(at, 'HIGH', encode)] });
    await transaction.commit();
    committed.set(`HIGH-${at}`, monotonicMs());
  }
  await producer.disconnect();
  return committed;
}

function messageOf(number: number, priority: Priority, encode: Encode) {
  const user = `user-${(number * 7) % users}`;
  const event: BiometricEvent = anEvent({
    event_id: `${priority}-${number}`,
    user_id: user,
    priority,
    triggers: [],
    resource_id: `${priority}-${number}`,
  });
  return { key: user, value: encode(event), partition: keyPartition(Buffer.from(user), partitions) };
}

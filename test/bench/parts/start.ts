/** How long a new topology process takes until the record that waits for it has come out. */
import { randomUUID } from 'node:crypto';
import { kafkaClient, keyPartition } from '../../../kafka/client.ts';
import { follow } from '../../../kafka/follow.ts';
import { silentLog } from '../../streams/log.ts';
import type { Bench } from '../bench.ts';
import { deleteTopicsWith, deploy, renewOutputs, type Deployment } from '../deployment.ts';
import { monotonicMs } from '../machine.ts';
import { lastJson, numberOf } from '../processes.ts';
import { preloadStartMs, rawBodies } from '../records.ts';
import type { Figure, Run } from '../report.ts';

const applicationId = 'start';
const partitions = 4;

export async function start(bench: Bench): Promise<Figure[]> {
  const { directory } = bench.peers;
  const pairs = await bench.inTurn<Run>('start', {
    ours: () => withOneRecord(bench, (deployment, partition) => startOurs(bench, deployment, partition)),
    peer:
      directory === undefined
        ? undefined
        : () => withOneRecord(bench, (deployment) => startPeer(bench, deployment)),
  });
  return [{ figure: 'start', unit: 's', pairs, goals: [{ of: 'ours', is: 'at most', value: 1.5 }] }];
}

/** A deployment of its own with one record, of oura and NORMAL. */
async function withOneRecord(
  bench: Bench,
  measure: (deployment: Deployment, partition: number) => Promise<number>,
): Promise<Run> {
  const deployment = await deploy(bench, `bench-start-${randomUUID().slice(0, 8)}.`, partitions);
  await renewOutputs(bench, deployment, applicationId);
  const bodies = rawBodies({ count: 1_000, seed: 1, startMs: preloadStartMs() });
  const isNormal = (body: Buffer): boolean => !/"rmssd":([123]?\d)\b/.test(body.toString());
  const chosen = [...bodies].find(({ device, body }) => device === 'oura' && isNormal(body));
  if (chosen === undefined) throw new Error('no body is NORMAL');
  const key = Buffer.from(chosen.user);
  const partition = keyPartition(key, partitions);
  const kafka = kafkaClient(
    { brokers: bench.brokers.split(',') },
    { clientId: 'bench-start', log: silentLog },
  );
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  await producer.send({
    topic: deployment.names.raw.oura,
    messages: [{ key, value: chosen.body, partition }],
  });
  await producer.disconnect();
  const brokerCpu = bench.brokerCpuMeter();
  const value = await measure(deployment, partition);
  const brokerCpuSeconds = brokerCpu();
  await deleteTopicsWith(bench, deployment.prefix);
  return { value, brokerCpuSeconds };
}

/** From the spawn to the output in the hands of a reader of committed records. */
async function startOurs(bench: Bench, { env, names }: Deployment, partition: number): Promise<number> {
  let endedAtMs: number | undefined;
  const reading = follow(
    { brokers: bench.brokers.split(',') },
    {
      clientId: 'bench-start',
      log: silentLog,
      from: [{ topic: names.priority.NORMAL, partition, offset: 0n }],
      onFetched({ records }) {
        if (records.length > 0) endedAtMs ??= monotonicMs();
      },
      onError: () => undefined,
    },
  );
  const startedAtMs = monotonicMs();
  const launch = bench.bridge('topology', { ...env, APPLICATION_ID: applicationId, ADMIN_PORT: '0' });
  const started = bench.processes.start('topology', launch);
  const at = await bench.until('the output of the record that waits', () => endedAtMs);
  await reading.close();
  await started.stop();
  return (at - startedAtMs) / 1_000;
}

/** From the start of its virtual machine to the first record in its operator, as it tells itself. */
async function startPeer(bench: Bench, { prefix }: Deployment): Promise<number> {
  const launch = bench.peers.kafkaStreams('Streams', {
    brokers: bench.brokers,
    'raw-prefix': `${prefix}raw.`,
    'out-prefix': `${prefix}peer`,
    expect: 1,
  });
  if (launch === undefined) throw new Error('the peer is gone');
  return numberOf(lastJson(await bench.processes.run('kafka-streams', launch)), 'startup_s');
}

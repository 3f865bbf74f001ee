/** What one producer of the client makes of a core: 200-byte values with three headers, over four partitions. */
import { randomUUID } from 'node:crypto';
import { createTopics } from '../../../kafka/topics.ts';
import { pairsOf, type Bench } from '../bench.ts';
import { countAppended } from '../committed.ts';
import { deleteTopicsWith } from '../deployment.ts';
import { lastJson, numberOf } from '../processes.ts';
import type { Figure } from '../report.ts';

const partitions = 4;

interface ProduceRun {
  readonly perCpuSecond: number;
  readonly perSecond: number;
  readonly brokerCpuSeconds: number | undefined;
}

export async function produce(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const batch of [1_000, 10_000]) {
    const runs = await bench.inTurn(`produce, batches of ${batch}`, { ours: () => run(bench, batch) });
    figures.push({
      figure: `produce_batches_of_${batch}`,
      unit: 'records/CPU s',
      pairs: pairsOf(runs, ({ perCpuSecond }) => perCpuSecond),
      goals: [{ of: 'ours', is: 'at least', value: 300_000 }],
      details: { records_per_s: runs.map(({ ours }) => Math.round(ours.perSecond)) },
    });
  }
  return figures;
}

async function run(bench: Bench, batch: number): Promise<ProduceRun> {
  const topic = `bench-produce-${randomUUID().slice(0, 8)}`;
  const records = bench.sized(2_000_000, 200_000);
  await createTopics(bench.admin, [{ name: topic, config: {} }], { partitions, replicationFactor: 1 });
  const brokerCpu = bench.brokerCpuMeter();
  const program = bench.program('produce', { topic, partitions, records, batch });
  const told = lastJson(await bench.processes.run('produce', program));
  const brokerCpuSeconds = brokerCpu();
  const appended = await countAppended(bench.admin, [topic]);
  if (appended !== records) throw new Error(`${records} records were sent, and ${appended} are in the topic`);
  await deleteTopicsWith(bench, topic);
  return {
    perCpuSecond: records / numberOf(told, 'cpu_seconds'),
    perSecond: records / numberOf(told, 'seconds'),
    brokerCpuSeconds,
  };
}

/** How fast a store is filled from its changelog. */
import { randomUUID } from 'node:crypto';
import { changelogConfig, changelogTopic } from '../../../streams/changelogs.ts';
import { createTopics } from '../../../kafka/topics.ts';
import { pairsOf, type Bench } from '../bench.ts';
import { deleteTopicsWith } from '../deployment.ts';
import { lastJson, numberOf } from '../processes.ts';
import { rounded, type Figure } from '../report.ts';

const partitions = 4;

export async function restore(bench: Bench): Promise<Figure[]> {
  const prefix = `bench-restore-${randomUUID().slice(0, 8)}.`;
  const keys = bench.sized(1_000_000, 100_000);
  const specs = [
    { name: `${prefix}in`, config: {} },
    { name: `${prefix}out`, config: {} },
    { name: changelogTopic(`${prefix}counting`, 'counts'), config: changelogConfig },
  ];
  await createTopics(bench.admin, specs, { partitions, replicationFactor: 1 });
  const program = (mode: 'fill' | 'restore') => bench.program('counting', { prefix, partitions, keys, mode });
  bench.progress(`restore: writing a changelog of ${keys.toLocaleString('en')} keys`);
  await bench.processes.run('fill', program('fill'));
  const runs = await bench.inTurn('restore', {
    ours: async () => {
      const brokerCpu = bench.brokerCpuMeter();
      const told = lastJson(await bench.processes.run('restore', program('restore')));
      const restored = numberOf(told, 'keys');
      if (restored !== keys) throw new Error(`${restored} of ${keys} keys were restored`);
      return {
        perSecond: keys / numberOf(told, 'seconds'),
        perCpuSecond: keys / numberOf(told, 'cpu_seconds'),
        peakMiB: numberOf(told, 'rss_peak_mb'),
        brokerCpuSeconds: brokerCpu(),
      };
    },
  });
  await deleteTopicsWith(bench, prefix);
  return [
    {
      figure: 'restore',
      unit: 'keys/s',
      pairs: pairsOf(runs, ({ perSecond }) => perSecond),
      goals: [{ of: 'ours', is: 'at least', value: 300_000 }],
      details: {
        keys,
        keys_per_cpu_s: runs.map(({ ours }) => rounded(ours.perCpuSecond)),
        peak_mib: runs.map(({ ours }) => rounded(ours.peakMiB)),
      },
    },
  ];
}

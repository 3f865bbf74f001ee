/** Everything anew: the whole topology under a new application id over raw topics that hold a history. */
import { pairsOf, type Bench } from '../bench.ts';
import type { Figure } from '../report.ts';
import { runStores } from '../topology-runs.ts';
import { standardPreload } from './topology.ts';

export async function replay(bench: Bench): Promise<Figure[]> {
  // A replay is just what part `topology` does with all stores: where that has run, its runs are these.
  while (bench.runs.stores.length < bench.options.pairs) {
    const deployment = await standardPreload(bench);
    bench.progress(`replay, run ${bench.runs.stores.length + 1} of ${bench.options.pairs}`);
    bench.runs.stores.push(await runStores(bench, deployment));
  }
  const runs = bench.runs.stores.map((ours) => ({ ours, peer: undefined }));
  return [
    {
      figure: 'replay_records_per_s',
      unit: 'records/s',
      pairs: pairsOf(runs, ({ records, seconds }) => records / seconds),
      goals: [],
      details: { records: runs[0]?.ours.records },
    },
    {
      figure: 'replay_records_per_cpu_s',
      unit: 'records/CPU s',
      pairs: pairsOf(runs, ({ records, cpuSeconds }) => records / cpuSeconds),
      goals: [],
    },
  ];
}

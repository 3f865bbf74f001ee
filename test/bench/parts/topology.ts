/** A topology from the first record to the last commit, exactly once, over preloaded raw topics. */
import { pairsOf, type Bench } from '../bench.ts';
import { preloaded, type Deployment } from '../deployment.ts';
import type { Figure, Goal } from '../report.ts';
import { peerTopology, runStateless, runStores, type TopologyRun } from '../topology-runs.ts';

const goals: Readonly<Record<'cpu' | 'wall' | 'memory', readonly Goal[]>> = {
  cpu: [{ of: 'ratio', is: 'at least', value: 1.3 }],
  wall: [{ of: 'ratio', is: 'at least', value: 1 }],
  memory: [{ of: 'ratio', is: 'at most', value: 0.6 }],
};

/** The records that parts `topology`, `replay`, `bounds` and `generation` work with. */
export function standardPreload(bench: Bench): Promise<Deployment> {
  return preloaded(bench, 4, bench.options.records ?? bench.sized(2_000_000, 200_000));
}

export async function topology(bench: Bench): Promise<Figure[]> {
  const deployment = await standardPreload(bench);
  // Two runs of ours beside one of the peer.
  const measured = await bench.inTurn('topology', {
    ours: async () => ({
      stateless: await runStateless(bench, deployment),
      stores: await runStores(bench, deployment),
    }),
    peer: peerTopology(bench, deployment),
  });
  bench.runs.stateless.push(...measured.map(({ ours }) => ours.stateless));
  bench.runs.stores.push(...measured.map(({ ours }) => ours.stores));
  const beside = (which: 'stateless' | 'stores') =>
    measured.map(({ ours, peer }) => ({ ours: ours[which], peer }));
  return [...figures('topology', beside('stateless')), ...figures('topology_stores', beside('stores'))];
}

function figures(
  name: string,

  runs: readonly { ours: TopologyRun; peer: TopologyRun | undefined }[],
): Figure[] {
  const details = {
    records: runs[0]?.ours.records,
    outputs_ours: runs.map(({ ours }) => ours.outputs),
    outputs_peer: runs.flatMap(({ peer }) => (peer === undefined ? [] : [peer.outputs])),
  };
  const figure = (
    what: keyof typeof goals,
    unit: string,
    value: (run: TopologyRun) => number,
    more = {},
  ): Figure => ({
    figure: `${name}_${what}`,
    unit,
    pairs: pairsOf(runs, value),
    goals: goals[what],
    details: more,
  });
  return [
    figure('cpu', 'records/CPU s', ({ records, cpuSeconds }) => records / cpuSeconds, details),
    figure('wall', 'records/s', ({ records, seconds }) => records / seconds),
    figure('memory', 'MiB', ({ peakMiB }) => peakMiB),
  ];
}

/** Whether a record costs the same with many partitions and several instances, and memory the same with any backlog. */
import type { Bench } from '../bench.ts';
import { preloaded } from '../deployment.ts';
import { median, rounded, type Figure } from '../report.ts';
import { runStateless, runStatelessInstances, runStores, type TopologyRun } from '../topology-runs.ts';

const partitionCounts = [4, 16, 64] as const;
/** Where one instance is compared with two. */
const shared = 16;
const flat = 0.15;

type Kind = 'stateless' | 'stores';
const kinds: readonly Kind[] = ['stateless', 'stores'];

export async function scale(bench: Bench): Promise<Figure[]> {
  const few = bench.sized(500_000, 20_000);
  const many = 10 * few;
  const runs = { stateless: new Runs(), stores: new Runs() };
  for (let round = 1; round <= bench.options.pairs; round += 1) {
    const place = `scale, round ${round} of ${bench.options.pairs}`;
    for (const partitions of partitionCounts) {
      const deployment = await preloaded(bench, partitions, few);
      bench.progress(`${place}: ${partitions} partitions`);
      runs.stateless.add(`${partitions}`, await runStateless(bench, deployment));
      runs.stores.add(`${partitions}`, await runStores(bench, deployment));
    }
    const deployment = await preloaded(bench, shared, few);
    bench.progress(`${place}: two instances`);
    runs.stateless.add('two instances', await runStatelessInstances(bench, deployment, 2));
    runs.stores.add('two instances', await runStores(bench, deployment, 2));
    const backlog = await preloaded(bench, 4, many);
    bench.progress(`${place}: a backlog of ${many.toLocaleString('en')}`);
    runs.stateless.add('backlog', await runStateless(bench, backlog));
  }
  return [
    ...kinds.map((kind) =>
      flatness(
        `scale_partitions_${kind}`,
        runs[kind],
        partitionCounts.map((count) => `${count}`),
      ),
    ),
    ...kinds.map((kind) => flatness(`scale_instances_${kind}`, runs[kind], [`${shared}`, 'two instances'])),
    {
      figure: 'scale_backlog_memory',
      unit: '1',
      pairs: runs.stateless.rounds.map((round) => ({
        ours: { value: memory(round['backlog']) / memory(round['4']) },
      })),
      goals: [{ of: 'ours', is: 'at most', value: 1.15 }],
      details: {
        [`peak_mib_of_${few}`]: runs.stateless.middle('4', memory),
        [`peak_mib_of_${many}`]: runs.stateless.middle('backlog', memory),
      },
    },
  ];
}

/** The runs of each round by what they were to show. */
class Runs {
  readonly rounds: Record<string, TopologyRun>[] = [];

  add(name: string, run: TopologyRun): void {
    const open = this.rounds.find((round) => !(name in round));
    if (open === undefined) this.rounds.push({ [name]: run });
    else open[name] = run;
  }

  middle(name: string, value: (run: TopologyRun | undefined) => number): number {
    return rounded(median(this.rounds.map((round) => value(round[name]))) ?? NaN);
  }
}

/** By how much the most expensive of them exceeds the cheapest: processor time per record, without the starts. */
function flatness(figure: string, runs: Runs, names: readonly string[]): Figure {
  return {
    figure,
    unit: 'max/min-1',
    pairs: runs.rounds.map((round) => {
      const costs = names.map((name) => microseconds(round[name]));
      return { ours: { value: Math.max(...costs) / Math.min(...costs) - 1 } };
    }),
    goals: [{ of: 'ours', is: 'at most', value: flat }],
    details: {
      cpu_microseconds_per_record: Object.fromEntries(
        names.map((name) => [name, runs.middle(name, microseconds)]),
      ),
    },
  };
}

function microseconds(run: TopologyRun | undefined): number {
  return run === undefined ? NaN : (run.cpuSecondsSinceFirst / run.records) * 1e6;
}

function memory(run: TopologyRun | undefined): number {
  return run?.peakMiB ?? NaN;
}

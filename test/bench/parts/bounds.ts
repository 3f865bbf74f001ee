/** How close the topology comes to what bounds it: its own computation, and the broker. */
import type { Bench } from '../bench.ts';
import { brokerCeiling } from '../broker-ceiling.ts';
import { lastJson, numberOf } from '../processes.ts';
import { preloadStartMs } from '../records.ts';
import { median, type Figure, type Run } from '../report.ts';
import { runStateless, runStores, type TopologyRun } from '../topology-runs.ts';
import { standardPreload } from './topology.ts';

const partitions = 4;

export async function bounds(bench: Bench): Promise<Figure[]> {
  const deployment = await standardPreload(bench);
  const { records } = deployment;
  const computed = bench.sized(records, 20_000);
  if (bench.runs.stateless.length === 0) bench.runs.stateless.push(await runStateless(bench, deployment));
  if (bench.runs.stores.length === 0) bench.runs.stores.push(await runStores(bench, deployment));
  const figures: Figure[] = [];
  let recordBytes = 0;
  for (const [name, withStores] of [
    ['stateless', false],
    ['stores', true],
  ] as const) {
    const runs = await bench.inTurn(`bounds, computation ${name}`, {
      ours: async () => {
        const what = { records: computed, partitions, withStores, startMs: preloadStartMs() };
        const told = lastJson(await bench.processes.run('pure', bench.program('pure', what)));
        if (numberOf(told, 'outputs') !== computed)
          throw new Error(`${computed} records led to ${numberOf(told, 'outputs')} outputs`);
        recordBytes = Math.round(numberOf(told, 'mean_bytes'));
        return { value: computed / numberOf(told, 'cpu_seconds') };
      },
    });
    const pure = runs.map(({ ours }): Run => ours);
    figures.push(
      figure(`bound_computation_${name}`, 'records/CPU s', pure),
      fraction(`fraction_of_computation_${name}`, bench.runs[name], perCpuSecond, pure),
    );
  }
  const ceilings: Run[] = [];
  for (let at = 0; at < bench.options.pairs; at += 1) {
    bench.progress('bounds, broker');
    const ceiling = await brokerCeiling(bench, { records, recordBytes, partitions });
    if (ceiling !== undefined)
      ceilings.push({ value: ceiling.perSecond, brokerCpuSeconds: ceiling.brokerCpuSeconds });
  }
  if (ceilings.length === 0) return figures;
  return [
    ...figures,
    { ...figure('bound_broker', 'records/s', ceilings), details: { record_bytes: recordBytes } },
    fraction('fraction_of_broker_stateless', bench.runs.stateless, perSecond, ceilings),
    fraction('fraction_of_broker_stores', bench.runs.stores, perSecond, ceilings),
  ];
}

function perCpuSecond({ records, cpuSeconds }: TopologyRun): number {
  return records / cpuSeconds;
}

function perSecond({ records, seconds }: TopologyRun): number {
  return records / seconds;
}

function figure(name: string, unit: string, runs: readonly Run[]): Figure {
  return { figure: name, unit, pairs: runs.map((ours) => ({ ours })), goals: [] };
}

function fraction(
  name: string,
  runs: readonly TopologyRun[],
  value: (run: TopologyRun) => number,
  bound: readonly Run[],
): Figure {
  const of = median(bound.map((run) => run.value));
  const ours = median(runs.map(value));
  if (of === null || ours === null) throw new Error(`nothing was measured for ${name}`);
  return figure(name, '1', [{ value: ours / of }]);
}

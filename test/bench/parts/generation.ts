/** What it costs to compute history again: diff, audit, a candidate, its promotion and its corrections, over the same records. */
import { randomUUID } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../kafka/client.ts';
import { readConfig } from '../../../process/config.ts';
import { Generations, generationsVariables } from '../../../replay/generations.ts';
import { correctionsOf, isSettled } from '../../../replay/promote.ts';
import type { Status } from '../../../replay/status.ts';
import { shadowTopic } from '../../../topology/generation.ts';
import { defaultRules } from '../../../topology/triggers.ts';
import type { Bench } from '../bench.ts';
import { deleteTopicsWith, outputTopics, renewOutputs, type Deployment } from '../deployment.ts';
import { cpuSeconds, peakMiB } from '../machine.ts';
import { failure, lastJson, numberOf, type Started } from '../processes.ts';
import { rounded, type Figure, type Goal } from '../report.ts';
import { untilCommitted } from '../topology-runs.ts';
import { standardPreload } from './topology.ts';

/** What a process took, from its start on. */
interface Taken {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly brokerCpuSeconds: number | undefined;
}

/** What a generation took until it had processed all records, and what it had written by then. */
interface Computed extends Taken {
  readonly changelogsMiB: number;
  readonly eventsMiB: number;
}

interface Promoted {
  /** From the start of `promote`. */
  readonly takenOverSeconds: number;
  readonly correctedSeconds: number;
  readonly corrections: number;
  /** Of the candidate, since then; and its peak from its start on. */
  readonly cpuSeconds: number;
  readonly peakMiB: number;
}

interface GenerationRun {
  readonly records: number;
  readonly live: Computed;
  readonly diff: Taken;
  readonly audit: Taken;
  readonly candidate: Computed;
  readonly status: Taken;
  readonly promoted: Promoted;
}

/** A quarter of the records come to something else: a trigger names the bound that it is below, 45 instead of 40. */
const otherRules = defaultRules.map((rule) =>
  rule.type === 'STRESS_INTERVENTION' ? { ...rule, below: 45 } : rule,
);

/** A million records in a minute. */
const auditGoal: readonly Goal[] = [{ of: 'ours', is: 'at least', value: 16_667 }];
const asFast: readonly Goal[] = [{ of: 'ratio', is: 'at least', value: 1 }];

export async function generation(bench: Bench): Promise<Figure[]> {
  const deployment = await standardPreload(bench);
  const rules = join(tmpdir(), `bench-rules-${randomUUID()}.json`);
  writeFileSync(rules, JSON.stringify(otherRules));
  try {
    const runs = await bench.inTurn('generation', { ours: () => run(bench, deployment, rules) });
    return figuresOf(runs.map(({ ours }) => ours));
  } finally {
    rmSync(rules, { force: true });
  }
}

async function run(bench: Bench, deployment: Deployment, rules: string): Promise<GenerationRun> {
  const { names, records } = deployment;
  const application = `generation-${randomUUID().slice(0, 8)}`;
  await renewOutputs(bench, deployment, application);
  const env = { ...deployment.env, APPLICATION_ID: application, ADMIN_PORT: '0' };
  const candidateEnv = { ...env, GENERATION: '1', TRIGGER_RULES_FILE: rules };
  await bench.processes.run('topics', bench.bridge('topics', env));
  const generations = await Generations.open(readConfig(generationsVariables, env), silentLog);
  try {
    const [live, old] = await compute(bench, deployment, {
      env: { ...env, INSTANCE_ID: 'live' },
      groupId: generations.groupOf(0),
      changelogs: generations.topicsOf(0),
      events: outputTopics(names),
    });
    const diff = await command(bench, ['replay', 'diff', '--json'], env);
    const audit = await command(bench, ['audit', '--json'], env);
    await bench.processes.run('topics', bench.bridge('topics', candidateEnv));
    const shadow = shadowTopic(generations.applicationId, 1);
    const [candidate, next] = await compute(bench, deployment, {
      env: { ...candidateEnv, INSTANCE_ID: 'candidate' },
      groupId: generations.groupOf(1),
      changelogs: generations.topicsOf(1).filter((topic) => topic !== shadow),
      events: [shadow],
    });
    const { told, ...status } = await command(bench, ['replay', 'status', '--json'], env);
    const promoted = await promote(bench, generations, { env, next });
    const { changed = 0, added = 0, removed = 0 } = (told as unknown as Status).candidate?.differences ?? {};
    if (promoted.corrections === 0 || promoted.corrections !== changed + added + removed)
      throw new Error(
        `${promoted.corrections} corrections of ${changed + added + removed} differences: this run does not count`,
      );
    for (const one of [old, next]) {
      const code = await one.stop();
      if (code !== 0) throw new Error(failure(one, code));
    }
    return { records, live, diff, audit, candidate, status, promoted };
  } finally {
    await generations.close();
    await bench.processes.endAll();
    await deleteTopicsWith(bench, `${generations.applicationId}-`);
  }
}

/** Starts a generation, and waits until it has processed all records. It goes on running, as it would. */
async function compute(
  bench: Bench,
  deployment: Deployment,
  {
    env,
    groupId,
    changelogs,
    events,
  }: {
    env: Readonly<Record<string, string>>;
    groupId: string;
    changelogs: readonly string[];
    events: readonly string[];
  },
): Promise<[Computed, Started]> {
  const brokerCpu = bench.brokerCpuMeter();
  const begun = performance.now();
  const started = bench.processes.start('topology', bench.bridge('topology', env));
  await untilCommitted(bench, deployment, groupId, [started]);
  const taken = {
    seconds: (performance.now() - begun) / 1_000,
    cpuSeconds: cpuSeconds(started.pid),
    peakMiB: peakMiB(started.pid),
    brokerCpuSeconds: brokerCpu(),
    changelogsMiB: bench.diskMiB(changelogs),
    eventsMiB: bench.diskMiB(events),
  };
  bench.progress(`${groupId} took ${taken.seconds.toFixed(0)} s`);
  return [taken, started];
}

/** Runs a command that has to find nothing. */
async function command(
  bench: Bench,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Taken & { told: Readonly<Record<string, unknown>> }> {
  const brokerCpu = bench.brokerCpuMeter();
  const begun = performance.now();
  const lines = await bench.processes.run(args.slice(0, 2).join('-'), bench.measuredBridge(args, env));
  const seconds = (performance.now() - begun) / 1_000;
  const usage = lastJson(lines);
  bench.progress(`bridge ${args.join(' ')} took ${seconds.toFixed(0)} s`);
  return {
    seconds,
    cpuSeconds: numberOf(usage, 'cpu_seconds'),
    peakMiB: numberOf(usage, 'rss_peak_mb'),
    brokerCpuSeconds: brokerCpu(),
    told: lastJson(lines.slice(0, -1)),
  };
}

async function promote(
  bench: Bench,
  generations: Generations,
  { env, next }: { env: Readonly<Record<string, string>>; next: Started },
): Promise<Promoted> {
  const before = cpuSeconds(next.pid);
  const begun = performance.now();
  const since = (): number => (performance.now() - begun) / 1_000;
  const promoting = bench.processes.run(
    'promote',
    bench.bridge(['replay', 'promote', '1', '--readers-ready'], env),
  );
  let takenOverSeconds: number | undefined;
  const settled = bench.until(
    'the corrections',
    async () => {
      const tasks = await generations.tasks(1);
      if (tasks.every(({ hasTakenOver }) => hasTakenOver)) takenOverSeconds ??= since();
      return isSettled(tasks) ? tasks : undefined;
    },
    { deadlineMs: 1_800_000, everyMs: 100 },
  );
  const [tasks] = await Promise.all([settled, promoting]);
  const { changed, added, removed } = correctionsOf(tasks);
  return {
    takenOverSeconds: takenOverSeconds ?? NaN,
    correctedSeconds: since(),
    cpuSeconds: cpuSeconds(next.pid) - before,
    peakMiB: peakMiB(next.pid),
    corrections: changed + added + removed,
  };
}

/** Beside each figure, as its peer, what generation 0 took in the same run. */
function figuresOf(runs: readonly GenerationRun[]): Figure[] {
  const value = (of: (run: GenerationRun) => number): number[] => runs.map((run) => rounded(of(run)));
  const figure = (
    name: string,
    unit: string,
    sides: { ours: (run: GenerationRun) => number; live?: (run: GenerationRun) => number },
    more: Pick<Figure, 'details'> & { goals?: readonly Goal[] } = {},
  ): Figure => ({
    figure: name,
    unit,
    pairs: runs.map((run) => ({
      ours: { value: sides.ours(run) },
      peer: sides.live === undefined ? undefined : { value: sides.live(run) },
    })),
    goals: [],
    ...more,
  });
  /** Pace, processor time and memory of one way to process all records. */
  const figuresFor = (name: string, of: (run: GenerationRun) => Taken, goals: readonly Goal[]): Figure[] => {
    const sides = (one: (taken: Taken, run: GenerationRun) => number) => ({
      ours: (run: GenerationRun) => one(of(run), run),
      live: (run: GenerationRun) => one(run.live, run),
    });
    return [
      figure(
        `${name}_wall`,
        'records/s',
        sides(({ seconds }, { records }) => records / seconds),
        { goals, details: { records: runs[0]?.records, seconds: value((run) => of(run).seconds) } },
      ),
      figure(
        `${name}_cpu`,
        'records/CPU s',
        sides(({ cpuSeconds }, { records }) => records / cpuSeconds),
        {
          details: {
            cpu_seconds: value((run) => of(run).cpuSeconds),
            broker_cpu_seconds: value((run) => of(run).brokerCpuSeconds ?? NaN),
          },
        },
      ),
      figure(
        `${name}_memory`,
        'MiB',
        sides(({ peakMiB }) => peakMiB),
      ),
    ];
  };
  return [
    ...figuresFor('diff', ({ diff }) => diff, asFast),
    ...figuresFor('audit', ({ audit }) => audit, auditGoal),
    ...figuresFor('generation', ({ candidate }) => candidate, []),
    figure('generation_changelogs', 'MiB', {
      ours: ({ candidate }) => candidate.changelogsMiB,
      live: ({ live }) => live.changelogsMiB,
    }),
    figure('generation_shadow', 'MiB', {
      ours: ({ candidate }) => candidate.eventsMiB,
      live: ({ live }) => live.eventsMiB,
    }),
    figure(
      'generation_status',
      's',
      { ours: ({ status }) => status.seconds },
      {
        details: {
          cpu_seconds: value(({ status }) => status.cpuSeconds),
          peak_mib: value(({ status }) => status.peakMiB),
        },
      },
    ),
    figure('generation_takeover', 's', { ours: ({ promoted }) => promoted.takenOverSeconds }),
    figure(
      'generation_corrections',
      's',
      { ours: ({ promoted }) => promoted.correctedSeconds },
      {
        details: {
          corrections: value(({ promoted }) => promoted.corrections),
          cpu_seconds: value(({ promoted }) => promoted.cpuSeconds),
          peak_mib: value(({ promoted }) => promoted.peakMiB),
        },
      },
    ),
  ];
}

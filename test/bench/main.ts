/**
 * `npm run bench`: measures the built bridge on a stack of its own, where they are there beside peers, and prints a
 * table and one JSON line for each figure. Arguments choose parts. docs/performance.md says what each figure is.
 */
import { appendFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { resetStack, startStack, type Stack } from '../../local/stack.ts';
import { stackDirectory } from '../../local/env.ts';
import { kafkaClient } from '../../kafka/client.ts';
import { silentLog } from '../streams/log.ts';
import { Bench, benchDirectory, type BenchOptions, type BenchPart } from './bench.ts';
import { build, buildPeers } from './build.ts';
import { assertLinux } from './machine.ts';
import { Peers } from './peers.ts';
import { Processes } from './processes.ts';
import { summarize, table, type FigureLine } from './report.ts';

const parts: Readonly<Record<string, () => Promise<BenchPart>>> = {
  ingress: async () => (await import('./parts/ingress.ts')).ingress,
  topology: async () => (await import('./parts/topology.ts')).topology,
  replay: async () => (await import('./parts/replay.ts')).replay,
  bounds: async () => (await import('./parts/bounds.ts')).bounds,
  latency: async () => (await import('./parts/latency.ts')).latency,
  produce: async () => (await import('./parts/produce.ts')).produce,
  restore: async () => (await import('./parts/restore.ts')).restore,
  start: async () => (await import('./parts/start.ts')).start,
  scale: async () => (await import('./parts/scale.ts')).scale,
  neuros: async () => (await import('./parts/neuros.ts')).neuros,
  generation: async () => (await import('./parts/generation.ts')).generation,
  beside: async () => (await import('./parts/beside.ts')).beside,
};

const usage = `Usage: npm run bench [-- [--quick] [--pairs N] [--records N] [--json FILE] [PART...]]

Measures what is built from this clone on a stack of its own, ours and a peer in turn, and prints a table and a line of
JSON for each figure. Parts: ${Object.keys(parts).join(', ')}; all of them when none is named.
  --quick      one pair and small counts: whether it runs, no figures to quote
  --pairs N    how often each side runs (3; 1 with --quick)
  --records N  raw records for topology, replay, bounds and generation (2,000,000; 200,000 with --quick)
  --json FILE  write the lines of JSON there as well

Peers are found in BENCH_PEERS, or in a folder "peers" beside the clone. docs/performance.md explains the figures.
`;

interface Asked extends BenchOptions {
  readonly json: string | undefined;
  readonly parts: readonly string[];
}

async function main(): Promise<number> {
  const asked = readArguments();
  if (asked === 'help') {
    process.stdout.write(usage);
    return 0;
  }
  if (typeof asked === 'string') {
    process.stderr.write(`${asked}\n`);
    return 2;
  }
  assertLinux();
  const peers = new Peers();
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort());
  const processes = new Processes(stackDirectory({}, benchDirectory));
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const env = Object.fromEntries(
    // The bench has its own stack, whatever the shell of whoever runs it says.
    Object.entries(process.env).filter(([name]) => name !== 'KAFKA_BOOTSTRAP_SERVERS'),
  );
  const options = { directory: benchDirectory, ports: 'free', env, onProgress: progress } as const;
  const ended = new Promise<never>((_, reject) => {
    interrupted.signal.addEventListener('abort', () => reject(new Error('the bench was ended')));
  });
  ended.catch(() => undefined);
  let stack: Stack | undefined;
  let code = 1;
  try {
    await Promise.race([build(processes, progress), ended]);
    // Wiped beforehand, and not started as a fresh one: that compiles its broker less, for runs of a minute.
    await resetStack(options);
    stack = await startStack({ ...options, signal: interrupted.signal });
    code = await Promise.race([
      measure(asked, { stack, processes, peers, signal: interrupted.signal }),
      ended,
    ]);
    return code;
  } finally {
    await processes.endAll();
    await stack?.stop();
    // Gigabytes that nobody needs any more; what went wrong is in the logs.
    if (code === 0) await resetStack(options);
  }
}

/** @returns 1 when a part failed, else 0. */
async function measure(
  asked: Asked,
  given: { stack: Stack; processes: Processes; peers: Peers; signal: AbortSignal },
): Promise<number> {
  const brokers = (given.stack.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '').split(',');
  const admin = kafkaClient({ brokers }, { clientId: 'bench', log: silentLog }).admin();
  await admin.connect();
  const lines: FigureLine[] = [];
  const failures: string[] = [];
  if (asked.json !== undefined) writeFileSync(asked.json, '');
  try {
    const bench = new Bench({ ...given, options: asked, admin });
    await buildPeers(bench);
    for (const name of asked.parts) {
      const begun = performance.now();
      try {
        const figures = (await (await parts[name]?.())?.(bench)) ?? [];
        for (const figure of figures) {
          const line = summarize(figure);
          lines.push(line);
          const text = `${JSON.stringify(line)}\n`;
          process.stdout.write(text);
          if (asked.json !== undefined) appendFileSync(asked.json, text);
        }
        bench.progress(`part ${name} took ${Math.round((performance.now() - begun) / 1_000)} s`);
      } catch (error) {
        given.signal.throwIfAborted();
        // The others are worth their figures nevertheless.
        await given.processes.endAll();
        failures.push(`part ${name} failed: ${error instanceof Error ? error.message : 'unknown'}`);
        bench.progress(failures.at(-1) ?? '');
      }
    }
  } finally {
    await admin.disconnect();
  }
  process.stdout.write(`\n${[table(lines), ...failures].join('\n')}\n`);
  return failures.length === 0 ? 0 : 1;
}

function readArguments(): Asked | string {
  let parsed;
  try {
    parsed = parseArgs({
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        pairs: { type: 'string' },
        records: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    });
  } catch {
    return 'there is no such option; --help tells those that there are';
  }
  const { values, positionals } = parsed;
  if (values.help === true) return 'help';
  const unknown = positionals.find((name) => !(name in parts));
  if (unknown !== undefined) return `there is no part ${unknown}: ${Object.keys(parts).join(', ')}`;
  const pairs = Number(values.pairs ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(pairs) || pairs < 1) return '--pairs takes a whole number from 1';
  const records = values.records === undefined ? undefined : Number(values.records);
  if (records !== undefined && !(Number.isInteger(records) && records >= 1_000))
    return '--records takes a whole number from 1000';
  return {
    quick: values.quick,
    pairs,
    records,
    json: values.json,
    parts: Object.keys(parts).filter((name) => positionals.length === 0 || positionals.includes(name)),
  };
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : 'the bench could not be run'}\n`);
    process.exit(1);
  },
);

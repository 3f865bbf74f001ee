/** `bridge replay diff` over a deployment: its parts, the threads that compare them, and what they found in all. */
import { Worker } from 'node:worker_threads';
import type { TriggerRule } from '../topology/triggers.ts';
import type { VendorName } from '../vendors/index.ts';
import { keyPartition, type KafkaLog } from '../kafka/client.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import type { DiffOptions, DiffPart } from './diff.ts';
import { addCounts, noCounts, type DiffCounts, type DifferenceLine } from './diff-counts.ts';
import { Deployment, type ReplayConfig } from './deployment.ts';
import { Interrupted } from './exit.ts';

/** What a thread begins with. */
export interface DiffThread {
  readonly config: ReplayConfig;
  readonly rules: readonly TriggerRule[];
  readonly options: DiffOptions;
  /** Whether every difference is told, or only their counts and examples. */
  readonly isListing: boolean;
}

export type ToThread = { readonly type: 'compare'; readonly part: DiffPart } | { readonly type: 'end' };

export type FromThread =
  | { readonly type: 'ready' }
  | { readonly type: 'progress'; readonly records: number }
  | { readonly type: 'differences'; readonly lines: readonly DifferenceLine[] }
  | { readonly type: 'compared'; readonly part: DiffPart; readonly counts: DiffCounts }
  | { readonly type: 'failed'; readonly message: string };

export interface DiffSettings {
  readonly config: ReplayConfig;
  readonly log: KafkaLog;
  readonly devices: readonly VendorName[];
  /** Rules to recompute with. Default: those of the configuration. */
  readonly rules?: readonly TriggerRule[] | undefined;
  readonly options: DiffOptions;
  /** Parts that are compared at a time, each by a thread. */
  readonly parallel: number;
  /** Ends it, with Interrupted. */
  readonly signal: AbortSignal;
  /** Told of each difference; by default only counts and examples are kept. */
  readonly onDifference?: (line: DifferenceLine) => void;
  /** Told of the records that will be read, and then of those that were. */
  readonly progress: { expect(records: number): void; add(records: number): void };
}

/** What was found of one device. */
export interface DeviceDiff extends DiffCounts {
  readonly device: VendorName;
  /** Of the first record that is recomputed, as far as clocks agree, epoch ms; undefined when nothing lies before it. */
  startMs: number | undefined;
}

/** Compares what this build makes of the raw topics with what has been published. Changes nothing. */
export async function runDiff(settings: DiffSettings): Promise<DeviceDiff[]> {
  const { config, log, rules, signal, progress } = settings;
  const deployment = await Deployment.open(config, {
    clientId: 'bridge-replay-diff',
    log,
    ...(rules === undefined ? {} : { rules }),
  });
  let parts: readonly DiffPart[];
  try {
    parts = await partsOf(deployment, settings);
  } finally {
    await deployment.close();
  }
  const found = new Map(settings.devices.map((device) => [device, ofDevice(device)]));
  for (const { raw, start, end } of parts) {
    progress.expect(Number(end - start.offset));
    const device = found.get(raw.vendor);
    if (device !== undefined && start.offset > 0n)
      device.startMs = Math.max(start.epochMs, device.startMs ?? -Infinity);
  }
  if (signal.aborted) throw new Interrupted();
  await compareAll(parts, { ...settings, rules: deployment.rules }, ({ raw }, counts) => {
    const device = found.get(raw.vendor);
    if (device !== undefined) addCounts(device, counts);
  });
  return [...found.values()];
}

function ofDevice(device: VendorName): DeviceDiff {
  return { ...noCounts(), device, startMs: undefined };
}

/** The raw records that the topology has processed, from the start on; the largest part first, so that none ends alone. */
async function partsOf(
  deployment: Deployment,
  { devices, options }: Pick<DiffSettings, 'devices' | 'options'>,
): Promise<DiffPart[]> {
  const { user } = options;
  const of = user === undefined ? undefined : keyPartition(Buffer.from(user), deployment.partitions);
  const committed = await deployment.committed();
  const parts: DiffPart[] = [];
  for (const device of devices) {
    const starts = await deployment.starts(deployment.topics.raw[device]);
    for (const raw of deployment.rawPartitions([device])) {
      const start = starts[raw.partition];
      const end = committed.get(partitionName(raw)) ?? 0n;
      if (start !== undefined && end > start.offset && (of ?? raw.partition) === raw.partition)
        parts.push({ raw, start, end });
    }
  }
  const size = ({ start, end }: DiffPart): number => Number(end - start.offset);
  return parts.sort((a, b) => size(b) - size(a));
}

type Shared = DiffSettings & { readonly rules: readonly TriggerRule[] };

/** Hands the parts to threads, each of which takes the next one as soon as it has done one. */
async function compareAll(
  parts: readonly DiffPart[],
  shared: Shared,
  onCompared: (part: DiffPart, counts: DiffCounts) => void,
): Promise<void> {
  const queue = [...parts];
  const threads = Array.from({ length: Math.min(shared.parallel, parts.length) }, () => startThread(shared));
  const { signal } = shared;
  const interrupted = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(new Interrupted()), { once: true });
  });
  const work = threads.map((thread) => runThread(thread, { queue, shared, onCompared }));
  try {
    await Promise.race([Promise.all(work), interrupted]);
  } finally {
    // They only read, so that nothing has to be brought to an end.
    await Promise.all(threads.map((thread) => thread.terminate()));
    await Promise.allSettled(work);
  }
}

function startThread({ config, rules, options, onDifference }: Shared): Worker {
  const data: DiffThread = { config, rules, options, isListing: onDifference !== undefined };
  const workerData = data;
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./diff-worker.js', import.meta.url), { workerData });
  // The sources run under tsx, which a thread does not inherit.
  const [tsx, file] = ['tsx/esm/api', './diff-worker.ts'].map((name) =>
    JSON.stringify(import.meta.resolve(name)),
  );
  const code = `import(${tsx}).then(({ register }) => { register(); return import(${file}); });`;
  return new Worker(code, { eval: true, workerData });
}

/** Runs a thread until the queue is empty. @throws Error with what it failed of. */
function runThread(
  thread: Worker,
  {
    queue,
    shared,
    onCompared,
  }: { queue: DiffPart[]; shared: Shared; onCompared: (part: DiffPart, counts: DiffCounts) => void },
): Promise<void> {
  const send = (message: ToThread): void => thread.postMessage(message);
  const next = (): void => {
    const part = queue.shift();
    send(part === undefined ? { type: 'end' } : { type: 'compare', part });
  };
  return new Promise((resolve, reject) => {
    thread.on('error', reject);
    thread.on('exit', (code) =>
      code === 0 ? resolve() : reject(new Error(`a thread of the comparison ended with ${code}`)),
    );
    thread.on('message', (message: FromThread) => {
      switch (message.type) {
        case 'ready':
          return next();
        case 'progress':
          return shared.progress.add(message.records);
        case 'differences':
          for (const line of message.lines) shared.onDifference?.(line);
          return;
        case 'compared':
          onCompared(message.part, message.counts);
          return next();
        case 'failed':
          return reject(new Error(message.message));
      }
    });
  });
}

/** `bridge replay diff` over a deployment: its parts, the threads that compare them, and what they found in all. */
import type { TriggerRule } from '../topology/triggers.ts';
import type { VendorName } from '../vendors/index.ts';
import { keyPartition, type KafkaLog } from '../kafka/client.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import type { DiffOptions, DiffPart } from './diff.ts';
import { addCounts, noCounts, type DiffCounts, type DifferenceLine } from './diff-counts.ts';
import { Deployment, type ReplayConfig } from './deployment.ts';
import { runInThreads } from './threads.ts';

/** What a thread begins with. */
export interface DiffThread {
  readonly config: ReplayConfig;
  readonly rules: readonly TriggerRule[];
  readonly options: DiffOptions;
  /** Whether every difference is reported, or only counts and examples. */
  readonly isListing: boolean;
}

/** What a thread reports while it compares. */
export type DiffProgress = { readonly records: number } | { readonly lines: readonly DifferenceLine[] };

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
  /** Called with each difference; by default only counts and examples are kept. */
  readonly onDifference?: (line: DifferenceLine) => void;
  /** Called with the records that will be read, and then with those that were. */
  readonly progress: { expect(records: number): void; add(records: number): void };
}

/** What was found for one device. */
export interface DeviceDiff extends DiffCounts {
  readonly device: VendorName;
  /** Of the first record that is recomputed, as far as clocks agree, epoch ms; undefined when nothing lies before it. */
  startMs: number | undefined;
}

/** Compares what this build makes of the raw topics with what was published. Changes nothing. */
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
  const { options, onDifference } = settings;
  const thread: DiffThread = {
    config,
    rules: deployment.rules,
    options,
    isListing: onDifference !== undefined,
  };
  await runInThreads<DiffPart, DiffProgress, DiffCounts>({
    module: 'diff-worker',
    workerData: thread,
    tasks: parts,
    threads: settings.parallel,
    signal,
    onProgress: (told) => {
      if ('records' in told) progress.add(told.records);
      else for (const line of told.lines) onDifference?.(line);
    },
    onDone: ({ raw }, counts) => {
      const device = found.get(raw.vendor);
      if (device !== undefined) addCounts(device, counts);
    },
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

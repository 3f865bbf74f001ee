/** A raw log on producers that the test answers. */
import assert from 'node:assert/strict';
import { createRawLog, type RawLog, type RawLogOptions } from '../../ingress/raw-log.ts';
import type { AppendRecord } from '../../kafka/append-batch.ts';
import type { AppendProducer } from '../../kafka/append-lane.ts';
import type { Leaders } from '../../kafka/append.ts';
import { partitionName } from '../../kafka/topic-partition.ts';
import { silentLog, until } from './harness.ts';

export const KiB = 1024;
export const deadlineMs = 10_000;

export interface Send {
  /** The broker whose producer sends it. */
  readonly broker: number;
  /** Topic, partition and first byte of each record, as in `raw:0:a`. */
  readonly records: string[];
  readonly bytesByPartition: number[];
  acknowledge(): void;
  fail(error: Error): void;
}

/** Producers whose sends are answered by the test. */
export function fakeCluster(options: { connect?: (broker: number) => Promise<void> } = {}) {
  const sends: Send[] = [];
  const state = { producers: 0, disconnects: 0, mostInFlight: 0 };
  const inFlight = new Map<number, number>();
  const createProducer = (broker: number): AppendProducer => {
    state.producers += 1;
    return {
      connect: () => options.connect?.(broker) ?? Promise.resolve(),
      disconnect: () => {
        state.disconnects += 1;
        return Promise.resolve();
      },
      sendBatch: ({ acks, topicMessages }) =>
        new Promise((resolve, reject) => {
          assert.equal(acks, -1);
          const count = (by: number): void => void inFlight.set(broker, (inFlight.get(broker) ?? 0) + by);
          count(1);
          state.mostInFlight = Math.max(state.mostInFlight, inFlight.get(broker)!);
          const bytes = new Map<string, number>();
          const records: string[] = [];
          for (const { topic, messages } of topicMessages) {
            for (const { partition, value } of messages) {
              const place = `${topic}:${partition}`;
              records.push(`${place}:${value!.toString().slice(0, 1)}`);
              bytes.set(place, (bytes.get(place) ?? 0) + value!.length);
            }
          }
          sends.push({
            broker,
            records,
            bytesByPartition: [...bytes.values()],
            acknowledge() {
              count(-1);
              resolve([]);
            },
            fail(error) {
              count(-1);
              reject(error);
            },
          });
        }),
    };
  };
  return {
    sends,
    state,
    createProducer,
    /** The send of that number, once it has been made. */
    async send(number: number): Promise<Send> {
      await until(() => sends.length > number, `send ${number} is made`);
      return sends[number]!;
    },
  };
}

export async function rawLog(
  createProducer: RawLogOptions['createProducer'],
  options: Partial<RawLogOptions> = {},
): Promise<RawLog> {
  const log = createRawLog({
    createProducer,
    leaders: () => Promise.resolve(ledBy(1, 1, 1, 1)),
    limits: { partitionBytes: () => 1024 * KiB, sendBytes: 16 * 1024 * KiB },
    ackDeadlineMs: 5_000,
    breakerOpenMs: 60_000,
    log: silentLog,
    ...options,
  });
  await log.warmUp();
  return log;
}

/** The leaders of the partitions 0, 1, … */
export function ledBy(...brokers: number[]): Leaders {
  return new Map(brokers.map((broker, partition) => [partitionName({ topic: 'raw', partition }), broker]));
}

export function record(
  mark: string,
  options: { partition?: number; bytes?: number; topic?: string } = {},
): AppendRecord {
  const { partition = 0, bytes = 1, topic = 'raw' } = options;
  return { topic, partition, key: null, value: Buffer.alloc(bytes, mark), timestampMs: 1, headers: {} };
}

export function brokerError(type: string, place: object = {}): Error {
  return Object.assign(new Error(type), { type, ...place });
}

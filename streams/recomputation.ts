import type { TopicSpec } from '../kafka/topics.ts';
import { changelogSpecs } from './changelogs.ts';
import { deadLetterAlways, StreamsError } from './errors.ts';
import { limitIn, refusalOf } from './memory-log.ts';
import { noMetrics } from './metrics.ts';
import { RecordProcessor } from './processor.ts';
import type { InputRecord, OutputRecord } from './record.ts';
import type { Refusal } from './refusals.ts';
import type { StateStore } from './store.ts';
import type { Topology } from './topology.ts';

/** What became of one record. */
export interface Recomputed {
  /** In the order in which the operators sent them, dead letters included. */
  readonly outputs: readonly OutputRecord[];
  /** The values that ended without output. */
  readonly dropped: readonly { readonly node: string; readonly reason: string; readonly count: number }[];
}

const applicationId = 'recomputation';
/** Records whose writes are folded in together. */
const foldInRecords = 1_000;
/** A record that the broker refuses twice leads to its smallest dead letter. */
const maxRefusals = 2;

/**
 * One task of a topology over records that are handed to it: the operators, stores and dead letters of an instance, without a
 * broker, group or transactions, record by record. What a broker would refuse is refused here as well. Sees only records
 * that it is given: restore its stores first where the records do not begin at the beginning.
 */
export class Recomputation {
  readonly #processor: RecordProcessor;
  readonly #configs: ReadonlyMap<string, TopicSpec['config']>;
  readonly #dropped: { node: string; reason: string; count: number }[] = [];
  readonly #listener = {
    ...noMetrics,
    onDropped: (node: string, reason: string, count: number) => {
      this.#dropped.push({ node, reason, count });
    },
  };
  #records = 0;

  /**
   * @param options.deadLetterTopic - where dead letters go.
   * @param options.topics - the settings of output topics and dead letters, as for creating them.
   */
  constructor(
    topology: Topology,
    partition: number,
    { deadLetterTopic, topics }: { readonly deadLetterTopic: string; readonly topics: readonly TopicSpec[] },
  ) {
    const all = [...changelogSpecs(topology, applicationId), ...topics];
    this.#configs = new Map(all.map(({ name, config }) => [name, config]));
    this.#processor = new RecordProcessor(topology, partition, {
      applicationId,
      handlers: deadLetterAlways,
      deadLetterTopic,
      limitOf: (topic) => limitIn(this.#configs.get(topic)),
    });
  }

  /** The store of that name, to be restored before the first record. */
  store(name: string): Pick<StateStore, 'restore' | 'entries' | 'size' | 'bytes'> {
    const store = this.#processor.stores.find((candidate) => candidate.name === name);
    if (store === undefined) throw new StreamsError('INVARIANT', `the topology has no store ${name}`);
    return store;
  }

  /** Processes the next record. */
  process(record: InputRecord): Recomputed {
    let outputs: OutputRecord[] = [];
    this.#processor.process(record, outputs);
    let refusal = this.#refused(outputs);
    for (let refusals = 0; refusal !== undefined; refusals += 1) {
      if (refusals === maxRefusals)
        throw new StreamsError(
          'HANDLER_FAILED',
          `even the smallest dead letter is refused: ${refusal.reason}`,
        );
      for (const store of this.#processor.stores) store.undoRecord();
      this.#processor.tally.forget();
      outputs = [];
      this.#processor.refuse(record, refusal, outputs);
      const again = this.#refused(outputs);
      refusal = again && { ...refusal, letter: { reason: again.reason, atMs: record.timestamp } };
    }
    this.#dropped.length = 0;
    this.#processor.tally.report(this.#listener);
    this.#records += 1;
    if (this.#records % foldInRecords === 0) for (const store of this.#processor.stores) store.foldIn();
    // Entries too large to wait for the commit were among the outputs, to be refused with them.
    return {
      outputs: outputs.filter(({ topic }) => !topic.startsWith(`${applicationId}-`)),
      dropped: this.#dropped.length === 0 ? none : [...this.#dropped],
    };
  }

  /** Why a broker would refuse one of the outputs. A timestamp was accepted once, and is now in the past. */
  #refused(outputs: readonly OutputRecord[]): Refusal | undefined {
    for (const output of outputs) {
      const reason = refusalOf(output, this.#configs.get(output.topic) ?? {}, output.timestamp);
      if (reason !== undefined) return { reason };
    }
    return undefined;
  }
}

const none: Recomputed['dropped'] = [];

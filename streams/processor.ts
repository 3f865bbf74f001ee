import { occasionalLog } from '../process/occasional-log.ts';
import { changelogTopic } from './changelogs.ts';
import {
  deadLetter,
  smallestDeadLetter,
  stackFrames,
  StreamsError,
  type ErrorHandlers,
  type RecordFailure,
  type RefusedLetter,
} from './errors.ts';
import { Dropped, Partly, Rejected } from './outcome.ts';
import type { BatchFault } from '../kafka/record-batch.ts';
import {
  recordBytes,
  unwritable,
  type InputRecord,
  type OutputRecord,
  type RecordContext,
} from './record.ts';
import type { Refusal } from './refusals.ts';
import { SerdeError } from './serdes.ts';
import { StateStore } from './store.ts';
import { Tally } from './tally.ts';
import type { FlatAnswer, Node, Topology } from './topology.ts';
import { TooMuchWork, Work } from './work.ts';

interface Source {
  readonly node: Extract<Node, { type: 'source' }>;
  readonly processed: { count: number };
  readonly forward: Forward;
}

type Forward = (value: unknown, record: RecordContext) => void;

/** What a processor needs in addition to its topology. */
export interface ProcessorOptions {
  /** The first part of the changelogs' names. */
  readonly applicationId: string;
  readonly handlers: ErrorHandlers;
  readonly deadLetterTopic: string | undefined;
  /** Where the dead letters of a record go instead; undefined for `deadLetterTopic`. */
  readonly deadLetterTopicOf?: ((record: InputRecord) => string | undefined) | undefined;
  /** The bytes that a topic takes for sure: larger store entries are sent with the outputs. Default: any number. */
  readonly limitOf?: (topic: string) => number;
  /** Told of records that take long, at most once in ten seconds for each topic. Default: nobody is. */
  readonly log?: { warn(fields: object, message: string): void };
}

/** A record that takes longer is logged. Time decides nothing else: the limit of a record's work is counted. */
const slowMs = 500;

/**
 * Runs the records of one task through a topology: bytes in, bytes and state out. A record takes effect as a whole or
 * not at all: when an operator or serde fails, the record's outputs and store writes are taken back and the failure's
 * handler decides.
 */
export class RecordProcessor {
  readonly stores: readonly StateStore[];
  /** Counts of the records since the last report() or forget(). */
  readonly tally: Tally;
  readonly #sources = new Map<string, Source>();
  readonly #work: Work;
  readonly #charge: RecordContext['charge'];
  readonly #onSlow: ReturnType<typeof occasionalLog> | undefined;
  readonly #handlers: ErrorHandlers;
  readonly #deadLetterTopicOf: (record: InputRecord) => string | undefined;
  readonly #limitOf: (topic: string) => number;
  #outputs: OutputRecord[] = [];
  #input: InputRecord | undefined;
  /** Of a record of which only a part can be processed. */
  #partFailure: RecordFailure | undefined;
  // The operator that runs, for failures: a field is cheaper than a stack frame for each operator.
  #current = '';

  constructor(topology: Topology, partition: number, options: ProcessorOptions) {
    const { applicationId, handlers, deadLetterTopic, limitOf = () => Infinity, log } = options;
    this.#limitOf = limitOf;
    this.#handlers = handlers;
    const { deadLetterTopicOf } = options;
    this.#deadLetterTopicOf = (record) => deadLetterTopicOf?.(record) ?? deadLetterTopic;
    this.#onSlow = log === undefined ? undefined : occasionalLog(log, 'a record took long');
    this.tally = new Tally(`0_${partition}`);
    const work = new Work(topology.maxWork);
    this.#work = work;
    this.#charge = (units) => work.charge(units);
    this.stores = topology.stores.map(
      (spec) => new StateStore(spec, changelogTopic(applicationId, spec.name), partition, work),
    );
    for (const node of topology.nodes.values()) {
      if (node.type !== 'source') continue;
      const forward = this.#compileAll(topology, node.next);
      const processed = this.tally.processed(node.name);
      for (const topic of node.topics) this.#sources.set(topic, { node, processed, forward });
    }
  }

  /**
   * Appends the outputs of `record` to `outputs`.
   * @throws StreamsError HANDLER_FAILED when a handler answers `fail`.
   */
  process(record: InputRecord, outputs: OutputRecord[]): void {
    const source = this.#sources.get(record.topic);
    if (source === undefined)
      throw new StreamsError(
        'INVARIANT',
        `got a record of ${record.topic}, which the topology does not read`,
      );
    if (record.fault !== undefined) {
      this.#fail(...batchFailure(record, record.fault, source.node.name), outputs);
      return;
    }
    const startedAt = performance.now();
    this.#partFailure = undefined;
    this.#process(source, record, outputs);
    const ms = Math.round(performance.now() - startedAt);
    if (ms < slowMs) return;
    const { topic, partition, offset } = record;
    this.#onSlow?.({ topic }, { partition, offset: String(offset), ms, work: this.work });
  }

  #process(source: Source, record: InputRecord, outputs: OutputRecord[]): void {
    const start = outputs.length;
    this.#outputs = outputs;
    this.#input = record;
    this.#current = source.node.name;
    this.#work.begin(record.value?.length ?? 0);
    for (const store of this.stores) store.onRecord(record.timestamp, record);
    let seam: RecordFailure['seam'] = 'deserialization';
    try {
      const key = source.node.key.deserialize(record.key);
      const value = source.node.value.deserialize(record.value);
      seam = 'processing';
      source.processed.count += 1;
      const { topic, partition, offset, timestamp, headers } = record;
      source.forward(value, { topic, partition, offset, timestamp, key, headers, charge: this.#charge });
      this.tally.keep();
      for (const store of this.stores)
        for (const write of store.largeWrites(this.#limitOf(store.changelog))) outputs.push(write);
      if (this.#partFailure !== undefined) this.#fail(record, this.#partFailure, outputs);
    } catch (error) {
      if (error instanceof StreamsError) throw error;
      outputs.length = start;
      for (const store of this.stores) store.undoRecord();
      this.tally.undo();
      this.#fail(record, failureOf(error, seam, this.#current), outputs);
    }
  }

  /** The units of work (work.ts) that the last record took. */
  get work(): number {
    return this.#work.units;
  }

  /** Handles a record whose output, or store entry, the broker refused. */
  refuse(record: InputRecord, { reason: code, letter }: Refusal, outputs: OutputRecord[]): void {
    const node = this.#sources.get(record.topic)?.node.name ?? record.topic;
    const message = `the broker refused an output of this record: ${code}`;
    const failure = { seam: 'production', code, message, stack: operatorFrame(node), node } as const;
    this.#fail(record, failure, outputs, letter);
  }

  #fail(record: InputRecord, failure: RecordFailure, outputs: OutputRecord[], refused?: RefusedLetter): void {
    const response = this.#handlers[failure.seam](failure, record);
    const deadLetterTopic = this.#deadLetterTopicOf(record);
    if (response === 'continue') {
      this.tally.dropped(failure.node, failure.code);
      this.tally.keep();
    } else if (response === 'deadLetter' && deadLetterTopic !== undefined) {
      this.tally.deadLettered(failure.node, failure.code);
      outputs.push(
        refused === undefined
          ? deadLetter(deadLetterTopic, record, failure)
          : smallestDeadLetter(deadLetterTopic, record, failure, refused),
      );
    } else {
      const place = `${record.topic}-${record.partition} offset ${record.offset}, operator ${failure.node}`;
      throw new StreamsError(
        'HANDLER_FAILED',
        `${failure.code} at ${place}: ${failure.message}; the ${failure.seam} handler answered ${response}` +
          (response === 'deadLetter' ? ' but no dead-letter topic is configured' : ''),
      );
    }
  }

  #store(name: string): StateStore {
    const store = this.stores.find((candidate) => candidate.name === name);
    if (store === undefined) throw new StreamsError('INVALID_TOPOLOGY', `store ${name} is not declared`);
    return store;
  }

  #compileAll(topology: Topology, names: readonly string[]): Forward {
    const forwards = names.map((name) => {
      const node = topology.nodes.get(name);
      if (node === undefined)
        throw new StreamsError('INVARIANT', `operator ${name} is linked but does not exist`);
      return this.#compile(topology, node);
    });
    const [only] = forwards;
    if (only !== undefined && forwards.length === 1) return only;
    return (value, record) => {
      for (const forward of forwards) forward(value, record);
    };
  }

  #compile(topology: Topology, node: Node): Forward {
    const { name } = node;
    const { tally } = this;
    const next = this.#compileAll(topology, node.next);
    const processed = tally.processed(name);
    const work = this.#work;
    const enter = (): void => {
      this.#current = name;
      processed.count += 1;
      work.value();
    };
    const isValue = <T>(answer: T): answer is Exclude<T, Dropped | Rejected> => {
      if (answer instanceof Rejected) throw new RejectedRecord(answer);
      if (!(answer instanceof Dropped)) return true;
      tally.dropped(name, answer.reason);
      return false;
    };
    const forwardAll = (answer: FlatAnswer, record: RecordContext): void => {
      if (answer instanceof Partly) {
        const { code, message } = answer;
        this.#partFailure ??= {
          seam: 'processing',
          code,
          message,
          stack: operatorFrame(name),
          node: name,
        };
        for (const one of answer.values) next(one, record);
      } else if (isValue(answer)) {
        for (const one of answer) next(one, record);
      }
    };
    switch (node.type) {
      case 'mapValues':
        return (value, record) => {
          enter();
          const answer = node.map(value, record);
          if (isValue(answer)) next(answer, record);
        };
      case 'flatMapValues':
        return (value, record) => {
          enter();
          forwardAll(node.map(value, record), record);
        };
      case 'processValues': {
        const stores = Object.fromEntries(node.stores.map((store) => [store, this.#store(store)]));
        return (value, record) => {
          enter();
          forwardAll(node.process(value, record, stores), record);
        };
      }
      case 'sink':
        return (value, record) => {
          enter();
          const output: OutputRecord = {
            topic: node.topic(record.key, value),
            partition: record.partition,
            timestamp: record.timestamp,
            key: this.#input?.key ?? null,
            value: node.value.serialize(value),
            headers: node.headers?.(value, record) ?? {},
          };
          // What no client can write has no size, and is refused when it is sent.
          if (unwritable(output) === undefined) work.output(recordBytes(output));
          this.#outputs.push(output);
        };
      case 'source':
        throw new StreamsError('INVARIANT', `source ${name} follows another operator`);
    }
  }
}

/** Bytes of a batch that its dead letter keeps: of those that a raw topic takes, all. */
const maxBatchBytes = 12 * 1024 * 1024;

/** A batch that cannot be decoded fails as one record, which stands for all of its offsets. */
function batchFailure(
  record: InputRecord,
  { code, message, baseOffset, lastOffset }: BatchFault,
  node: string,
): [InputRecord, RecordFailure] {
  const { topic, partition, offset, timestamp, key, headers } = record;
  const value = record.value?.subarray(0, maxBatchBytes) ?? null;
  return [
    { topic, partition, offset, timestamp, key, value, headers },
    {
      seam: 'deserialization',
      code,
      message: `the batch of the offsets ${baseOffset} to ${lastOffset} cannot be decoded: ${message}`,
      stack: operatorFrame(node),
      node,
    },
  ];
}

// Carries the answer of reject() out of the call tree to process(), which handles failures.
class RejectedRecord extends Error {
  readonly rejected: Rejected;
  constructor(rejected: Rejected) {
    super(rejected.message);
    this.rejected = rejected;
  }
}

function failureOf(error: unknown, seam: RecordFailure['seam'], node: string): RecordFailure {
  if (error instanceof RejectedRecord) {
    const { code, message } = error.rejected;
    return { seam, code, message, stack: operatorFrame(node), node };
  }
  if (error instanceof SerdeError || error instanceof TooMuchWork)
    return { seam, code: error.code, message: error.message, stack: operatorFrame(node), node };
  // The message of a foreign error may quote the record, so only its class is passed on.
  const name = error instanceof Error && /^\w{1,64}$/.test(error.name) ? error.name : 'something';
  return {
    seam,
    code: 'OPERATOR_FAILED',
    message: `${name} thrown by operator ${node}`,
    stack: stackFrames(error),
    node,
  };
}

function operatorFrame(node: string): string {
  return `    at operator ${node}`;
}

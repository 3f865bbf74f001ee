import { deadLetter, stackFrames, StreamsError, type ErrorHandlers, type RecordFailure } from './errors.ts';
import { Dropped, Rejected } from './outcome.ts';
import type { InputRecord, OutputRecord, RecordContext } from './record.ts';
import { SerdeError } from './serdes.ts';
import type { Node, Topology } from './topology.ts';

/** Hears what becomes of records; a metrics adapter counts from it. Called synchronously, per record: keep it cheap. */
export interface ProcessingListener {
  onProcessed(node: string): void;
  onDropped(node: string, reason: string): void;
  onDeadLettered(node: string, code: string): void;
}

type Forward = (value: unknown, record: RecordContext) => void;

/**
 * Runs records through a topology: bytes in, bytes out, nothing else. The outputs of a record come whole or not at
 * all: when any operator or serde fails, what the record had yielded is taken back and the failure's handler decides.
 */
export class RecordProcessor {
  readonly #sources = new Map<string, { node: Extract<Node, { type: 'source' }>; forward: Forward }>();
  readonly #handlers: ErrorHandlers;
  readonly #deadLetterTopic: string | undefined;
  readonly #listener: ProcessingListener;
  #outputs: OutputRecord[] = [];
  #input: InputRecord | undefined;
  // The operator that runs, for failures; one field beside the call tree is cheaper than a frame per operator.
  #current = '';

  constructor(
    topology: Topology,
    options: { handlers: ErrorHandlers; deadLetterTopic: string | undefined; listener: ProcessingListener },
  ) {
    this.#handlers = options.handlers;
    this.#deadLetterTopic = options.deadLetterTopic;
    this.#listener = options.listener;
    for (const node of topology.nodes.values()) {
      if (node.type !== 'source') continue;
      const forward = this.#compileAll(topology, node.next);
      for (const topic of node.topics) this.#sources.set(topic, { node, forward });
    }
  }

  /**
   * Appends the outputs of `record` to `outputs`.
   * @throws StreamsError HANDLER_FAILED when a handler answers `fail`.
   */
  process(record: InputRecord, outputs: OutputRecord[]): void {
    const source = this.#sources.get(record.topic);
    if (source === undefined)
      throw new StreamsError('INVARIANT', `${record.topic} is not a source of the topology`);
    const start = outputs.length;
    this.#outputs = outputs;
    this.#input = record;
    this.#current = source.node.name;
    let seam: RecordFailure['seam'] = 'deserialization';
    try {
      const key = source.node.key.deserialize(record.key);
      const value = source.node.value.deserialize(record.value);
      seam = 'processing';
      this.#listener.onProcessed(source.node.name);
      const { topic, partition, offset, timestamp, headers } = record;
      source.forward(value, { topic, partition, offset, timestamp, key, headers });
    } catch (error) {
      if (error instanceof StreamsError) throw error;
      outputs.length = start;
      this.#fail(record, failureOf(error, seam, this.#current), outputs, error);
    }
  }

  /** Answers for a record whose outputs the broker refused: `code` is the broker's name for why. */
  refuse(record: InputRecord, code: string, outputs: OutputRecord[]): void {
    const node = this.#sources.get(record.topic)?.node.name ?? record.topic;
    const message = `the broker refused an output of this record: ${code}`;
    this.#fail(
      record,
      { seam: 'production', code, message, stack: operatorFrame(node), node },
      outputs,
      undefined,
    );
  }

  #fail(record: InputRecord, failure: RecordFailure, outputs: OutputRecord[], cause: unknown): void {
    const response = this.#handlers[failure.seam](failure, record);
    if (response === 'continue') {
      this.#listener.onDropped(failure.node, failure.code);
    } else if (response === 'deadLetter' && this.#deadLetterTopic !== undefined) {
      this.#listener.onDeadLettered(failure.node, failure.code);
      outputs.push(deadLetter(this.#deadLetterTopic, record, failure));
    } else {
      const place = `${record.topic}-${record.partition} offset ${record.offset}, operator ${failure.node}`;
      throw new StreamsError(
        'HANDLER_FAILED',
        `${failure.code} at ${place}: ${failure.message}; the ${failure.seam} handler answered ${response}` +
          (response === 'deadLetter' ? ' but no dead-letter topic is configured' : ''),
        cause instanceof StreamsError ? { cause } : undefined,
      );
    }
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
    const listener = this.#listener;
    const next = this.#compileAll(topology, node.next);
    const enter = (): void => {
      this.#current = name;
      listener.onProcessed(name);
    };
    switch (node.type) {
      case 'filter':
        return (value, record) => {
          enter();
          if (node.keep(value, record)) next(value, record);
          else listener.onDropped(name, 'filtered');
        };
      case 'mapValues':
        return (value, record) => {
          enter();
          const mapped = node.map(value, record);
          if (mapped instanceof Dropped) listener.onDropped(name, mapped.reason);
          else if (mapped instanceof Rejected) throw new RejectedRecord(mapped);
          else next(mapped, record);
        };
      case 'flatMapValues':
        return (value, record) => {
          enter();
          const mapped = node.map(value, record);
          if (mapped instanceof Dropped) listener.onDropped(name, mapped.reason);
          else if (mapped instanceof Rejected) throw new RejectedRecord(mapped);
          else for (const one of mapped) next(one, record);
        };
      case 'split': {
        const branches = node.branches.map((branch) => ({
          ...branch,
          next: this.#compileAll(topology, [branch.name]),
        }));
        return (value, record) => {
          enter();
          const branch = branches.find(({ matches }) => matches(value, record));
          if (branch === undefined) listener.onDropped(name, 'unmatched');
          else branch.next(value, record);
        };
      }
      case 'branch':
        return (value, record) => {
          enter();
          next(value, record);
        };
      case 'sink':
        return (value, record) => {
          enter();
          this.#outputs.push({
            topic: node.topic(record.key, value, record),
            partition: record.partition,
            timestamp: record.timestamp,
            key: this.#input?.key ?? null,
            value: node.value.serialize(value),
            headers: node.headers?.(value, record) ?? {},
          });
        };
      case 'source':
        throw new StreamsError('INVARIANT', `source ${name} stands behind another operator`);
    }
  }
}

// Carries an operator's reject() out of the call tree to the one place where failures are handled.
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
  if (error instanceof SerdeError)
    return { seam, code: error.code, message: error.message, stack: operatorFrame(node), node };
  // The message of a foreign error may quote the record, so only its class is told.
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

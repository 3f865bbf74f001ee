/** Receives the counts of a committed transaction's records. */
export interface ProcessingListener {
  /** Values that entered an operator of a task. */
  onProcessed(task: string, node: string, count: number): void;
  onDropped(node: string, reason: string, count: number): void;
  onDeadLettered(node: string, code: string, count: number): void;
}

/**
 * Counts what became of a task's records in the open transaction. The counts are reported when the transaction is
 * committed and forgotten when it is not, so that each record counts once, as it comes out once.
 */
export class Tally {
  readonly #task: string;
  readonly #processed = new Map<string, { count: number }>();
  readonly #dropped = new Map<string, Map<string, number>>();
  readonly #deadLettered = new Map<string, Map<string, number>>();
  /** Drops of the current record: they do not count when it fails later. */
  readonly #pending: [node: string, reason: string][] = [];

  constructor(task: string) {
    this.#task = task;
  }

  /** The counter of the values that enter an operator. Look it up once: it is incremented for every value. */
  processed(node: string): { count: number } {
    const counter = this.#processed.get(node) ?? { count: 0 };
    this.#processed.set(node, counter);
    return counter;
  }

  dropped(node: string, reason: string): void {
    this.#pending.push([node, reason]);
  }

  deadLettered(node: string, code: string): void {
    count(this.#deadLettered, node, code);
  }

  /** Counts the drops of the current record, which did not fail. */
  keep(): void {
    if (this.#pending.length === 0) return;
    for (const [node, reason] of this.#pending) count(this.#dropped, node, reason);
    this.#pending.length = 0;
  }

  /** Forgets the drops of the current record, which failed. */
  undo(): void {
    this.#pending.length = 0;
  }

  /** Passes the counts on, after the transaction was committed. */
  report(listener: ProcessingListener): void {
    for (const [node, { count: values }] of this.#processed)
      if (values > 0) listener.onProcessed(this.#task, node, values);
    for (const [node, reasons] of this.#dropped)
      for (const [reason, values] of reasons) listener.onDropped(node, reason, values);
    for (const [node, codes] of this.#deadLettered)
      for (const [code, records] of codes) listener.onDeadLettered(node, code, records);
    this.forget();
  }

  /** Forgets the counts, after the transaction was aborted. */
  forget(): void {
    for (const counter of this.#processed.values()) counter.count = 0;
    this.#dropped.clear();
    this.#deadLettered.clear();
    this.#pending.length = 0;
  }
}

function count(counts: Map<string, Map<string, number>>, node: string, name: string): void {
  const ofNode = counts.get(node) ?? new Map<string, number>();
  counts.set(node, ofNode.set(name, (ofNode.get(name) ?? 0) + 1));
}

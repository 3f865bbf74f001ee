/** Hears what became of records, once the transaction that they were in is committed; a metrics adapter counts from it. */
export interface ProcessingListener {
  /** Values that entered an operator of a task. */
  onProcessed(task: string, node: string, count: number): void;
  onDropped(node: string, reason: string, count: number): void;
  onDeadLettered(node: string, code: string, count: number): void;
}

/**
 * What a task's records of the open transaction came to. It is told when the transaction is committed and forgotten
 * when it is not, so that a record counts once, as it comes out once.
 */
export class Tally {
  readonly #task: string;
  readonly #processed = new Map<string, { count: number }>();
  readonly #dropped = new Map<string, Map<string, number>>();
  readonly #deadLettered = new Map<string, Map<string, number>>();
  /** Drops of the record that is processed now: they do not count when it fails later. */
  readonly #pending: [node: string, reason: string][] = [];

  constructor(task: string) {
    this.#task = task;
  }

  /** The counter of the values that enter an operator: looked up once, because every value of every operator counts. */
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

  /** The record ended well: its drops count. */
  keep(): void {
    if (this.#pending.length === 0) return;
    for (const [node, reason] of this.#pending) count(this.#dropped, node, reason);
    this.#pending.length = 0;
  }

  /** The record failed: what it dropped on the way was taken back. */
  undo(): void {
    this.#pending.length = 0;
  }

  /** The transaction is committed. */
  tell(listener: ProcessingListener): void {
    for (const [node, { count: values }] of this.#processed)
      if (values > 0) listener.onProcessed(this.#task, node, values);
    for (const [node, reasons] of this.#dropped)
      for (const [reason, values] of reasons) listener.onDropped(node, reason, values);
    for (const [node, codes] of this.#deadLettered)
      for (const [code, records] of codes) listener.onDeadLettered(node, code, records);
    this.forget();
  }

  /** The transaction is not committed. */
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

import { StreamsError } from './errors.ts';
import type { Dropped, Rejected } from './outcome.ts';
import type { Headers, RecordContext } from './record.ts';
import type { Serde } from './serdes.ts';
import { Topology, type Node } from './topology.ts';

/** What a sink writes beside key, timestamp and partition, which are those of the record that was read. */
export interface Produced<K, V> {
  readonly value: Pick<Serde<V>, 'serialize'>;
  /** The headers of the output; none if absent. Headers of the input are not passed on. */
  readonly headers?: (value: V, record: RecordContext<K>) => Headers;
  /** The topics a chooser may answer: for `describe()` and for the check at start. */
  readonly topics?: readonly string[];
}

/** Describes a topology step by step. Every operator has a name, unique in the topology: it labels metrics and dead letters. */
export class StreamsBuilder {
  readonly #nodes: Node[] = [];

  /** Reads `topics`; all must have the same partition count, and partition i of all of them makes task 0_i. */
  stream<K, V>(
    name: string,
    topics: string | readonly string[],
    consumed: { readonly key: Serde<K>; readonly value: Serde<V> },
  ): KStream<K, V> {
    const list = typeof topics === 'string' ? [topics] : [...topics];
    return new KStream<K, V>(
      this.#add({
        type: 'source',
        name,
        topics: list,
        key: consumed.key as Serde<unknown>,
        value: consumed.value as Serde<unknown>,
        next: [],
      }),
      (node) => this.#add(node),
    );
  }

  /** The finished graph. */
  build(): Topology {
    return new Topology(this.#nodes);
  }

  #add(node: Node): Node {
    if (node.name === '') throw new StreamsError('INVALID_TOPOLOGY', 'every operator needs a name');
    if (this.#nodes.some(({ name }) => name === node.name)) {
      throw new StreamsError(
        'INVALID_TOPOLOGY',
        `two operators are named ${node.name}: names must be unique`,
      );
    }
    this.#nodes.push(node);
    return node;
  }
}

/**
 * A stream of records with keys of type K and values of type V. Operators see the value and the record's context;
 * none can change the key, so a record's outputs stay in the partition its input came from.
 */
export class KStream<K, V> {
  readonly #node: Node;
  readonly #add: (node: Node) => Node;

  /** Made by StreamsBuilder.stream and by the operators. */
  constructor(node: Node, add: (node: Node) => Node) {
    this.#node = node;
    this.#add = add;
  }

  /** Keeps the records for which `keep` is true; the others are counted as dropped, reason `filtered`. */
  filter(name: string, keep: (value: V, record: RecordContext<K>) => boolean): KStream<K, V> {
    return this.#append({
      type: 'filter',
      name,
      keep: keep as (value: unknown, record: RecordContext) => boolean,
      next: [],
    });
  }

  /** One value in, one value out; or an answer made by drop() or reject(). */
  mapValues<R>(
    name: string,
    map: (value: V, record: RecordContext<K>) => R | Dropped | Rejected,
  ): KStream<K, R> {
    return this.#append({
      type: 'mapValues',
      name,
      map: map as (value: unknown, record: RecordContext) => unknown,
      next: [],
    });
  }

  /** One value in, any number out, in order; or an answer made by drop() or reject(). */
  flatMapValues<R>(
    name: string,
    map: (value: V, record: RecordContext<K>) => Iterable<R> | Dropped | Rejected,
  ): KStream<K, R> {
    return this.#append({
      type: 'flatMapValues',
      name,
      map: map as (value: unknown, record: RecordContext) => Iterable<unknown> | Dropped | Rejected,
      next: [],
    });
  }

  /**
   * Sends each record down the first branch whose predicate matches; one that matches none is counted as dropped,
   * reason `unmatched`. A type guard as predicate narrows the type of its branch.
   * @returns the branches by name; operators are named `<split>-<branch>`.
   */
  split<B extends Readonly<Record<string, (value: V, record: RecordContext<K>) => boolean>>>(
    name: string,
    branches: B,
  ): { readonly [N in keyof B]: KStream<K, Guarded<B[N], V>> } {
    const entries = Object.entries(branches).map(([branch, matches]) => ({
      branch,
      name: `${name}-${branch}`,
      matches: matches as (value: unknown, record: RecordContext) => boolean,
    }));
    const node = this.#link({
      type: 'split',
      name,
      branches: entries.map(({ name: n, matches }) => ({ name: n, matches })),
      next: [],
    });
    const streams = entries.map(({ branch, name: branchName }) => {
      const child = this.#add({ type: 'branch', name: branchName, next: [] });
      node.next.push(branchName);
      return [branch, new KStream(child, this.#add)] as const;
    });
    return Object.fromEntries(streams) as unknown as {
      readonly [N in keyof B]: KStream<K, Guarded<B[N], V>>;
    };
  }

  /** Writes each record to a fixed topic, or to the one that `topic` chooses, in the partition of its input. */
  to(
    name: string,
    topic: string | ((key: K, value: V, record: RecordContext<K>) => string),
    produced: Produced<K, V>,
  ): void {
    this.#link({
      type: 'sink',
      name,
      topic: (typeof topic === 'string' ? () => topic : topic) as (
        key: unknown,
        value: unknown,
        record: RecordContext,
      ) => string,
      topics: typeof topic === 'string' ? [topic] : (produced.topics ?? []),
      value: produced.value as Pick<Serde<unknown>, 'serialize'>,
      headers: produced.headers as ((value: unknown, record: RecordContext) => Headers) | undefined,
      next: [],
    });
  }

  #append<R>(node: Node): KStream<K, R> {
    return new KStream<K, R>(this.#link(node), this.#add);
  }

  #link(node: Node): Node {
    this.#add(node);
    this.#node.next.push(node.name);
    return node;
  }
}

type TypeGuard<V, G extends V> = (value: V, ...rest: never[]) => value is G;
type Guarded<P, V> = P extends TypeGuard<V, infer G> ? G : V;

import { StreamsError } from './errors.ts';
import type { Dropped, Rejected } from './outcome.ts';
import type { OutputHeaders, RecordContext } from './record.ts';
import type { Serde } from './serdes.ts';
import type { KeyValueStore, StoreOptions, StoreSpec } from './store.ts';
import { Topology, type Node, type Processor } from './topology.ts';

/** What a sink writes beside key, timestamp and partition, which are those of the record that was read. */
export interface Produced<K, V> {
  readonly value: Pick<Serde<V>, 'serialize'>;
  /** The headers of the output; none if absent. Headers of the input are not passed on. */
  readonly headers?: (value: V, record: RecordContext<K>) => OutputHeaders;
  /** The topics a chooser may answer: for `describe()` and for the check at start. */
  readonly topics?: readonly string[];
}

/** The types of the stores that a topology has declared, by name. */
type Stores = Readonly<Record<string, unknown>>;

/** Describes a topology step by step. Every operator has a name, unique in the topology: it labels metrics and dead letters. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- no stores yet
export class StreamsBuilder<S extends Stores = {}> {
  readonly #nodes: Node[] = [];
  readonly #stores: StoreSpec[] = [];

  /**
   * Declares a store for processValues(). Each task has its partition of it, in memory and in a compacted changelog.
   * @returns the same builder, which knows the store's name and types from now on.
   */
  addStateStore<N extends string, K, V>(
    name: N,
    options: StoreOptions<K, V>,
  ): StreamsBuilder<S & Readonly<Record<N, KeyValueStore<K, V>>>> {
    if (!/^[A-Za-z0-9._-]+$/.test(name))
      throw new StreamsError(
        'INVALID_TOPOLOGY',
        `store name ${JSON.stringify(name)} cannot be part of a topic`,
      );
    if (this.#stores.some((store) => store.name === name))
      throw new StreamsError('INVALID_TOPOLOGY', `two stores are named ${name}: names must be unique`);
    const { retentionMs, sweepAfterMs } = options;
    if (sweepAfterMs !== undefined && (retentionMs === undefined || sweepAfterMs < retentionMs)) {
      throw new StreamsError(
        'INVALID_TOPOLOGY',
        `store ${name} would be swept before its entries expire: sweepAfterMs must be at least retentionMs`,
      );
    }
    this.#stores.push({ ...(options as StoreOptions<unknown, unknown>), name });
    return this as unknown as StreamsBuilder<S & Readonly<Record<N, KeyValueStore<K, V>>>>;
  }

  /** Reads `topics`; all must have the same partition count, and partition i of all of them makes task 0_i. */
  stream<K, V>(
    name: string,
    topics: string | readonly string[],
    consumed: { readonly key: Serde<K>; readonly value: Serde<V> },
  ): KStream<K, V, S> {
    const list = typeof topics === 'string' ? [topics] : [...topics];
    return new KStream<K, V, S>(
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
    return new Topology(this.#nodes, this.#stores);
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
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- no stores
export class KStream<K, V, S extends Stores = {}> {
  readonly #node: Node;
  readonly #add: (node: Node) => Node;

  /** Made by StreamsBuilder.stream and by the operators. */
  constructor(node: Node, add: (node: Node) => Node) {
    this.#node = node;
    this.#add = add;
  }

  /** Keeps the records for which `keep` is true; the others are counted as dropped, reason `filtered`. */
  filter(name: string, keep: (value: V, record: RecordContext<K>) => boolean): KStream<K, V, S> {
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
  ): KStream<K, Exclude<R, Dropped | Rejected>, S> {
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
  ): KStream<K, R, S> {
    return this.#append({
      type: 'flatMapValues',
      name,
      map: map as (value: unknown, record: RecordContext) => Iterable<unknown> | Dropped | Rejected,
      next: [],
    });
  }

  /**
   * As flatMapValues, with stores beside the record: what it writes to them is committed with the outputs, or, when the
   * record fails in this operator or a later one, taken back with them.
   */
  processValues<R, N extends keyof S & string>(
    name: string,
    process: (value: V, record: RecordContext<K>, stores: Pick<S, N>) => Iterable<R> | Dropped | Rejected,
    options: { readonly stores: readonly N[] },
  ): KStream<K, R, S> {
    return this.#append({
      type: 'processValues',
      name,
      process: process as unknown as Processor,
      stores: [...options.stores],
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
  ): { readonly [N in keyof B]: KStream<K, Guarded<B[N], V>, S> } {
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
      return [branch, new KStream<K, V, S>(child, this.#add)] as const;
    });
    return Object.fromEntries(streams) as unknown as {
      readonly [N in keyof B]: KStream<K, Guarded<B[N], V>, S>;
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
      headers: produced.headers as ((value: unknown, record: RecordContext) => OutputHeaders) | undefined,
      next: [],
    });
  }

  #append<R>(node: Node): KStream<K, R, S> {
    return new KStream<K, R, S>(this.#link(node), this.#add);
  }

  #link(node: Node): Node {
    this.#add(node);
    this.#node.next.push(node.name);
    return node;
  }
}

type TypeGuard<V, G extends V> = (value: V, ...rest: never[]) => value is G;
type Guarded<P, V> = P extends TypeGuard<V, infer G> ? G : V;

import { StreamsError } from './errors.ts';
import type { Dropped, Rejected } from './outcome.ts';
import type { OutputHeaders, RecordContext } from './record.ts';
import type { Serde } from './serdes.ts';
import type { KeyValueStore, StoreOptions, StoreSpec } from './store.ts';
import {
  Topology,
  type FlatAnswer,
  type FlatMapper,
  type Mapper,
  type Node,
  type Processor,
} from './topology.ts';

/** What a sink writes in addition to key, timestamp and partition, which are those of the input record. */
export interface Produced<K, V> {
  readonly value: Pick<Serde<V>, 'serialize'>;
  /** The headers of the output. Default none: headers of the input are not passed on. */
  readonly headers?: (value: V, record: RecordContext<K>) => OutputHeaders;
  /** The topics that a topic chooser may answer, for `describe()` and for the check at start. */
  readonly topics?: readonly string[];
}

/** The types of the stores that a topology has declared, by name. */
type Stores = Readonly<Record<string, unknown>>;
// eslint-disable-next-line @typescript-eslint/no-empty-object-type -- no stores yet
type NoStores = {};

/** Describes a topology step by step. Every operator has a unique name, which labels metrics and dead letters. */
export class StreamsBuilder<S extends Stores = NoStores> {
  readonly #nodes: Node[] = [];
  readonly #stores: StoreSpec[] = [];

  /**
   * Declares a store for processValues(). Each task has its partition of it, in memory and in a compacted changelog.
   * @returns the same builder, with the store's name and types added to its own type.
   */
  addStateStore<N extends string, K, V>(
    name: N,
    options: StoreOptions<K, V>,
  ): StreamsBuilder<S & Readonly<Record<N, KeyValueStore<K, V>>>> {
    if (!/^[A-Za-z0-9._-]+$/.test(name))
      throw new StreamsError(
        'INVALID_TOPOLOGY',
        `store name ${JSON.stringify(name)} cannot be part of a topic name`,
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

  /** Reads `topics`. All must have the same partition count: partition i of all of them is task 0_i. */
  stream<K, V>(
    name: string,
    topics: string | readonly string[],
    consumed: { readonly key: Serde<K>; readonly value: Serde<V> },
  ): KStream<K, V, S> {
    const source = this.#add({
      type: 'source',
      name,
      topics: typeof topics === 'string' ? [topics] : [...topics],
      key: consumed.key as Serde<unknown>,
      value: consumed.value as Serde<unknown>,
      next: [],
    });
    return new KStream<K, V, S>(source, (node) => this.#add(node));
  }

  /**
   * The finished graph.
   * @param options - `maxWork`: the units of work (work.ts) that one record may take. A record that takes more is a failed
   *   one, `TOO_MUCH_WORK`. Part of the graph, because it decides what comes of a record. Default: no limit.
   */
  build({ maxWork = Infinity }: { readonly maxWork?: number } = {}): Topology {
    return new Topology(this.#nodes, this.#stores, maxWork);
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
 * A stream of records with keys of type K and values of type V. Operators see the value and the record's context.
 * None can change the key, so a record's outputs stay in the partition of their input.
 */
export class KStream<K, V, S extends Stores = NoStores> {
  readonly #node: Node;
  readonly #add: (node: Node) => Node;

  /** Called by StreamsBuilder.stream and by the operators only. */
  constructor(node: Node, add: (node: Node) => Node) {
    this.#node = node;
    this.#add = add;
  }

  /** Turns each value into one value, or into the answer of drop() or reject(). */
  mapValues<R>(
    name: string,
    map: (value: V, record: RecordContext<K>) => R | Dropped | Rejected,
  ): KStream<K, Exclude<R, Dropped | Rejected>, S> {
    return this.#append({ type: 'mapValues', name, map: map as Mapper, next: [] });
  }

  /** Turns each value into any number of values, in order, or into the answer of drop(), reject() or partly(). */
  flatMapValues<R>(
    name: string,
    map: (value: V, record: RecordContext<K>) => FlatAnswer<R>,
  ): KStream<K, R, S> {
    return this.#append({ type: 'flatMapValues', name, map: map as FlatMapper, next: [] });
  }

  /**
   * As flatMapValues, with stores: what `process` writes to them is committed with the outputs, or taken back with them
   * when the record fails in this operator or a later one.
   */
  processValues<R, N extends keyof S & string>(
    name: string,
    process: (value: V, record: RecordContext<K>, stores: Pick<S, N>) => FlatAnswer<R>,
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

  /** Writes each record to a fixed topic, or to the one that `topic` chooses, in the partition of its input. */
  to(name: string, topic: string | ((key: K, value: V) => string), produced: Produced<K, V>): void {
    this.#append({
      type: 'sink',
      name,
      topic: (typeof topic === 'string' ? () => topic : topic) as (key: unknown, value: unknown) => string,
      topics: typeof topic === 'string' ? [topic] : (produced.topics ?? []),
      value: produced.value as Pick<Serde<unknown>, 'serialize'>,
      headers: produced.headers as ((value: unknown, record: RecordContext) => OutputHeaders) | undefined,
      next: [],
    });
  }

  #append<R>(node: Node): KStream<K, R, S> {
    this.#add(node);
    this.#node.next.push(node.name);
    return new KStream<K, R, S>(node, this.#add);
  }
}

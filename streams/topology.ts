import { StreamsError } from './errors.ts';
import type { Dropped, Partly, Rejected } from './outcome.ts';
import type { OutputHeaders, RecordContext } from './record.ts';
import type { Serde } from './serdes.ts';
import type { KeyValueStore, StoreSpec } from './store.ts';

// Inside the topology values are untyped: the builder's types make sure that neighbours fit.
export type Mapper = (value: unknown, record: RecordContext) => unknown;
export type FlatMapper = (value: unknown, record: RecordContext) => FlatAnswer;
/** What an operator answers that makes any number of values of one. */
export type FlatAnswer<R = unknown> = Iterable<R> | Partly<R> | Dropped | Rejected;
export type Processor = (
  value: unknown,
  record: RecordContext,
  stores: Readonly<Record<string, KeyValueStore<unknown, unknown>>>,
) => FlatAnswer;

/** One operator. `next` are the names of the operators it forwards to. */
export type Node = { readonly name: string; readonly next: string[] } & (
  | {
      readonly type: 'source';
      readonly topics: readonly string[];
      readonly key: Serde<unknown>;
      readonly value: Serde<unknown>;
    }
  | { readonly type: 'mapValues'; readonly map: Mapper }
  | { readonly type: 'flatMapValues'; readonly map: FlatMapper }
  | { readonly type: 'processValues'; readonly process: Processor; readonly stores: readonly string[] }
  | {
      readonly type: 'sink';
      readonly topic: (key: unknown, value: unknown) => string;
      readonly topics: readonly string[];
      readonly value: Pick<Serde<unknown>, 'serialize'>;
      readonly headers: ((value: unknown, record: RecordContext) => OutputHeaders) | undefined;
    }
);

/** An immutable graph of operators, made by StreamsBuilder. */
export class Topology {
  readonly nodes: ReadonlyMap<string, Node>;
  /** Every topic that is read. */
  readonly sourceTopics: readonly string[];
  /** Every topic that is known to be written: a topic chooser's only as far as its sink declares them. */
  readonly sinkTopics: readonly string[];
  readonly stores: readonly StoreSpec[];
  /** The units of work (work.ts) that one record may take. */
  readonly maxWork: number;

  /**
   * @throws StreamsError INVALID_TOPOLOGY when nothing is read, a topic is read twice, an operator leads nowhere, or no
   *   operator uses a store.
   */
  constructor(nodes: readonly Node[], stores: readonly StoreSpec[], maxWork: number) {
    // Copies, because later calls of the builder would change the graph.
    this.nodes = new Map(nodes.map((node) => [node.name, { ...node, next: [...node.next] }]));
    this.stores = [...stores];
    this.maxWork = maxWork;
    this.sourceTopics = nodes.flatMap((node) => (node.type === 'source' ? node.topics : []));
    this.sinkTopics = [...new Set(nodes.flatMap((node) => (node.type === 'sink' ? node.topics : [])))];
    if (this.sourceTopics.length === 0)
      throw new StreamsError('INVALID_TOPOLOGY', 'a topology needs a stream to read');
    const twice = this.sourceTopics.find((topic, at) => this.sourceTopics.indexOf(topic) !== at);
    if (twice !== undefined)
      throw new StreamsError('INVALID_TOPOLOGY', `topic ${twice} is read by two streams`);
    const loose = nodes.find((node) => node.type !== 'sink' && node.next.length === 0);
    if (loose !== undefined) {
      throw new StreamsError('INVALID_TOPOLOGY', `operator ${loose.name} leads nowhere: end it with to()`);
    }
    const used = new Set(nodes.flatMap((node) => (node.type === 'processValues' ? node.stores : [])));
    const idle = stores.find(({ name, isPunctuated }) => isPunctuated !== true && !used.has(name));
    if (idle !== undefined)
      throw new StreamsError('INVALID_TOPOLOGY', `no operator uses store ${idle.name}: remove it`);
  }

  /** The source operator that reads `topic`. */
  source(topic: string): Extract<Node, { type: 'source' }> {
    for (const node of this.nodes.values())
      if (node.type === 'source' && node.topics.includes(topic)) return node;
    throw new StreamsError('INVARIANT', `got a record of ${topic}, which the topology does not read`);
  }
}

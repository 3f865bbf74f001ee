import { StreamsError } from './errors.ts';
import type { Dropped, Rejected } from './outcome.ts';
import type { OutputHeaders, RecordContext } from './record.ts';
import type { Serde } from './serdes.ts';
import type { KeyValueStore, StoreSpec } from './store.ts';

// Inside the topology values are untyped: the builder's types have made sure that neighbours fit.
export type Mapper = (value: unknown, record: RecordContext) => unknown;
export type Processor = (
  value: unknown,
  record: RecordContext,
  stores: Readonly<Record<string, KeyValueStore<unknown, unknown>>>,
) => Iterable<unknown> | Dropped | Rejected;

/** One operator. `next` are the names of the operators it forwards to. */
export type Node =
  | {
      readonly type: 'source';
      readonly name: string;
      readonly topics: readonly string[];
      readonly key: Serde<unknown>;
      readonly value: Serde<unknown>;
      readonly next: string[];
    }
  | {
      readonly type: 'filter';
      readonly name: string;
      readonly keep: (value: unknown, record: RecordContext) => boolean;
      readonly next: string[];
    }
  | { readonly type: 'mapValues'; readonly name: string; readonly map: Mapper; readonly next: string[] }
  | {
      readonly type: 'flatMapValues';
      readonly name: string;
      readonly map: (value: unknown, record: RecordContext) => Iterable<unknown> | Dropped | Rejected;
      readonly next: string[];
    }
  | {
      readonly type: 'processValues';
      readonly name: string;
      readonly process: Processor;
      readonly stores: readonly string[];
      readonly next: string[];
    }
  | {
      readonly type: 'split';
      readonly name: string;
      readonly branches: readonly {
        readonly name: string;
        readonly matches: (value: unknown, record: RecordContext) => boolean;
      }[];
      readonly next: string[];
    }
  | { readonly type: 'branch'; readonly name: string; readonly next: string[] }
  | {
      readonly type: 'sink';
      readonly name: string;
      readonly topic: (key: unknown, value: unknown, record: RecordContext) => string;
      readonly topics: readonly string[];
      readonly value: Pick<Serde<unknown>, 'serialize'>;
      readonly headers: ((value: unknown, record: RecordContext) => OutputHeaders) | undefined;
      readonly next: string[];
    };

/** An immutable graph of operators, made by StreamsBuilder. */
export class Topology {
  readonly nodes: ReadonlyMap<string, Node>;
  /** Every topic that is read. */
  readonly sourceTopics: readonly string[];
  /** Every topic that is known to be written (a chooser's topics only as far as it declares them). */
  readonly sinkTopics: readonly string[];
  readonly stores: readonly StoreSpec[];

  /**
   * @throws StreamsError INVALID_TOPOLOGY when nothing is read, a topic is read twice, an operator leads nowhere, or no
   *   operator uses a store.
   */
  constructor(nodes: readonly Node[], stores: readonly StoreSpec[] = []) {
    // Copies, because a builder that is used on would change the graph under its reader.
    this.nodes = new Map(nodes.map((node) => [node.name, { ...node, next: [...node.next] }]));
    this.stores = [...stores];
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
    const idle = stores.find(({ name }) => !used.has(name));
    if (idle !== undefined)
      throw new StreamsError('INVALID_TOPOLOGY', `store ${idle.name} is used by no operator: remove it`);
  }

  /** The source operator that reads `topic`. */
  source(topic: string): Extract<Node, { type: 'source' }> {
    for (const node of this.nodes.values())
      if (node.type === 'source' && node.topics.includes(topic)) return node;
    throw new StreamsError('INVARIANT', `a record of ${topic} came in, but the topology does not read it`);
  }
}

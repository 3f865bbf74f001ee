import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe, serdes, StreamsBuilder } from '../../streams/index.ts';

const builder = new StreamsBuilder();
builder
  .stream('raw', ['raw.a', 'raw.b'], { key: serdes.utf8, value: serdes.utf8 })
  .mapValues('parse', (value) => value)
  .flatMapValues('kind-good', (value) => [value])
  .to('write', 'out.good', { value: serdes.utf8 });
const topology = builder.build();

test('describes a topology as text in the form of Kafka Streams', () => {
  assert.equal(
    describe(topology, 'text'),
    `Topologies:
   Sub-topology: 0
    Source: raw (topics: [raw.a, raw.b])
      --> parse
    Processor: parse (mapValues, stores: [])
      --> kind-good
      <-- raw
    Processor: kind-good (flatMapValues, stores: [])
      --> write
      <-- parse
    Sink: write (topics: [out.good])
      <-- kind-good
`,
  );
});

test('describes a topology as a Mermaid flowchart', () => {
  assert.equal(
    describe(topology, 'mermaid'),
    `flowchart LR
  raw["raw"]
  topic_raw_a[("raw.a")]
  topic_raw_a --> raw
  topic_raw_b[("raw.b")]
  topic_raw_b --> raw
  raw --> parse
  parse["parse<br/><i>mapValues</i>"]
  parse --> kind_good
  kind_good["kind-good<br/><i>flatMapValues</i>"]
  kind_good --> write
  write["write"]
  topic_out_good[("out.good")]
  write --> topic_out_good
`,
  );
});

test('describes a topology as JSON', () => {
  const json = describe(topology, 'json');
  assert.ok(json.endsWith('}\n'));
  assert.deepEqual(JSON.parse(json), {
    nodes: [
      {
        name: 'raw',
        type: 'source',
        topics: ['raw.a', 'raw.b'],
        stores: [],
        predecessors: [],
        successors: ['parse'],
      },
      {
        name: 'parse',
        type: 'mapValues',
        topics: [],
        stores: [],
        predecessors: ['raw'],
        successors: ['kind-good'],
      },
      {
        name: 'kind-good',
        type: 'flatMapValues',
        topics: [],
        stores: [],
        predecessors: ['parse'],
        successors: ['write'],
      },
      {
        name: 'write',
        type: 'sink',
        topics: ['out.good'],
        stores: [],
        predecessors: ['kind-good'],
        successors: [],
      },
    ],
    stores: [],
  });
});

test('shows stores, the operators that use them and their retention', () => {
  const builder = new StreamsBuilder().addStateStore('seen', {
    key: serdes.utf8,
    value: serdes.utf8,
    retentionMs: 1_000,
    sweepAfterMs: 2_000,
  });
  builder
    .stream('in', 'in', { key: serdes.utf8, value: serdes.utf8 })
    .processValues('once', (value, _, { seen }) => (seen.get(value) === undefined ? [value] : []), {
      stores: ['seen'],
    })
    .to('out', 'out', { value: serdes.utf8 });
  const stateful = builder.build();
  assert.match(describe(stateful, 'text'), /Processor: once \(processValues, stores: \[seen\]\)/);
  assert.match(describe(stateful, 'mermaid'), /once -\.- store_seen\n/);
  const json = JSON.parse(describe(stateful, 'json')) as { nodes: { stores: string[] }[]; stores: unknown };
  assert.deepEqual(json.nodes[1]?.stores, ['seen']);
  assert.deepEqual(json.stores, [{ name: 'seen', retentionMs: 1_000, sweepAfterMs: 2_000 }]);
});

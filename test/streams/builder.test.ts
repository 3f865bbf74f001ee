import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { drop, serdes, StreamsBuilder, TopologyTestDriver } from '../../streams/index.ts';

const raw = { key: serdes.utf8, value: serdes.utf8 };
const out = { value: serdes.utf8 };
const text = (value: Buffer | null): string => value?.toString('utf8') ?? '';

describe('the builder', () => {
  test('refuses an operator without a name, and two of one name', () => {
    const stream = new StreamsBuilder().stream('raw', 'in', raw);
    assert.throws(() => stream.mapValues('', (value) => value), {
      code: 'INVALID_TOPOLOGY',
      message: 'every operator needs a name',
    });
    stream.flatMapValues('some', (value) => [value]);
    assert.throws(() => stream.mapValues('some', (value) => value), {
      code: 'INVALID_TOPOLOGY',
      message: 'two operators are named some: names must be unique',
    });
  });

  test('refuses a topology that reads nothing', () => {
    assert.throws(() => new StreamsBuilder().build(), { code: 'INVALID_TOPOLOGY' });
  });

  test('refuses a topic that is read twice, by two streams or by one', () => {
    const two = new StreamsBuilder();
    two.stream('first', ['a', 'b'], raw).to('first-out', 'out', out);
    two.stream('second', 'b', raw).to('second-out', 'out', out);
    assert.throws(() => two.build(), { code: 'INVALID_TOPOLOGY' });
    const one = new StreamsBuilder();
    one.stream('raw', ['a', 'a'], raw).to('to', 'out', out);
    assert.throws(() => one.build(), { code: 'INVALID_TOPOLOGY' });
  });

  test('refuses loose ends: a stream or an operator that leads nowhere', () => {
    const loose = (message: string, build: (builder: StreamsBuilder) => void): void => {
      const builder = new StreamsBuilder();
      build(builder);
      assert.throws(() => builder.build(), { code: 'INVALID_TOPOLOGY', message });
    };
    loose('operator raw leads nowhere: end it with to()', (builder) => void builder.stream('raw', 'in', raw));
    loose('operator keep leads nowhere: end it with to()', (builder) => {
      const stream = builder.stream('raw', 'in', raw);
      stream.mapValues('keep', (value) => value);
      stream.to('to', 'out', out);
    });
  });

  test('wires each operator to those that follow it', () => {
    const builder = new StreamsBuilder();
    const words = builder
      .stream('raw', 'in', raw)
      .flatMapValues('words', (value) => value?.split(' ') ?? drop('empty'));
    words.to('to-all', 'all', out);
    words.mapValues('mark', (word) => `${word}!`).to('to-marked', 'marked', out);
    const topology = builder.build();
    assert.deepEqual(
      [...topology.nodes.values()].map(({ name, type, next }) => [name, type, next]),
      [
        ['raw', 'source', ['words']],
        ['words', 'flatMapValues', ['to-all', 'mark']],
        ['to-all', 'sink', []],
        ['mark', 'mapValues', ['to-marked']],
        ['to-marked', 'sink', []],
      ],
    );
    assert.deepEqual(topology.sourceTopics, ['in']);
    assert.deepEqual(topology.sinkTopics, ['all', 'marked']);
  });

  test('knows the topics of a chooser as far as it declares them', () => {
    const builder = new StreamsBuilder();
    builder.stream('raw', 'in', raw).to('route', () => 'b', { ...out, topics: ['a', 'b'] });
    assert.deepEqual(builder.build().sinkTopics, ['a', 'b']);
  });

  test('gives a topology that later steps of the builder leave alone', () => {
    const builder = new StreamsBuilder();
    const stream = builder.stream('raw', 'in', raw);
    stream.to('to', 'out', out);
    const topology = builder.build();
    stream.to('also', 'other', out);
    assert.deepEqual(topology.nodes.get('raw')?.next, ['to']);
    assert.deepEqual(builder.build().nodes.get('raw')?.next, ['to', 'also']);
  });

  test('each operator takes the values that it does not drop; drops are counted by reason', async () => {
    const builder = new StreamsBuilder();
    const present = builder
      .stream('raw', 'in', raw)
      .flatMapValues('present', (value) => (value === null ? drop('null') : [value]));
    present
      .flatMapValues('long', (value) => (value.length > 3 ? [value] : drop('short')))
      .to('to-long', 'longs', out);
    present
      .flatMapValues('some', (value) => (value.length === 2 || value.length === 3 ? [value] : drop('other')))
      .to('to-some', 'somes', out);
    const driver = new TopologyTestDriver(builder.build());
    for (const value of ['long one', 'two', 'x', null])
      await driver.pipe({ topic: 'in', value: value === null ? null : Buffer.from(value) });
    assert.deepEqual(
      driver.output('longs').map(({ value }) => text(value)),
      ['long one'],
    );
    assert.deepEqual(
      driver.output('somes').map(({ value }) => text(value)),
      ['two'],
    );
    assert.deepEqual([...driver.dropped].sort(), [
      ['long/short', 2],
      ['present/null', 1],
      ['some/other', 2],
    ]);
  });

  test('two operators behind one stream both get every record, in the order in which they were added', async () => {
    const builder = new StreamsBuilder();
    const stream = builder.stream('raw', 'in', raw);
    stream.mapValues('a', (value) => `a${value}`).to('a-out', 'out', out);
    stream.mapValues('b', (value) => `b${value}`).to('b-out', 'out', out);
    const driver = new TopologyTestDriver(builder.build());
    await driver.pipe({ topic: 'in', value: Buffer.from('1') });
    assert.deepEqual(
      driver.output('out').map(({ value }) => text(value)),
      ['a1', 'b1'],
    );
  });
});

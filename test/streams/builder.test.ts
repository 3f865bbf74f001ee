import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeNodes, serdes, StreamsBuilder, TopologyTestDriver } from '../../streams/index.ts';

const raw = { key: serdes.utf8, value: serdes.utf8 };
const out = { value: serdes.utf8 };
const text = (value: Buffer | null): string => value?.toString('utf8') ?? '';

describe('the builder', () => {
  test('refuses an operator without a name, and two of one name', () => {
    const stream = new StreamsBuilder().stream('raw', 'in', raw);
    assert.throws(() => stream.filter('', () => true), {
      code: 'INVALID_TOPOLOGY',
      message: 'every operator needs a name',
    });
    stream.filter('some', () => true);
    assert.throws(() => stream.mapValues('some', (value) => value), {
      code: 'INVALID_TOPOLOGY',
      message: 'two operators are named some: names must be unique',
    });
  });

  test('refuses a branch whose full name another operator has', () => {
    const stream = new StreamsBuilder().stream('raw', 'in', raw);
    stream.filter('size-big', () => true);
    assert.throws(() => stream.split('size', { big: () => true }), { code: 'INVALID_TOPOLOGY' });
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

  test('refuses loose ends: a stream, an operator or a branch that leads nowhere', () => {
    const loose = (message: string, build: (builder: StreamsBuilder) => void): void => {
      const builder = new StreamsBuilder();
      build(builder);
      assert.throws(() => builder.build(), { code: 'INVALID_TOPOLOGY', message });
    };
    loose('operator raw leads nowhere: end it with to()', (builder) => void builder.stream('raw', 'in', raw));
    loose('operator keep leads nowhere: end it with to()', (builder) => {
      builder.stream('raw', 'in', raw).filter('keep', () => true);
    });
    loose('operator size-small leads nowhere: end it with to()', (builder) => {
      const sizes = builder.stream('raw', 'in', raw).split('size', { big: () => true, small: () => true });
      sizes.big.to('to', 'out', out);
    });
  });

  test('wires a split to its branches and each branch to what follows it', () => {
    const builder = new StreamsBuilder();
    const sizes = builder
      .stream('raw', 'in', raw)
      .filter('present', (value) => value !== null)
      .split('size', { big: () => true, small: () => true });
    sizes.big.to('to-big', 'bigs', out);
    sizes.small.mapValues('mark', (value) => `${value}!`).to('to-small', 'smalls', out);
    const topology = builder.build();
    assert.deepEqual(
      describeNodes(topology).nodes.map(({ name, type, successors }) => [name, type, successors]),
      [
        ['raw', 'source', ['present']],
        ['present', 'filter', ['size']],
        ['size', 'split', ['size-big', 'size-small']],
        ['size-big', 'branch', ['to-big']],
        ['size-small', 'branch', ['mark']],
        ['to-big', 'sink', []],
        ['mark', 'mapValues', ['to-small']],
        ['to-small', 'sink', []],
      ],
    );
    assert.deepEqual(topology.sourceTopics, ['in']);
    assert.deepEqual(topology.sinkTopics, ['bigs', 'smalls']);
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

  test('the first matching branch takes a record; what matches none, or is filtered, is counted', async () => {
    const builder = new StreamsBuilder();
    const lengths = builder
      .stream('raw', 'in', raw)
      .filter('present', (value) => value !== null)
      .split('length', { long: (v) => (v?.length ?? 0) > 3, some: (v) => (v?.length ?? 0) > 1 });
    lengths.long.to('to-long', 'longs', out);
    lengths.some.to('to-some', 'somes', out);
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
      ['length/unmatched', 1],
      ['present/filtered', 1],
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

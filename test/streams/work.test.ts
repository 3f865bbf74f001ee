import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  serdes,
  StreamsBuilder,
  type InputRecord,
  type KeyValueStore,
  type OutputRecord,
} from '../../streams/index.ts';
import { deadLetterAlways, errorHeader } from '../../streams/errors.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { headerText } from '../../schemas/raw-record.ts';

type Texts = KeyValueStore<string | null, string | null>;

function recordOf(value: string, timestamp = 0): InputRecord {
  return {
    topic: 'in',
    partition: 0,
    offset: 7n,
    timestamp,
    key: null,
    value: Buffer.from(value),
    headers: {},
  };
}

/** A processor of one operator that emits, stores or charges what its record says. */
function processorOf(maxWork: number | undefined, log?: { warn(fields: object, message: string): void }) {
  const builder = new StreamsBuilder().addStateStore('texts', {
    key: serdes.utf8,
    value: serdes.utf8,
    retentionMs: 100,
    sweepAfterMs: 1_000,
  });
  builder
    .stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'work',
      (text, record, { texts }: { readonly texts: Texts }) => {
        const [what, count] = (text ?? '').split(' ');
        const times = Number(count);
        if (what === 'emit') return Array.from({ length: times }, () => 'v');
        if (what === 'charge') record.charge(times);
        if (what === 'put') for (let n = 0; n < times; n += 1) texts.put(`k${n}`, 'value');
        if (what === 'large') texts.put('k', 'x'.repeat(times));
        if (what === 'get') texts.get('k0');
        if (what === 'age') texts.timestamp('k0');
        if (what === 'wait') for (const end = performance.now() + times; performance.now() < end;);
        return [];
      },
      { stores: ['texts'] },
    )
    .to('out', 'out', { value: serdes.utf8 });
  const topology = builder.build(maxWork === undefined ? {} : { maxWork });
  const processor = new RecordProcessor(topology, 0, {
    applicationId: 'app',
    handlers: deadLetterAlways,
    deadLetterTopic: 'dlq',
    ...(log === undefined ? {} : { log }),
  });
  const process = (value: string, timestamp?: number): OutputRecord[] => {
    const outputs: OutputRecord[] = [];
    processor.process(recordOf(value, timestamp), outputs);
    return outputs;
  };
  return { processor, store: processor.stores[0]!, process };
}

/** The units that a record takes. */
function unitsOf({ processor, process }: ReturnType<typeof processorOf>, value: string, timestamp?: number) {
  process(value, timestamp);
  return processor.work;
}

describe('the work of a record', () => {
  test('is what it brings, makes operators take in, touches in stores, puts out, and what operators add', () => {
    const processor = processorOf(undefined);
    // 8 bytes begun are a unit, and so is the value that enters the operator.
    assert.equal(unitsOf(processor, 'charge 5'), 1 + 1 + 5);
    assert.equal(unitsOf(processor, 'put 3'), 1 + 1 + 3 * 2);
    assert.equal(unitsOf(processor, 'large 2048'), 2 + 1 + 1 + 3);
    assert.equal(unitsOf(processor, 'get'), 1 + 1 + 2);
    assert.equal(unitsOf(processor, 'emit 2'), 1 + 1 + 2 * (1 + 16 + 1));
  });

  test('is counted for each record anew', () => {
    const { process } = processorOf(100);
    for (let times = 0; times < 5; times += 1) assert.deepEqual(process('charge 97'), []);
  });

  for (const [what, most, tooMuch] of [
    ['values', 'emit 55', 'emit 56'],
    ['uses of stores', 'put 499', 'put 500'],
    ['bytes in stores', 'large 1019903', 'large 1019904'],
    ['units of its own', 'charge 997', 'charge 999'],
  ] as const) {
    test(`case 5: is limited in its ${what}: beyond, the record is dead-lettered and leaves nothing behind`, () => {
      const { process, store } = processorOf(1_000);
      const size = process(most).length;
      assert.ok(most.startsWith('emit') ? size === 55 : size === 0);
      store.foldIn();
      const before = [...store.entries()];
      const [letter, ...more] = process(tooMuch);
      assert.deepEqual([more.length, store.isDirty], [0, false]);
      assert.equal(headerText(letter!.headers as never, errorHeader.exception), 'TOO_MUCH_WORK');
      const message = headerText(letter!.headers, errorHeader.message) ?? '';
      assert.match(
        message,
        /more than the 1000 units of work that one may take; counted until then: \d+ values/,
      );
      assert.deepEqual([...store.entries()], before);
      // The next record is not affected.
      assert.equal(process('emit 1').length, 1);
    });
  }

  test('does not depend on when a transaction ends, or whether an expired entry has been swept', () => {
    const counts = [false, true].map((commits) =>
      [false, true].map((sweeps) => {
        const processor = processorOf(undefined);
        const { store } = processor;
        processor.process('put 1', 0);
        if (commits || sweeps) store.foldIn();
        const fresh = [unitsOf(processor, 'get', 50), unitsOf(processor, 'age', 50)];
        if (sweeps) store.sweep(5_000, Infinity);
        if (commits) store.foldIn();
        return [...fresh, unitsOf(processor, 'age', 101), unitsOf(processor, 'get', 101)];
      }),
    );
    const [expected] = counts.flat();
    for (const one of counts.flat()) assert.deepEqual(one, expected);
  });
});

test('a record that takes long is logged by its place, once in a while, and comes out like any other', () => {
  const lines: object[] = [];
  const { process } = processorOf(undefined, { warn: (fields) => lines.push(fields) });
  process('wait 1');
  assert.deepEqual([process('wait 510'), process('wait 510')], [[], []]);
  const [line, ...more] = lines as [Record<string, unknown>];
  assert.equal(more.length, 0);
  const { ms, ...others } = line;
  assert.ok(Number(ms) >= 510);
  assert.deepEqual(others, { topic: 'in', partition: 0, offset: '7', work: 2, count: 1 });
});

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { headerText, readRawRecord, receivedAtOf } from '../../schemas/raw-record.ts';
import { reject, serdes, StreamsBuilder, TopologyTestDriver, type Headers } from '../../streams/index.ts';
import { errorHeader } from '../../streams/errors.ts';
import { recordBytes } from '../../streams/record.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');
const errorNames = new Set<string>(Object.values(errorHeader));

/** What is legal in Kafka as headers of a record. */
const legal: Record<string, Headers> = {
  'a header without a value': { source: null },
  'a repeated header of which the first has no value': { source: [null, bytes('x')] },
  'a repeated header of which the last has no value': { source: [bytes('x'), null] },
  'a header that stands twice without a value': { source: [null, null] },
  'a header without a name': { '': bytes('x') },
  'a header without a name and value': { '': null },
  'names that every object has': Object.fromEntries([
    ['__proto__', null],
    ['constructor', bytes('x')],
  ]),
  'no received_at, under that name': { received_at: null },
};

function driver(): TopologyTestDriver {
  const builder = new StreamsBuilder();
  builder
    .stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 })
    .mapValues('judge', (value) => (value === 'good' ? value : reject('BAD', 'the value is bad')))
    .to('out', 'out', { value: serdes.utf8, headers: (_, { headers }) => headers });
  return new TopologyTestDriver(builder.build(), { deadLetterTopic: 'dead' });
}

describe('case 3: null header values in a dead-lettered record looped for ever', () => {
  for (const [what, headers] of Object.entries(legal)) {
    test(`${what} is carried to the outputs and the dead letter of a record, unchanged`, async () => {
      const topology = driver();
      topology.append(
        { topic: 'in', value: bytes('good'), headers },
        { topic: 'in', value: bytes('bad'), headers },
        { topic: 'in', value: bytes('good') },
      );
      assert.equal(await topology.process(), 3);
      const [first, second] = topology.output('out');
      assert.deepEqual([first?.headers, second?.headers], [headers, {}]);
      const [letter] = topology.output('dead');
      const own = Object.entries(letter?.headers ?? {}).filter(([name]) => !errorNames.has(name));
      assert.deepEqual(Object.fromEntries(own), headers);
    });
  }

  test('the size of a record counts them', () => {
    const record = { key: null, value: null };
    const without = recordBytes({ ...record, headers: {} });
    const some: Headers = { source: null, other: [null, bytes('xyz')] };
    assert.ok(
      recordBytes({ ...record, headers: some }) >= without + 'source'.length + 2 * 'other'.length + 3,
    );
  });
});

describe('case 3: received_at without a value looped for ever', () => {
  const record = { key: 'u', timestamp: 1_700_000_000_000 };

  test('a header without a value is one that is absent', () => {
    for (const headers of [{ received_at: null }, { received_at: [bytes('1'), null] }]) {
      assert.equal(headerText(headers, 'received_at'), undefined);
      assert.equal(receivedAtOf({ ...record, headers }), record.timestamp);
    }
    assert.equal(headerText({ received_at: [null, bytes('1')] }, 'received_at'), '1');
  });

  test('a raw record without a value in any of our headers is read as one of another producer', () => {
    const headers = { received_at: null, scheme: null, secret: null };
    const read = readRawRecord('oura', { ...record, headers });
    assert.deepEqual([read.receivedAt, read.scheme, read.isEnvelope], [record.timestamp, 'none', false]);
  });
});

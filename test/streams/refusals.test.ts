import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { serdes } from '../../streams/index.ts';
import { Origins, RefusedError, Refusals, type RefusedRecord } from '../../streams/refusals.ts';
import type { InputRecord, OutputRecord } from '../../streams/record.ts';
import { StateStore } from '../../streams/store.ts';

function input(partition: number, offset: bigint): InputRecord {
  return { topic: 'in', partition, offset, timestamp: 0, key: null, value: null, headers: {} };
}

function output(partition = 0, topic = 'out'): OutputRecord {
  return { topic, partition, timestamp: 0, key: null, value: null, headers: {} };
}

/** What the broker refuses of the outputs of `inputs`, one of each. */
function refusal(inputs: readonly InputRecord[], reason = 'MESSAGE_TOO_LARGE') {
  const origins = new Map(inputs.map((one, at) => [output(one.partition), { input: one, at }]));
  const refused = [...origins.keys()].map((record) => ({ record, reason }));
  return [new RefusedError(reason, refused), ({ record }: RefusedRecord) => origins.get(record)] as const;
}

describe('the origins of a transaction', () => {
  test('lead from each output to its input, whatever the chunks', () => {
    const chunks = fc.array(fc.array(fc.nat(3), { maxLength: 5 }), { maxLength: 5 });
    fc.assert(
      fc.property(chunks, (counts) => {
        const origins = new Origins();
        const expected = new Map<OutputRecord, InputRecord>();
        let offset = 0n;
        for (const chunk of counts) {
          const outputs: OutputRecord[] = [];
          for (const count of chunk) {
            const from = input(0, offset++);
            for (let one = 0; one < count; one += 1) {
              outputs.push(output());
              expected.set(outputs.at(-1)!, from);
            }
            origins.note(from, outputs);
          }
        }
        const reason = 'MESSAGE_TOO_LARGE';
        for (const [record, from] of expected)
          assert.deepEqual(origins.of({ record, reason }, []), { input: from, at: Number(from.offset) });
        assert.equal(origins.of({ record: output(), reason }, []), undefined);
      }),
    );
  });

  test('lead from a store entry to the record that wrote it last, unless that was taken back', () => {
    const store = storeOf();
    const [a, b, c] = [input(0, 0n), input(0, 1n), input(0, 2n)];
    const write = (from: InputRecord, ...keys: string[]): void => {
      store.onRecord(from.timestamp, from);
      for (const key of keys) store.put(key, String(from.offset));
    };
    const originOf = (key: string): InputRecord | undefined =>
      new Origins().of({ record: entry(key), reason: 'INVALID_RECORD' }, [store])?.input;
    write(a, 'x', 'y');
    write(b, 'y', 'z');
    write(c, 'z');
    store.undoRecord();
    assert.deepEqual([originOf('x'), originOf('y'), originOf('z')], [a, b, b]);
    assert.equal(originOf('unknown'), undefined);
    store.foldIn();
    assert.equal(originOf('x'), undefined);
    store.sweep(1_000, Infinity);
    assert.ok(store.isDirty);
    assert.equal(originOf('x'), undefined);
  });

  test('lead from the timestamp of a store entry to the record that it is from, although another wrote last', () => {
    const store = storeOf();
    const [early, late] = [{ ...input(0, 0n), timestamp: 5 }, input(0, 1n)];
    for (const from of [early, late]) {
      store.onRecord(from.timestamp, from);
      store.put('x', String(from.offset));
    }
    const origins = new Origins();
    const [timestamp, size] = ['INVALID_TIMESTAMP', 'INVALID_RECORD'].map(
      (reason) => origins.of({ record: entry('x'), reason }, [store])?.input,
    );
    assert.deepEqual([timestamp, size], [early, late]);
  });

  test('lead from a large store entry to the record that wrote just that, whatever was written later', () => {
    const store = storeOf();
    const origins = new Origins();
    const chunk: OutputRecord[] = [];
    const sizes = [10, 3_000, 10, 3_001, 20];
    for (const [at, size] of sizes.entries()) {
      const from = input(0, BigInt(at));
      store.onRecord(0, from);
      store.put('x', 'v'.repeat(size));
      chunk.push(...store.largeWrites(2_000));
      origins.note(from, chunk);
    }
    assert.deepEqual(
      chunk.map((record) => [
        record.value?.length,
        origins.of({ record, reason: 'MESSAGE_TOO_LARGE' }, [store])?.input.offset,
      ]),
      [
        [3_000, 1n],
        [3_001, 3n],
      ],
    );
    assert.deepEqual(
      [...store.flush()].map(({ value }) => value?.length),
      [20],
    );
    store.onRecord(0, input(0, 5n));
    store.put('y', 'v'.repeat(3_000));
    assert.equal([...store.largeWrites(2_000)].length, 1);
    // It stands in the changelog already.
    assert.equal([...store.flush()].length, 1);
    store.onRecord(0, input(0, 6n));
    store.put('y', 'v');
    assert.equal([...store.flush()].length, 2);
    store.undoRecord();
    assert.equal([...store.flush()].length, 1);
  });
});

function storeOf(): StateStore {
  const spec = { name: 's', key: serdes.utf8, value: serdes.utf8, sweepAfterMs: 10 };
  return new StateStore(spec as ConstructorParameters<typeof StateStore>[0], 'log', 0);
}

function entry(key: string): OutputRecord {
  return { ...output(0, 'log'), key: Buffer.from(key) };
}

describe('the refused records', () => {
  test('are none while nothing is refused', () => {
    const refusals = new Refusals();
    refusals.onCommit([{ topic: 'in', partition: 3, offset: 5n }]);
    refusals.onAssignment([]);
    assert.equal(refusals.of(input(3, 4n)), undefined);
    refusals.add(...refusal([]), 0);
    assert.equal(refusals.of(input(3, 4n)), undefined);
  });

  test('are those that led to what the broker refused, until the offset behind them is committed', () => {
    const refusals = new Refusals();
    refusals.add(...refusal([input(1, 4n), input(1, 7n), input(2, 4n)], 'INVALID_TIMESTAMP'), 0);
    assert.deepEqual(refusals.of(input(1, 7n)), { reason: 'INVALID_TIMESTAMP' });
    assert.equal(refusals.of(input(1, 5n)), undefined);
    refusals.onCommit([{ topic: 'in', partition: 1, offset: 7n }]);
    const known = [input(1, 4n), input(1, 7n), input(2, 4n)].map((one) => refusals.of(one) !== undefined);
    assert.deepEqual(known, [false, true, true]);
    refusals.onCommit([{ topic: 'in', partition: 1, offset: 8n }]);
    assert.equal(refusals.of(input(1, 7n)), undefined);
  });

  test('are forgotten when another member has their partition, or has committed them', () => {
    const refusals = new Refusals();
    const records = [input(0, 3n), input(1, 3n), input(2, 3n)];
    refusals.add(...refusal(records), 0);
    refusals.onAssignment([
      { topic: 'in', partition: 1, position: 3n },
      { topic: 'in', partition: 2, position: 4n },
    ]);
    assert.deepEqual(
      records.map((one) => refusals.of(one) !== undefined),
      [false, true, false],
    );
  });

  test('are for a reason that may lie in the state the first of each partition only', () => {
    const refusals = new Refusals();
    const records = [input(2, 9n), input(1, 3n), input(1, 4n), input(2, 10n), input(1, 5n)];
    const known = (): bigint[] =>
      records.filter((one) => refusals.of(one) !== undefined).map(({ offset }) => offset);
    refusals.add(...refusal(records, 'MESSAGE_TOO_LARGE'), 0);
    assert.deepEqual(known(), [9n, 3n]);
    // The order of the answers is not that of the records.
    const [error, originOf] = refusal([input(1, 4n), input(1, 5n)]);
    refusals.add(new RefusedError(error.type, error.refused.toReversed()), originOf, 0);
    assert.deepEqual(known(), [9n, 3n, 4n]);
  });

  test('wait for those of their partition whose timestamp is refused', () => {
    const refusals = new Refusals();
    const [ahead, large] = [input(1, 3n), input(1, 4n)];
    const [error, originOf] = refusal([ahead, large]);
    const refused = error.refused.map((one, at) => ({
      ...one,
      reason: at === 0 ? 'INVALID_TIMESTAMP' : one.reason,
    }));
    refusals.add(new RefusedError('INVALID_TIMESTAMP', refused), originOf, 0);
    assert.deepEqual([refusals.of(ahead)?.reason, refusals.of(large)], ['INVALID_TIMESTAMP', undefined]);
  });

  test('keep their first reason, and learn that their dead letter was refused, which may happen once', () => {
    const refusals = new Refusals();
    const record = input(1, 7n);
    refusals.add(...refusal([record], 'INVALID_TIMESTAMP'), 1);
    // Two outputs of one record in one answer are one refusal.
    const [first, second] = [output(), output()];
    const reason = 'MESSAGE_TOO_LARGE';
    const both = [first, second].map((one) => ({ record: one, reason }));
    refusals.add(new RefusedError(reason, both), () => ({ input: record, at: 0 }), 2);
    assert.deepEqual(refusals.of(record), { reason: 'INVALID_TIMESTAMP', letter: { reason, atMs: 2 } });
    assert.throws(() => refusals.add(...refusal([record]), 3), {
      code: 'HANDLER_FAILED',
      message: /dead letter of in-1 offset 7 as well \(MESSAGE_TOO_LARGE\)/,
    });
  });

  test('cannot be named when no input record led to one', () => {
    const error = new RefusedError('INVALID_RECORD', [
      { record: output(0, 'log'), reason: 'INVALID_RECORD' },
    ]);
    assert.throws(() => new Refusals().add(error, () => undefined, 0), {
      code: 'BATCH_REFUSED',
      message: /log-0 \(INVALID_RECORD\)/,
    });
  });
});

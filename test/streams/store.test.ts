import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { serdes } from '../../streams/index.ts';
import { StateStore, type StoreOptions } from '../../streams/store.ts';

function storeOf(options: Partial<StoreOptions<string | null, string | null>> = {}): StateStore {
  const spec = { name: 's', key: serdes.utf8, value: serdes.utf8, ...options };
  return new StateStore(spec as ConstructorParameters<typeof StateStore>[0], 'app-s-changelog', 1);
}

const committed = (store: StateStore): [string, string, number][] =>
  [...store.entries()].map(([key, value, timestamp]) => [String(key), String(value), timestamp]);

/** The records of the overlay as `key=value@timestamp`. */
function flushed(store: StateStore): string[] {
  return [...store.flush()].map(
    ({ key, value, timestamp }) => `${String(key)}=${value === null ? 'null' : String(value)}@${timestamp}`,
  );
}

describe('a store', () => {
  test('answers what was written, before and after the commit', () => {
    const store = storeOf();
    store.onRecord(5);
    store.put('k', 'v');
    assert.equal(store.get('k'), 'v');
    assert.deepEqual([store.size, store.isDirty], [0, true]);
    store.foldIn();
    assert.equal(store.get('k'), 'v');
    assert.deepEqual([store.size, store.bytes, store.isDirty], [1, 2, false]);
    assert.deepEqual(committed(store), [['k', 'v', 5]]);
  });

  test('flushes one record per key and transaction, the last, with the time of its record', () => {
    const store = storeOf();
    store.onRecord(5);
    store.put('a', '1');
    store.put('b', '1');
    store.onRecord(6);
    store.put('a', '2');
    store.delete('b');
    assert.deepEqual(flushed(store), ['a=2@6', 'b=null@6']);
    assert.equal([...store.flush()][0]?.topic, 'app-s-changelog');
    assert.equal([...store.flush()][0]?.partition, 1);
  });

  test('forgets the overlay of a transaction that was not committed', () => {
    const store = storeOf();
    store.onRecord(1);
    store.put('k', 'old');
    store.foldIn();
    store.put('k', 'new');
    store.put('other', 'x');
    store.dropOverlay();
    assert.deepEqual([store.get('k'), store.get('other'), flushed(store)], ['old', undefined, []]);
  });

  test('takes back the writes of one record and no others', () => {
    const store = storeOf();
    store.onRecord(1);
    store.put('a', '1');
    store.put('b', '1');
    store.onRecord(2);
    store.put('a', '2');
    store.put('a', '3');
    store.delete('b');
    store.put('c', '1');
    store.undoRecord();
    assert.deepEqual(flushed(store), ['a=1@1', 'b=1@1']);
  });

  test('says nothing of a key that is deleted and was never there', () => {
    const store = storeOf();
    store.delete('k');
    assert.deepEqual(flushed(store), []);
  });

  test('treats a null value as a deletion', () => {
    const store = storeOf();
    store.put('k', 'v');
    store.put('k', null);
    assert.equal(store.get('k'), undefined);
  });

  test('keeps empty values, and bytes that are no text', () => {
    const store = new StateStore({ name: 's', key: serdes.bytes, value: serdes.bytes } as never, 'c', 0);
    const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    store.put(all, all);
    store.put(Buffer.from([0]), Buffer.alloc(0));
    store.foldIn();
    assert.deepEqual(store.get(all), all);
    assert.deepEqual(store.get(Buffer.from([0])), Buffer.alloc(0));
  });

  test('answers with a value of its own each time, so that nobody can change it behind its back', () => {
    const store = new StateStore({ name: 's', key: serdes.utf8, value: serdes.bytes } as never, 'c', 0);
    store.put('k', Buffer.from('abc'));
    (store.get('k') as Buffer).fill(0);
    assert.equal(String(store.get('k')), 'abc');
  });
});

describe('an entry of a store with retention', () => {
  const aged = (): StateStore => {
    const store = storeOf({ retentionMs: 100, sweepAfterMs: 1_000 });
    store.onRecord(1_000);
    store.put('k', 'v');
    store.foldIn();
    return store;
  };

  test('is there for a record that is as old as the retention later, and not for one a millisecond on', () => {
    const store = aged();
    store.onRecord(1_100);
    assert.equal(store.get('k'), 'v');
    store.onRecord(1_101);
    assert.equal(store.get('k'), undefined);
    assert.deepEqual(flushed(store), ['k=null@1101']);
  });

  test('is not touched by a later record of another key', () => {
    const store = aged();
    store.onRecord(9_000_000);
    store.put('other', 'v');
    store.onRecord(1_050);
    assert.equal(store.get('k'), 'v');
  });

  test('ages from its last put', () => {
    const store = aged();
    store.onRecord(1_100);
    store.put('k', 'v');
    store.onRecord(1_200);
    assert.equal(store.get('k'), 'v');
  });

  test('case 12: does not become older by the put of a late record, before or after a commit and a restore', () => {
    for (const ends of ['one transaction', 'two transactions'] as const) {
      const store = aged();
      store.onRecord(5_000);
      store.put('k', 'v5');
      if (ends === 'two transactions') store.foldIn();
      store.onRecord(200);
      store.put('k', 'late');
      store.onRecord(5_100);
      assert.equal(store.get('k'), 'late', ends);
      assert.deepEqual(flushed(store), ['k=late@5000'], ends);
      const restored = storeOf({ retentionMs: 100 });
      for (const record of store.flush()) restored.restore(record);
      store.foldIn();
      assert.deepEqual(
        [committed(store), committed(restored)],
        [[['k', 'late', 5_000]], [['k', 'late', 5_000]]],
      );
    }
  });

  test('case 12: that was deleted begins with the time of its next put, also of a late record', () => {
    for (const commits of [false, true]) {
      const store = aged();
      store.onRecord(1_050);
      store.delete('k');
      if (commits) store.foldIn();
      store.onRecord(200);
      store.put('k', 'again');
      assert.deepEqual(flushed(store), ['k=again@200']);
    }
  });

  test('tells its timestamp as long as it is there', () => {
    const store = aged();
    assert.deepEqual([store.timestamp('k'), store.timestamp('other')], [1_000, undefined]);
    store.onRecord(1_050);
    store.put('k', 'v');
    assert.equal(store.timestamp('k'), 1_050);
    store.onRecord(1_151);
    assert.equal(store.timestamp('k'), undefined);
    assert.deepEqual(flushed(store), ['k=null@1151']);
  });

  test('is as young as a put says, if its record is older', () => {
    const store = aged();
    store.put('late', 'v', 1_400);
    store.put('early', 'v', 400);
    assert.deepEqual(flushed(store), ['late=v@1400', 'early=v@1000']);
  });

  test('comes back when the record that found it outdated fails', () => {
    const store = aged();
    store.onRecord(5_000);
    store.get('k');
    store.undoRecord();
    assert.deepEqual(flushed(store), []);
  });

  test('is swept by the wall clock only beyond sweepAfterMs, with a tombstone', () => {
    const store = aged();
    store.sweep(2_000, Infinity);
    assert.equal(store.isDirty, false);
    store.sweep(2_001, Infinity);
    assert.deepEqual(flushed(store), ['k=null@2001']);
    store.foldIn();
    assert.deepEqual([store.size, store.bytes], [0, 0]);
  });

  test('is found by a sweep that goes a few entries at a time', () => {
    const store = storeOf({ retentionMs: 100, sweepAfterMs: 1_000 });
    for (let at = 0; at < 10; at += 1) {
      store.onRecord(at < 5 ? 0 : 10_000);
      store.put(`k${at}`, 'v');
    }
    store.foldIn();
    // Twice through all: what is deleted moves others, maybe to where the sweep has been.
    for (let round = 0; round < 10; round += 1) {
      store.sweep(10_000, 3);
      store.foldIn();
    }
    assert.deepEqual(
      committed(store)
        .map(([key]) => key)
        .sort(),
      ['k5', 'k6', 'k7', 'k8', 'k9'],
    );
  });
});

test('a store that is restored from what it flushed is the same store', () => {
  const write = fc.record({
    key: fc.constantFrom('a', 'b', 'c', 'ü'),
    value: fc.option(fc.string({ maxLength: 5 }), { nil: null }),
    at: fc.integer({ min: 0, max: 2 ** 45 }),
    ends: fc.constantFrom('', '', 'commit', 'abort', 'fail'),
  });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 60 }), (writes) => {
      const store = storeOf();
      const copy = storeOf();
      for (const { key, value, at, ends } of writes) {
        store.onRecord(at);
        store.put(key, value);
        if (ends === 'fail') store.undoRecord();
        if (ends === 'abort') store.dropOverlay();
        if (ends !== 'commit') continue;
        for (const record of [...store.flush()]) copy.restore(record);
        store.foldIn();
      }
      store.dropOverlay();
      assert.deepEqual(committed(store).sort(), committed(copy).sort());
      assert.deepEqual([store.size, store.bytes], [copy.size, copy.bytes]);
    }),
  );
});

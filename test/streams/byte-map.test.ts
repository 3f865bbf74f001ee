import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ByteMap } from '../../streams/byte-map.ts';
import { seededRandom } from '../../streams/index.ts';

const pageBytes = 2 ** 20;

/** Everything that a map holds, `key=value@timestamp`, in the order of keys. */
function contents(map: ByteMap): string[] {
  return [...map.places()]
    .map((place) => shown(map.keyAt(place), map.valueAt(place), map.timestampAt(place)))
    .sort();
}

function shown(key: Buffer, value: Buffer, timestamp: number): string {
  return `${key.toString('hex')}=${value.toString('hex')}@${timestamp}`;
}

function get(map: ByteMap, key: string): string | undefined {
  const place = map.find(Buffer.from(key));
  return place === undefined ? undefined : map.valueAt(place).toString();
}

const keys = fc.nat(40).map((n) => Buffer.from(`key ${n}`.slice(0, n % 7)));
const lengths = fc.oneof(fc.nat(30), fc.nat(3_000), fc.constantFrom(pageBytes / 4, pageBytes + 1));
const changes = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.tuple(keys, lengths, fc.nat(255), fc.maxSafeNat()) },
    { weight: 1, arbitrary: fc.tuple(keys) },
  ),
  { maxLength: 60 },
);

describe('a map of bytes', () => {
  test('holds what a Map would', () => {
    fc.assert(
      fc.property(changes, (made) => {
        const map = new ByteMap();
        const model = new Map<string, [Buffer, Buffer, number]>();
        for (const [key, length, fill, timestamp] of made) {
          const name = key.toString('hex');
          if (length === undefined || fill === undefined || timestamp === undefined) {
            assert.equal(map.delete(key), model.delete(name));
          } else {
            const value = Buffer.alloc(length, fill);
            map.set(key, value, timestamp);
            model.set(name, [key, value, timestamp]);
          }
          assert.equal(map.find(key) !== undefined, model.has(name));
        }
        assert.equal(map.size, model.size);
        assert.equal(
          map.bytes,
          [...model.values()].reduce((sum, [key, value]) => sum + key.length + value.length, 0),
        );
        assert.deepEqual(contents(map), [...model.values()].map((entry) => shown(...entry)).sort());
      }),
      { numRuns: 300 },
    );
  });

  test('finds each of many entries while they grow, shrink and go', () => {
    const random = seededRandom(1);
    const map = new ByteMap();
    const model = new Map<string, string>();
    for (let change = 0; change < 300_000; change += 1) {
      const key = `user ${Math.floor(random() * 20_000)}`;
      if (random() < 0.3) {
        map.delete(Buffer.from(key));
        model.delete(key);
      } else {
        const value = String(change).repeat(1 + Math.floor(random() * 20));
        map.set(Buffer.from(key), Buffer.from(value), change);
        model.set(key, value);
      }
    }
    assert.equal(map.size, model.size);
    for (let user = 0; user < 20_000; user += 1) {
      const key = `user ${user}`;
      assert.equal(get(map, key), model.get(key));
    }
  });

  test('gives copies', () => {
    const map = new ByteMap();
    map.set(Buffer.from('k'), Buffer.from('abc'), 1);
    const place = map.find(Buffer.from('k')) ?? assert.fail('it is not there');
    map.valueAt(place).fill(0);
    map.keyAt(place).fill(0);
    assert.equal(get(map, 'k'), 'abc');
  });

  test('shows all entries in steps', () => {
    const map = new ByteMap();
    for (let n = 0; n < 100; n += 1) map.set(Buffer.of(n), Buffer.alloc(0), n);
    const seen: number[] = [];
    let from = 0;
    let steps = 0;
    do {
      from = map.scan(from, 30, (place) => void seen.push(map.timestampAt(place)));
      steps += 1;
    } while (from !== 0);
    assert.equal(steps, 4);
    assert.deepEqual(
      seen.sort((a, b) => a - b),
      Array.from({ length: 100 }, (_, n) => n),
    );
  });
});

describe('the memory of a map of bytes', () => {
  const key = (n: number): Buffer => Buffer.from(`user ${String(n).padStart(9, '0')}`);

  test('is some kilobytes for some entries', () => {
    const map = new ByteMap();
    for (let n = 0; n < 10; n += 1) map.set(key(n), Buffer.alloc(50), n);
    assert.ok(map.allocatedBytes < 8_192, `${map.allocatedBytes}`);
  });

  test('is about 40 bytes an entry beside key and value', () => {
    const map = new ByteMap();
    for (let n = 0; n < 500_000; n += 1) map.set(key(n), Buffer.alloc(52), n);
    const beside = (map.allocatedBytes - map.bytes) / map.size;
    assert.ok(beside > 20 && beside < 50, `${beside}`);
  });

  // Each kind of change leaves dead entries in another way behind.
  for (const [name, change] of [
    ['grow, all of them', (map: ByteMap, n: number) => map.set(key(n % 2_000), Buffer.alloc(n / 100), n)],
    [
      'are added, while a few others change again and again',
      (map: ByteMap, n: number) => map.set(key(n % 50 === 0 ? n : n % 50), Buffer.alloc(n % 500), n),
    ],
    [
      'are deleted, all but a few',
      (map: ByteMap, n: number) => {
        map.set(key(n), Buffer.alloc(200), n);
        if (n % 100 !== 0) map.delete(key(n - 1_000));
      },
    ],
  ] as const)
    test(`is at most twice what is in it when entries ${name}`, () => {
      const map = new ByteMap();
      for (let n = 0; n < 200_000; n += 1) change(map, n);
      const beside = 60 * map.size + 2 * pageBytes;
      assert.ok(map.allocatedBytes < 2 * map.bytes + beside, `${map.allocatedBytes} for ${map.bytes}`);
    });
});

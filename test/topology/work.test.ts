import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maxRecordWork } from '../../topology/biometrics.ts';
import { ExportsDriver, exportOf } from './exports.ts';
import { topics } from './support.ts';

/** An export of so many heart rate variabilities, one a second. */
function variabilities(count: number): object {
  const start = Date.parse('2026-06-01T00:00:00Z');
  const data = Array.from({ length: count }, (_, n) => ({
    date: new Date(start + n * 1_000).toISOString(),
    qty: 40 + (n % 20),
  }));
  return exportOf({ name: 'heart_rate_variability', units: 'ms', data });
}

const stores = ['points', 'revisions', 'baselines', 'alerts'];

test('case 5: an export of 35,000 heart rate variabilities becomes as many readings', async () => {
  const bridge = new ExportsDriver();
  assert.equal((await bridge.send(variabilities(35_000))).length, 35_000);
  assert.deepEqual(bridge.deadLetters(), []);
});

test('case 5: an export of 100,000 is dead-lettered as TOO_MUCH_WORK, whole, and its neighbours are not affected', async () => {
  const bridge = new ExportsDriver();
  const [before] = await bridge.send(variabilities(1));
  const stored = stores.map((name) => bridge.storeEntries(name));
  for (const attempt of [1, 2]) {
    assert.deepEqual(await bridge.send(variabilities(100_000)), [], `attempt ${attempt}`);
    assert.deepEqual(
      stores.map((name) => bridge.storeEntries(name)),
      stored,
    );
  }
  const [first, again] = bridge.output(topics.deadLetters);
  assert.deepEqual(first!.value, Buffer.from(JSON.stringify(variabilities(100_000))));
  const [message] = bridge.deadLetters();
  assert.match(
    message!,
    new RegExp(`^TOO_MUCH_WORK: .* more than the ${maxRecordWork} units .* \\d+ values`),
  );
  // The count is the same again: the second one differs in its offset only.
  assert.deepEqual(bridge.deadLetters(), [message, message]);
  assert.equal(again!.value!.length, first!.value.length);
  const [after] = await bridge.send(variabilities(2));
  assert.deepEqual([before!.hrv_sdnn, after!.hrv_sdnn], [40, 41]);
});

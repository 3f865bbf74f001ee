import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ExportsDriver, takenAt } from './exports.ts';

/** Deliveries in the order they arrive, and the fields that matter of every event they lead to. */
interface Golden {
  readonly about: string;
  /** Whose token they come with. */
  readonly user: string;
  readonly deliveries: readonly { body: unknown; headers: Readonly<Record<string, string>> }[];
  /** Instants as text. */
  readonly expect: readonly Readonly<Record<string, unknown>>[];
  readonly deadLetters?: readonly string[];
}

const folder = new URL('../golden/healthkit/', import.meta.url);

for (const file of readdirSync(folder)) {
  const golden = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Golden;
  test(`${file}: ${golden.about}`, async () => {
    const bridge = new ExportsDriver();
    const events = [];
    for (const { body, headers } of golden.deliveries) {
      const at = Number(headers['received_at'] ?? takenAt);
      events.push(...(await bridge.send(body, { key: golden.user, headers, at })));
    }
    const found = events.map((event, place) => {
      const expected = golden.expect[place] ?? event;
      const fields = Object.keys(expected).map((field) => [field, event[field as keyof typeof event]]);
      return Object.fromEntries(fields) as Record<string, unknown>;
    });
    const expected = golden.expect.map((event) => ({
      ...event,
      timestamp: Date.parse(String(event['timestamp'])),
    }));
    assert.deepEqual(found, expected);
    assert.deepEqual(bridge.deadLetters(), golden.deadLetters ?? []);
  });
}

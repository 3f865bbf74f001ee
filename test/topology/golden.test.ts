import assert from 'node:assert/strict';
import { test } from 'node:test';
import { goldenCases, outcomeOf, written } from './golden.ts';

const cases = goldenCases();

for (const { device, name, records, expected } of cases) {
  test(`golden ${device}/${name}: ${expected.about}`, async () => {
    const { events, deadLetters, dropped } = await outcomeOf(records);
    assert.deepEqual(
      {
        events: events.map(({ topic, event }) => ({ topic, event: written(event) })),
        dropped,
        deadLetters,
      },
      { events: expected.events, dropped: expected.dropped ?? {}, deadLetters: expected.deadLetters ?? [] },
    );
  });
}

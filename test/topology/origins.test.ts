import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explain } from '../../topology/explain.ts';
import { normalize } from '../../topology/normalize.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { Dropped, Partly, Rejected } from '../../streams/index.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { goldenCases } from './golden.ts';
import { rawRecord, topics } from './support.ts';

const operator = normalize(topics);

test('every value of an event names the place where it was read, and is found there', () => {
  let checked = 0;
  for (const { device, records } of goldenCases()) {
    for (const { value, headers } of records) {
      const payload = JSON.parse(String(value)) as unknown;
      const scheme = String(headers![rawHeader.scheme]);
      const answer = operator(payload, rawRecord(device, { [rawHeader.scheme]: scheme }));
      if (answer instanceof Dropped || answer instanceof Rejected) continue;
      for (const reading of answer instanceof Partly ? answer.values : answer) {
        // A day's totals are made of many points.
        if ('points' in reading) continue;
        const { at, fields } = reading.origins;
        const measured = { ...reading, ...reading.activity_data } as unknown as Record<string, unknown>;
        for (const [field, path] of Object.entries(fields)) {
          const found = measured[field];
          if (
            typeof found !== 'number' ||
            !/^[\w.]+$/.test(path) ||
            field === 'timestamp' ||
            field === 'revision'
          )
            continue;
          const whole = at === '' ? path : `${at}.${path}`;
          assert.equal(lookUp(payload, whole), found, `${device} ${whole}`);
          checked += 1;
        }
      }
    }
  }
  assert.ok(checked > 40, `only ${checked} values were checked`);
});

test('the events of a payload that was read in part have origins too', async () => {
  const night = {
    metadata: { summary_id: 's', end_time: '2026-06-10T06:40:00+02:00' },
    scores: { sleep: 80 },
  };
  const body = JSON.stringify({ type: 'sleep', user: { user_id: 'u' }, data: ['unreadable', night] });
  const delivery = {
    key: Buffer.from('u'),
    body: Buffer.from(body),
    headers: {},
    receivedAt: 1_781_114_413_000,
  };
  const [made] = await explain([delivery], { vendor: 'terra', topics, rules: defaultRules });
  assert.deepEqual(
    made!.outputs.map(({ origins }) => origins?.at),
    ['data[1]', undefined],
    'an event and a dead letter',
  );
});

function lookUp(payload: unknown, path: string): unknown {
  return path
    .split(/[.[\]]+/)
    .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], payload);
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { receivedAt } from '../topology/support.ts';
import type { Reading } from '../../vendors/reading.ts';
import { faultOf, only, read, terra } from './payloads.ts';

const start_time = '2025-07-30T00:00:00.000000+02:00';
const end_time = '2025-07-30T07:00:00.000000+02:00';
const hrv = (value: unknown): object => ({ heart_rate_data: { summary: { avg_hrv_rmssd: value } } });

/** Heart rate data whose summary has these values, and whose samples these. */
function samples(summary: object, rmssd: unknown, sdnn: unknown = null): object {
  const list = (values: unknown, key: string): unknown =>
    Array.isArray(values)
      ? values.map((value: unknown) => ({ timestamp: start_time, [key]: value }))
      : values;
  const detailed = {
    hrv_samples_rmssd: list(rmssd, 'hrv_rmssd'),
    hrv_samples_sdnn: list(sdnn, 'hrv_sdnn'),
  };
  return { heart_rate_data: { summary, detailed } };
}

/** A payload of one item, with these metadata. */
function item(type: string, metadata: object, data: object): object {
  return terra(type, { metadata: { start_time, end_time, ...metadata }, ...data });
}

// Identity

for (const type of ['sleep', 'activity'])
  for (const summary_id of [undefined, null, ''])
    test(`a ${type} whose summary_id is ${JSON.stringify(summary_id)} is identified by provider and start`, () => {
      const data = { ...hrv(50), distance_data: { summary: { steps: 5 } } };
      const reading = only(read('terra', item(type, { summary_id }, data)));
      assert.equal(reading.resource_id, `${type}:GARMIN:2025-07-29T22:00:00.000Z`);
    });

test('without a provider, an unnamed summary is identified as a day is', () => {
  const payload = { ...item('sleep', {}, hrv(50)), user: { user_id: 'u' } };
  assert.equal(only(read('terra', payload)).resource_id, 'sleep:unknown:2025-07-29T22:00:00.000Z');
  const day = { ...item('daily', {}, hrv(50)), user: { user_id: 'u' } };
  assert.equal(only(read('terra', day)).resource_id, 'daily:unknown:2025-07-30');
});

test('a summary_id that is no usable id is not replaced by the start, which would make another resource of it', () => {
  const answer = read('terra', item('sleep', { summary_id: { planted: 1 } }, hrv(50)));
  assert.equal(answer, 'MISSING_RESOURCE_ID: data[0].metadata.summary_id is missing, or is no usable id');
});

// Items that cannot be read

const good = { metadata: { start_time, end_time, summary_id: 'good' }, ...hrv(50) };
const undated = { metadata: { summary_id: 'undated', start_time: null, end_time: null }, ...hrv(50) };
for (const [what, bad, fault] of [
  ['without a date', undated, 'data[1].metadata.end_time is missing, or no RFC 3339 text'],
  [
    'without identity',
    { metadata: { end_time }, ...hrv(50) },
    'data[1].metadata.summary_id is missing, and metadata.start_time, which would do, is missing or no RFC 3339 text',
  ],
  ['of a wrong type', ['planted'], 'data[1] is not what the format has there'],
  [
    'without any readable value',
    { ...good, ...hrv('planted') },
    'data[1].heart_rate_data.summary.avg_hrv_rmssd is not what the format has there',
  ],
] as const)
  test(`an item ${what} does not take its siblings along, and is named`, () => {
    const payload = {
      ...terra('sleep'),
      data: [good, bad, undated, { ...good, metadata: { ...good.metadata, summary_id: 'last' } }],
    };
    const readings = read('terra', payload) as Reading[];
    assert.deepEqual(
      readings.map(({ resource_id }) => resource_id),
      ['sleep:good', 'sleep:last'],
    );
    assert.equal(faultOf('terra', payload), `PARTLY_UNREADABLE: ${fault}`);
  });

test('a payload of which nothing can be read is rejected with the code of its first fault', () => {
  const nothing = { metadata: good.metadata };
  const payload = { ...terra('sleep'), data: [nothing, undated, 5] };
  assert.equal(
    read('terra', payload),
    'BAD_TIMESTAMP: data[1].metadata.end_time is missing, or no RFC 3339 text',
  );
});

test('items that measure nothing, or nothing plausible, are no faults, and neither is null', () => {
  const items = [null, good, { metadata: null }, { ...good, ...hrv(null) }, { ...good, ...hrv(900) }];
  const payload = { ...terra('sleep'), data: items };
  assert.equal(only(read('terra', payload)).hrv, 50);
  assert.equal(faultOf('terra', payload), undefined);
  assert.equal(read('terra', { ...terra('sleep'), data: [null] }), 'dropped: no_measurement');
});

test('a value of a wrong type among readable ones is a flag, not a fault', () => {
  const payload = terra('sleep', { ...hrv(50), scores: { sleep: 'planted' } });
  assert.deepEqual(only(read('terra', payload)).flags, ['invalid:sleep_score']);
  assert.equal(faultOf('terra', payload), undefined);
});

// Kinds of upload

const values = {
  ...hrv(50),
  heart_data: hrv(50),
  distance_data: { steps: 5, summary: { steps: 5 } },
};
for (const [type, upload_type, outcome] of [
  ['sleep', 3, 'tentative'],
  ['sleep', 4, 'ordinary'],
  ['sleep', 5, 'ordinary'],
  ...['activity', 'daily', 'body'].flatMap(
    (type) =>
      [
        [type, 1, 'ordinary'],
        [type, 3, 'ordinary'],
        [type, 4, 'deleted'],
        [type, 5, 'tentative'],
        [type, '4', 'ordinary'],
        [type, null, 'ordinary'],
        [type, {}, 'ordinary'],
      ] as const,
  ),
] as const)
  test(`upload_type ${JSON.stringify(upload_type)} of ${type} is ${outcome}`, () => {
    const reading = only(read('terra', item(type, { summary_id: 'x', upload_type }, values)));
    assert.equal(reading.deleted, outcome === 'deleted');
    assert.deepEqual(reading.flags, outcome === 'tentative' ? ['tentative'] : []);
    assert.equal(
      reading.hrv === null && Object.keys(reading.activity_data).length === 0,
      outcome === 'deleted',
    );
  });

test('a deletion has the identity, day and time of its item, and no values', () => {
  for (const [type, id] of [
    ['daily', 'daily:GARMIN:2025-07-30'],
    ['body', 'body:GARMIN:2025-07-30'],
    ['activity', 'activity:x'],
  ] as const)
    for (const data of [values, {}, hrv('planted')]) {
      const deletion = only(read('terra', item(type, { summary_id: 'x', upload_type: 4 }, data)));
      assert.deepEqual(
        [deletion.resource_id, deletion.local_date, deletion.timestamp, deletion.flags, deletion.sleep],
        [id, '2025-07-30', Date.parse(start_time), [], null],
      );
      assert.deepEqual([deletion.hrv, deletion.activity_data, deletion.deleted], [null, {}, true]);
    }
});

test('a deletion needs no date where its id needs none: it is dated by its arrival', () => {
  const metadata = { summary_id: 'x', upload_type: 4, start_time: undefined };
  const deletion = only(read('terra', item('activity', metadata, values)));
  assert.deepEqual(
    [deletion.resource_id, deletion.timestamp, deletion.local_date],
    ['activity:x', receivedAt, null],
  );
  assert.equal(deletion.origins.fields.timestamp, 'header received_at');
});

for (const [type, code] of [
  ['daily', 'BAD_TIMESTAMP: data[0].metadata.start_time is missing, or no RFC 3339 text'],
  [
    'activity',
    'MISSING_RESOURCE_ID: data[0].metadata.summary_id is missing, and metadata.start_time, which would do, is missing or no RFC 3339 text',
  ],
] as const)
  test(`a deletion of ${type} that does not say of what is a fault`, () => {
    assert.equal(read('terra', item(type, { upload_type: 4, start_time: null }, values)), code);
  });

test('of two items for one resource the later one counts, a deletion too', () => {
  const update = { metadata: { start_time }, distance_data: { steps: 5 } };
  const deletion = { metadata: { start_time, upload_type: 4 } };
  assert.equal(only(read('terra', terra('daily', update, deletion))).deleted, true);
  assert.deepEqual(only(read('terra', terra('daily', deletion, update))).activity_data, { steps: 5 });
});

// Samples

const nap = { is_nap: true, summary_id: 'x' };
for (const [type, metadata, at] of [
  ['daily', {}, (heart: object) => heart],
  ['sleep', { summary_id: 'x' }, (heart: object) => heart],
  ['sleep', nap, (heart: object) => heart],
  ['body', {}, (heart: object) => ({ heart_data: heart })],
] as const) {
  const name = metadata === nap ? 'nap' : type;
  const one = (heart: object): Reading => only(read('terra', item(type, metadata, at(heart))));

  test(`where the summary of a ${name} has no HRV, or an impossible one, the mean of the samples counts`, () => {
    for (const missing of [undefined, null, 0, -1, 401]) {
      const summary = { avg_hrv_rmssd: missing, avg_hrv_sdnn: missing };
      const reading = one(samples(summary, [20, 22, 27], [60, 80]));
      assert.deepEqual([reading.hrv, reading.hrv_sdnn], [23, 70]);
      assert.deepEqual(
        reading.flags.filter((flag) => flag.startsWith('out_of_range')),
        [],
      );
      const below = type === 'body' ? 'heart_data.' : '';
      assert.equal(
        reading.origins.fields.hrv,
        `mean of ${below}heart_rate_data.detailed.hrv_samples_rmssd[].hrv_rmssd`,
      );
    }
  });

  test(`where the summary of a ${name} has one, the samples do not count`, () => {
    const reading = one(samples({ avg_hrv_rmssd: 50 }, [20], [60]));
    assert.deepEqual([reading.hrv, reading.hrv_sdnn], [50, 60]);
    assert.match(reading.origins.fields.hrv ?? '', /summary\.avg_hrv_rmssd$/);
    assert.match(reading.origins.fields.hrv_sdnn ?? '', /^mean of /);
  });
}

test('zeros, sentinels and wrong types among the samples are left out', () => {
  const list = [0, -1, -2, 255.5, 401, 65_535, '30', null, {}, [], true, 44.5];
  assert.equal(only(read('terra', terra('sleep', samples({}, list)))).hrv, 150);
  for (const none of [[], [0, -1, 500], 'planted', 7, { 0: { hrv_rmssd: 50 } }, [50, null, 'x', [50]]]) {
    const heart = samples({}, null) as { heart_rate_data: { detailed: { hrv_samples_rmssd: unknown } } };
    heart.heart_rate_data.detailed.hrv_samples_rmssd = none;
    assert.equal(read('terra', terra('sleep', heart)), 'dropped: no_measurement');
  }
});

test('an impossible summary without any usable sample stays out of range', () => {
  const reading = only(
    read('terra', terra('sleep', { ...samples({ avg_hrv_rmssd: 0 }, [0]), scores: { sleep: 80 } })),
  );
  assert.deepEqual([reading.hrv, reading.flags], [null, ['out_of_range:hrv']]);
});

test('a summary of a wrong type is flagged, not replaced: the format may have changed', () => {
  const heart = samples({ avg_hrv_rmssd: '44' }, [20]);
  const reading = only(read('terra', terra('sleep', { ...heart, scores: { sleep: 80 } })));
  assert.deepEqual([reading.hrv, reading.flags], [null, ['invalid:hrv']]);
});

test('the samples of an activity do not count', () => {
  const reading = only(
    read(
      'terra',
      terra('activity', { ...samples({}, [20], [20]), distance_data: { summary: { steps: 5 } } }),
    ),
  );
  assert.deepEqual([reading.hrv, reading.hrv_sdnn, reading.flags], [null, null, []]);
});

test('stress is the mean of its samples where the summary has none; its own zero is a value', () => {
  const stress = (avg_stress_level: unknown, levels: readonly unknown[]): Reading =>
    only(
      read(
        'terra',
        terra('daily', {
          stress_data: {
            avg_stress_level,
            samples: levels.map((level) => ({ timestamp: start_time, level })),
          },
        }),
      ),
    );
  for (const missing of [null, undefined, -1, 101])
    assert.equal(stress(missing, [24, -1, 0, -2, 46, 101]).stress_level, 35);
  assert.equal(stress(null, [24]).origins.fields.stress_level, 'mean of stress_data.samples[].level');
  assert.deepEqual([stress(0, [50]).stress_level, stress(31, [50]).stress_level], [0, 31]);
});

test('the mean of 100,000 samples at the end of the range is within it', () => {
  for (const [value, rounded] of [
    [400, 400],
    [1, 1],
    [399.99999999999994, 399.99999999999994],
  ] as const) {
    const reading = only(
      read(
        'terra',
        terra(
          'sleep',
          samples(
            {},
            Array.from({ length: 100_000 }, () => value),
          ),
        ),
      ),
    );
    assert.ok(Math.abs(reading.hrv! - rounded) < 1e-6 && reading.hrv! >= 1 && reading.hrv! <= 400);
  }
});

// Naps, and the sleep that a reading measures

test('a nap carries its flag, has no sleep score and measures no main sleep', () => {
  const data = { ...hrv(50), scores: { sleep: 80 } };
  const reading = only(read('terra', item('sleep', nap, data)));
  assert.deepEqual([reading.flags, reading.sleep_score, reading.sleep], [['nap'], null, null]);
  const night = only(read('terra', item('sleep', { summary_id: 'x', is_nap: false }, data)));
  assert.deepEqual(
    [night.flags, night.sleep_score, night.sleep],
    [[], 80, { startMs: Date.parse(start_time), endMs: Date.parse(end_time) }],
  );
  assert.deepEqual(only(read('terra', item('daily', { is_nap: true }, data))).flags, []);
});

for (const [what, start] of [
  ['missing', undefined],
  ['unreadable', 'planted'],
  ['later than its end', '2025-07-30T09:00:00+02:00'],
] as const)
  test(`a sleep whose start is ${what} has both ends at its end`, () => {
    const reading = only(read('terra', item('sleep', { summary_id: 'x', start_time: start }, hrv(50))));
    assert.deepEqual(reading.sleep, { startMs: Date.parse(end_time), endMs: Date.parse(end_time) });
  });

test('days, bodies and activities measure no sleep', () => {
  for (const type of ['daily', 'body', 'activity'])
    assert.equal(only(read('terra', item(type, { summary_id: 'x' }, values))).sleep, null);
});

// What has no data

test('a notice of data that lies elsewhere is pending, and no control event', () => {
  for (const type of ['s3_payload', 's3_upload'])
    assert.equal(
      read('terra', { type, url: 'https://planted.example/x', expires_in: 60 }),
      'dropped: pending',
    );
  assert.equal(read('terra', { type: 'large_request_sending', expected_payloads: 3 }), 'dropped: control');
});

test('the user is the reference_id if it is set, else the id of the connection', () => {
  for (const [reference_id, user] of [
    ['athlete-7', 'athlete-7'],
    [42, '42'],
    ['', 'connection'],
    [null, 'connection'],
    [undefined, 'connection'],
  ] as const) {
    const payload = { ...terra('sleep', hrv(50)), user: { user_id: 'connection', reference_id } };
    assert.equal(only(read('terra', payload)).user_id, user);
  }
});

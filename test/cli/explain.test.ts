import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import { deliveriesOf } from '../../cli/explain.ts';
import { bridgeProgram } from '../bridge-program.ts';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface Line {
  readonly topic: string;
  readonly key: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly value: Readonly<Record<string, unknown>> | string;
}

/** Runs the command on an input, with no local stack. */
function run(args: string[], input = ''): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [bridgeProgram, 'explain', ...args],
      { env: { PATH: process.env['PATH'], LOCAL_DIRECTORY: '/nonexistent' } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
    child.stdin?.end(input);
  });
}

async function records(args: string[], input: string): Promise<Line[]> {
  const { code, stdout, stderr } = await run([...args, '--json'], input);
  assert.deepEqual([code, stderr], [0, '']);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

const takenAt = Date.parse('2026-06-10T18:00:00Z');
function delivery(body: unknown, headers: object = {}): string {
  return JSON.stringify({ body, headers: { received_at: String(takenAt), ...headers } });
}
const simple = { user_id: 'athlete-42 å', timestamp: '2026-06-10T08:00:00+02:00', hrv_data: { rmssd: 20 } };

describe('bridge explain', { timeout: 120_000, concurrency: 2 }, () => {
  test('runs deliveries in order and with state, and prints each output record as decoded from its bytes', async () => {
    const envelope = {
      notification: { event_type: 'update', data_type: 'sleep', object_id: 'o', user_id: 'u' },
      resource: {},
    };
    const lines = await records(
      ['oura', '-'],
      [
        delivery(simple),
        delivery(JSON.stringify(simple), { received_at: String(takenAt + 1) }),
        delivery('{"user_id":', { Authorization: 'Bearer x', 'X-Oura-Timestamp': '1' }),
        delivery(envelope, { scheme: 'oura' }),
        delivery({ ...simple, hrv_data: { rmssd: 30 } }),
      ].join('\r\n'),
    );
    const [first, letter, second, ...more] = lines as [Line, Line, Line];
    assert.deepEqual(more, []);
    assert.equal(first.topic, 'biometric-events.high');
    assert.equal(first.key, 'athlete-42 å');
    assert.equal(first.headers['user_id'], 'athlete-42 å');
    const event = first.value as Record<string, unknown>;
    assert.deepEqual(JSON.parse(first.headers['triggers']!), { triggers: event['triggers'] });
    assert.deepEqual(
      [event['hrv'], event['sleep_score'], event['timestamp'], event['received_at'], event['raw']],
      [
        20,
        null,
        '2026-06-10T06:00:00.000Z',
        '2026-06-10T18:00:00.000Z',
        { topic: 'raw.oura', partition: 0, offset: 0 },
      ],
    );

    assert.equal(letter.topic, 'biometric-events.dlq');
    assert.equal(letter.value, '{"user_id":');
    assert.match(letter.key, /^sha256:[0-9a-f]{32}$/);
    const { received_at, 'x-oura-timestamp': kept, authorization } = letter.headers;
    assert.deepEqual([received_at, kept, authorization], [String(takenAt), '1', undefined]);
    assert.equal(letter.headers['__streams.errors.exception'], 'NOT_JSON');
    assert.equal(letter.headers['__streams.errors.offset'], '2');

    assert.equal(second.topic, 'biometric-events.medium');
    const [alert] = event['triggers'] as { alert_id: string }[];
    const correction = second.value as Record<string, unknown>;
    assert.deepEqual(correction['supersedes'], {
      event_id: event['event_id'],
      priority: 'HIGH',
      alert_ids: [alert!.alert_id],
    });
    assert.equal(correction['generation'], 0);
    assert.equal(second.headers['generation'], '0');
  });

  test('an envelope belongs to the collector, a body that names its user keeps it, and an export gets the given user', async () => {
    const recovery = {
      notification: { user_id: 10129, id: 'S', type: 'recovery.updated', trace_id: 't' },
      resource: {
        sleep_id: 'S',
        created_at: '2026-06-10T11:25:44.774Z',
        updated_at: '2026-06-10T14:25:44.774Z',
        score_state: 'SCORED',
        score: { user_calibrating: false, recovery_score: 44 },
      },
    };
    const points = [{ date: '2026-06-10 06:31:10 -0700', qty: 9 }];
    const exported = { data: { metrics: [{ name: 'step_count', units: 'count', data: points }] } };
    const ran = await Promise.all([
      records(['whoop', '-', '--user', 'other'], JSON.stringify(recovery, null, 2)),
      records(['healthkit', '-', '--user', 'other'], `\ufeff${JSON.stringify(simple)}\n`),
      records(['healthkit', '-', '--user', 'hk-user-7'], JSON.stringify(exported)),
      records(['healthkit', '-'], delivery(exported)),
    ]);
    assert.deepEqual(
      ran.map((lines) => lines.map(({ topic, key }) => [topic, key.slice(0, 12)])),
      [
        [['biometric-events.normal', '10129']],
        [['biometric-events.high', 'athlete-42 å']],
        [['biometric-events.normal', 'hk-user-7']],
        [['biometric-events.dlq', `sha256:${ran[3][0]!.key.slice(7, 12)}`]],
      ],
    );
  });

  test('shows the origin of every field that has a value, and the reason for a delivery without output', async () => {
    const { code, stdout } = await run(['oura', '-'], `${delivery(simple)}\n${delivery(simple)}\n`);
    assert.equal(code, 0);
    const rows = stdout
      .split('\n')
      .filter((line) => /^ {4}(source|user_id|kind|hrv|resource_id|revision) /.test(line));
    assert.equal(rows.length, 6);
    for (const row of rows) assert.match(row.trim(), /^\w+ +\S.*? {2,}\S/);
    assert.match(stdout, /delivery 2: [^\n]*\n {2}no event: operator newest-revision drops it as unchanged/);
  });

  test('a revision comes from the vendor’s headers, which are no part of the payload, or from the arrival', async () => {
    const body = {
      type: 'sleep',
      user: { user_id: 'u', provider: 'OURA' },
      data: [{ metadata: { summary_id: 's', end_time: '2026-06-10T05:00:00Z' }, scores: { sleep: 55 } }],
    };
    const [none, one] = await Promise.all(
      [{}, { 'x-terra-ordering-timestamp': String(takenAt - 5) }].map((headers) =>
        run(['terra', '-'], delivery(body, headers)),
      ),
    );
    assert.match(
      String(none?.stdout),
      /^ {4}revision +\d+ +header received_at, or the last revision plus 1/m,
    );
    assert.match(String(one?.stdout), /^ {4}revision +\d+ +headers x-terra-ordering-timestamp or /m);
  });

  test('shows how a day’s totals came about: buckets, hours, minutes and sources', async () => {
    const steps = (points: readonly (readonly [string, number, string])[]): object => ({
      data: {
        metrics: [
          {
            name: 'step_count',
            units: 'count',
            data: points.map(([time, qty, source]) => ({ date: `2026-06-10 ${time} +0530`, qty, source })),
          },
        ],
      },
    });
    const input = [
      delivery(
        steps([
          ['08:00:03', 500, 'Watch'],
          ['08:04:11', 210, 'Phone'],
          ['08:40:40', 270.5, 'Phone'],
        ]),
      ),
      delivery(steps([['09:14:00', 30, 'Watch|Phone']]), { 'automation-aggregation': 'Minutes' }),
      delivery(steps([['09:00:00', 40, 'Watch|Phone']]), { 'automation-aggregation': 'Hours' }),
      delivery(steps([['00:00:00', 520, 'Watch|Phone']])),
      delivery(steps([['00:00:00', 530, 'Watch|Phone']]), { 'automation-aggregation': 'Days' }),
    ].join('\n');
    const { stdout } = await run(['healthkit', '-', '--user', 'u'], input);
    const hours = [
      '      08:00 500: samples of Watch 500, Phone 480.5: the largest counts',
      '      09:00 40: bucket 40, alone; minutes 30',
    ];
    assert.ok(
      stdout.includes(['    total steps 540: the sum of its hours, 540', ...hours].join('\n')),
      stdout,
    );
    const alone =
      '    total steps 530: the bucket of the day alone, which arrived after everything inside it';
    assert.ok(stdout.includes([`${alone}; the sum of its hours, 540`, ...hours].join('\n')), stdout);
    // The unnamed bucket of the day said nothing new, and the totals say why.
    assert.match(
      stdout,
      /delivery 4: [^\n]*\n {2}no event: operator newest-revision drops it as unchanged[^\n]*\n {2}the day 2026-06-10 as known now\n {4}total steps 540: the larger of the bucket of the day, 520, and the sum of its hours, 540\n/,
    );
    const last = (await records(['healthkit', '--user', 'u', '-'], input)).at(-1) as Line & {
      totals: unknown;
    };
    assert.deepEqual(last.totals, [
      {
        metric: 'steps',
        total: 530,
        bucket: { value: 530, isAlone: true },
        hours: [
          {
            begins: '08:00',
            total: 500,
            bucket: null,
            minutes: null,
            sources: [
              { source: 'Watch', isMerged: false, sum: 500 },
              { source: 'Phone', isMerged: false, sum: 480.5 },
            ],
          },
          { begins: '09:00', total: 40, bucket: { value: 40, isAlone: true }, minutes: 30, sources: [] },
        ],
      },
    ]);
  });

  test('exits with 2 for what it cannot run, and shows how it is called', async () => {
    const calls = [['garmin', '-'], ['oura'], ['oura', '/nonexistent/file'], ['oura', '-', '--colour']];
    for (const { code, stdout, stderr } of await Promise.all(calls.map((args) => run(args)))) {
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /^bridge explain: [^\n]+\n\nUsage: bridge explain /);
    }
    // The last millisecond of a Date is the first of these.
    const [last, after] = await Promise.all(
      ['8640000000000000', '8640000000000001'].map((at) =>
        run(['oura', '-'], delivery(simple, { received_at: at })),
      ),
    );
    assert.equal(last?.code, 0);
    assert.deepEqual([after?.code, after?.stdout], [2, '']);
    assert.match(String(after?.stderr), /the header received_at must be epoch milliseconds/);
  });
});

for (const [what, text, bodies] of [
  ['one body', '{"a":1}', ['{"a":1}']],
  ['one body, its white space kept', '{\n "a": 1 }\n', ['{\n "a": 1 }\n']],
  ['one body that is no JSON', '{"a":1', ['{"a":1']],
  ['nothing', '', ['']],
  ['a delivery alone', '{"headers":{},"body":"x "}', ['x ']],
  ['a delivery alone over several lines', '{\n"body":{"a":1},\n"headers":{}\n}\n', ['{"a":1}']],
  [
    'deliveries with empty lines between',
    '{"body":[],"headers":{}}\n\n{"body":null,"headers":{}}\n',
    ['[]', 'null'],
  ],
  [
    'deliveries behind a byte order mark',
    '\ufeff{"body":1,"headers":{}}\n{"body":2,"headers":{}}',
    ['1', '2'],
  ],
  [
    'deliveries in a list, some without headers',
    '{"deliveries":[{"body":{"a":1}},{"body":"x ","headers":{}}]}',
    ['{"a":1}', 'x '],
  ],
  ['a body that has a third key', '{"body":1,"headers":{},"x":1}', ['{"body":1,"headers":{},"x":1}']],
  ['a body without the key headers', '{"body":1}', ['{"body":1}']],
] as const) {
  test(`a file of ${what} is read as such`, () => {
    assert.deepEqual(
      deliveriesOf(Buffer.from(text)).map(({ body }) => body.toString()),
      bodies,
    );
  });
}

test('a line that is not a delivery is an error that names it', () => {
  assert.throws(
    () => deliveriesOf(Buffer.from('{"body":1,"headers":{}}\n{"body":1}\n')),
    /delivery 2 of the file/,
  );
  assert.throws(
    () => deliveriesOf(Buffer.from('{"deliveries":[{"body":1},{"headers":{}}]}')),
    /delivery 2 of the file/,
  );
});

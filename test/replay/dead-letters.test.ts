/** `bridge dead-letters` on a real broker, next to a running topology. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { topicResource } from '../../kafka/client.ts';
import { readConfig } from '../../process/config.ts';
import { Deployment, replayVariables } from '../../replay/deployment.ts';
import { parsePosition, positionName } from '../../replay/reading.ts';
import { retryLetters, type Retried } from '../../replay/retry.ts';
import { silentLog } from '../streams/log.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { deadLetter, errorHeader, smallestDeadLetter, type RecordFailure } from '../../streams/errors.ts';
import { noHeaders, type Headers } from '../../kafka/record.ts';
import type { OutputRecord } from '../../streams/index.ts';
import type { Appended } from '../streams/broker/cluster.ts';
import { soon } from '../streams/until.ts';
import { Interrupted } from '../../replay/exit.ts';
import { jsonLines, Live, type Webhook } from './running.ts';

const dayMs = 86_400_000;
const hourMs = 3_600_000;
/** Numbers that no output may hold without --values. */
const planted = ['41.414', '43.434', '4546', '4748', '51.515', '20.202', '60.606', '30.303'];

function assertNoValues(...texts: readonly string[]): void {
  for (const text of texts)
    for (const number of planted) assert.ok(!text.includes(number), `${number} in:\n${text}`);
}

const iso = (epochMs: number): string => new Date(epochMs).toISOString();
const reading = (user: string, at: number, rmssd: number): object => ({
  user_id: user,
  timestamp: iso(at),
  hrv_data: { rmssd },
});
const steps = (points: readonly (readonly [string, number])[]): object => ({
  data: {
    metrics: [
      {
        name: 'step_count',
        units: 'count',
        data: points.map(([date, qty]) => ({ date, qty, source: 'phone' })),
      },
    ],
  },
});

/** A dead letter, to be appended by a test. */
function written(letter: OutputRecord): Appended {
  // All headers of ours are bytes.
  return { ...letter, headers: letter.headers as Headers };
}

/** What the topology of an earlier build would have written of a webhook that it could not read. */
function letterOf(live: Live, webhook: Webhook, offset: bigint): Appended {
  const failure: RecordFailure = {
    seam: 'processing',
    code: 'MISSING_FIELD',
    message: 'x is missing',
    stack: '    at operator normalize',
    node: 'normalize',
  };
  const record = live.rawRecord(webhook);
  const { topic, partition = 0, key = null, value, headers = noHeaders, timestamp = 0 } = record;
  const input = { topic, partition, offset, timestamp, key, value, headers };
  return written(deadLetter(live.names.deadLetters, input, failure));
}

/** All letters, as a preview. */
const retryOptions = {
  positions: [],
  filter: {},
  limit: Infinity,
  older: false,
  again: false,
  commit: false,
  log: silentLog,
} as const;
const noProgress = { add: () => undefined, expect: () => undefined, stop: () => undefined };

/** The deployment as a command opens it. */
async function open(t: TestContext, live: Live): Promise<Deployment> {
  const config = readConfig(replayVariables, live.env);
  const deployment = await Deployment.open(config, { clientId: 'test', log: silentLog });
  t.after(() => deployment.close());
  return deployment;
}

test('a place is topic:partition:offset and nothing else', () => {
  const place = { topic: 'a.b-c_d', partition: 3, offset: 12_345_678_901n };
  assert.deepEqual(parsePosition(positionName(place)), place);
  for (const text of [
    '',
    'a:1',
    'a:1:',
    'a:-1:2',
    'a:1:2:3',
    ':1:2',
    'a b:1:2',
    'a:1:0x2',
    `a:1:${'9'.repeat(19)}`,
  ])
    assert.equal(parsePosition(text), undefined, text);
});

test(
  'dead letters are listed, shown and retried, and nothing of what they hold appears unasked',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    await live.start();
    const now = Date.now();
    const day = iso(now).slice(0, 10);
    await live.append([
      { vendor: 'oura', user: 'anna', body: '{"hrv_data":{"rmssd":41.414', receivedAt: now - 9 * dayMs },
      { vendor: 'oura', user: 'anna', body: reading('anna', now, 51.515) },
      {
        vendor: 'whoop',
        partition: 1,
        user: 'ben',
        body: { timestamp: iso(now), hrv_data: { rmssd: 43.434 } },
      },
      {
        vendor: 'healthkit',
        user: 'cleo',
        body: steps([
          [`${day} 00:01:00 +0000`, 4546],
          ['not a date', 4748],
        ]),
        headers: { 'automation-name': 'CONFIDENTIAL' },
      },
    ]);
    await live.drained();
    const dlq = live.names.deadLetters;
    const { raw } = live.names;

    const listed = await live.bridge(['dead-letters', 'list']);
    assert.deepEqual([listed.code, listed.err], [0, '']);
    const lines = listed.out.split('\n');
    assert.match(lines[0]!, /^device +operator +reason +letters$/);
    assert.deepEqual(
      lines
        .slice(1, 4)
        .map((line) => line.split(/ +/))
        .sort(),
      [
        ['healthkit', 'normalize', 'PARTLY_UNREADABLE', '1'],
        ['oura', 'raw', 'NOT_JSON', '1'],
        ['whoop', 'normalize', 'MISSING_USER_ID', '1'],
      ],
    );
    const [oldest] = lines.slice(5);
    assert.ok(oldest!.startsWith(`${dlq}:0:`), 'the oldest is first');
    assert.ok(
      oldest!.includes(
        `  ${raw.oura}:0:0  ${iso(now - 9 * dayMs)}  raw  NOT_JSON: the body stops being JSON`,
      ),
    );

    const reasons = async (...args: string[]): Promise<unknown[]> => {
      const { code, out, err } = await live.bridge(['dead-letters', 'list', '--json', ...args]);
      assert.deepEqual([code, err], [0, ''], args.join(' '));
      assertNoValues(out);
      return jsonLines(out)
        .map(({ reason }) => reason)
        .sort();
    };
    const all = ['MISSING_USER_ID', 'NOT_JSON', 'PARTLY_UNREADABLE'];
    for (const [args, expected] of [
      [[], all],
      // Without any one of its parts each answer would be another.
      [
        ['--reason', 'NOT_JSON,MISSING_USER_ID', '--reason', 'PARTLY_UNREADABLE', '--operator', 'normalize'],
        ['MISSING_USER_ID', 'PARTLY_UNREADABLE'],
      ],
      [['--device', 'oura,whoop', '--from', iso(now - dayMs)], ['MISSING_USER_ID']],
      [['--user', 'anna'], ['NOT_JSON']],
      [['--to', iso(now - 9 * dayMs)], []],
      [['--from', iso(now - 9 * dayMs), '--to', iso(now - 9 * dayMs + 1)], ['NOT_JSON']],
    ] as const)
      assert.deepEqual(await reasons(...args), expected, args.join(' '));
    assert.equal((await reasons('--limit', '2')).length, 2);
    const one = await live.bridge(['dead-letters', 'list', '--limit', '1']);
    assert.match(one.out, /the newest 1 of 3; --limit shows more\n$/);

    const letters = await live.letters();
    const partly = letters.find(
      ({ topic, headers }) => topic === dlq && String(headers[errorHeader.exception]) === 'PARTLY_UNREADABLE',
    )!;
    const place = positionName(partly);
    const shown = await live.bridge(['dead-letters', 'show', place]);
    assert.equal(shown.code, 0, shown.err);
    assert.match(shown.out, /^reason +PARTLY_UNREADABLE$/m);
    assert.match(shown.out, new RegExp(`^bytes +${partly.value!.length}$`, 'm'));
    assert.match(shown.out, /^ {2}scheme +plain$/m);
    assert.match(shown.out, /^ {2}automation-name +\(12 bytes\)$/m);
    assertNoValues(shown.out, listed.out, one.out);
    assert.ok(!shown.out.includes('CONFIDENTIAL'));
    const directory = mkdtempSync(join(tmpdir(), 'letters-'));
    t.after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'body');
    const open = await live.bridge(['dead-letters', 'show', place, '--values', '--out', file]);
    assert.match(open.out, /4546/);
    assert.match(open.out, /automation-name +CONFIDENTIAL/);
    assert.deepEqual(readFileSync(file), partly.value);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal((await live.bridge(['dead-letters', 'show', place, '--out', file])).code, 4, 'it exists');
    assert.equal((await live.bridge(['dead-letters', 'show', `${dlq}:0:99`])).code, 4);
    assert.equal((await live.bridge(['dead-letters', 'show', `${raw.oura}:0:0`])).code, 2);

    // The same build makes the same of them.
    const before = letters.length;
    const preview = await live.bridge(['dead-letters', 'retry']);
    assert.equal(preview.code, 0, preview.err);
    assert.match(
      preview.out,
      /MISSING_USER_ID at normalize: to append\n {2}dead letter again: MISSING_USER_ID at operator normalize/,
    );
    assert.match(
      preview.out,
      /PARTLY_UNREADABLE at normalize: to append\n {2}dead letter again: .*\n {2}dropped by operator newest-revision: unchanged\n/,
    );
    assert.match(preview.out, /^0 appended, 2 to append, 1 older than 7 days; --commit appends$/m);
    assert.doesNotMatch(preview.out, /NOT_JSON/);
    assert.equal((await live.letters()).length, before, 'a preview appends nothing');
    const old = letters.find(({ headers }) => String(headers[errorHeader.exception]) === 'NOT_JSON')!;
    const refused = await live.bridge(['dead-letters', 'retry', positionName(old), '--commit']);
    assert.equal(refused.code, 4);
    assert.match(refused.err, /older than 7 days.*--older/);

    const committed = await live.bridge(['dead-letters', 'retry', '--older', '--commit']);
    assert.equal(committed.code, 0, committed.err);
    assert.match(committed.out, /^3 appended$/m);
    assertNoValues(preview.out, refused.err, committed.out, committed.err);
    await live.drained();
    const after = await live.letters();
    assert.equal(after.length, 2 * before, 'each has failed again');
    const copies = (await live.cluster.read(Object.values(raw))).filter(
      ({ headers }) => rawHeader.retryOf in headers,
    );
    for (const letter of letters) {
      const copy = copies.find(({ headers }) => String(headers[rawHeader.retryOf]) === positionName(letter))!;
      const { [rawHeader.retriedAt]: retriedAt, ...others } = copy.headers;
      const own = Object.keys(others).filter((name) => name !== rawHeader.retryOf);
      assert.deepEqual([copy.key, copy.value, copy.timestamp], [letter.key, letter.value, letter.timestamp]);
      assert.ok(Number(String(retriedAt)) >= now);
      assert.ok(own.every((name) => name in letter.headers && !name.startsWith('__streams')));
    }
    const again = await live.bridge(['dead-letters', 'retry', '--older', '--json']);
    const dids = jsonLines(again.out).map(({ did, letter, retry_of }) => [letter, did, retry_of]);
    for (const letter of letters) {
      assert.ok(dids.some(([of, did]) => of === positionName(letter) && did === 'already_retried'));
      assert.ok(
        dids.some(([, did, of]) => of === positionName(letter) && did === 'previewed'),
        'its second letter',
      );
    }
  },
);

test(
  'what a preview says is what comes of the committed retry, which changes nothing that is newer',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    await live.start();
    const now = Date.now();
    const night = now - (now % hourMs) - hourMs;
    const day = iso(now - dayMs).slice(0, 10);
    const minute = (text: string, qty: number): readonly [string, number] => [`${day} ${text}:00 +0000`, qty];
    // Offset 0 of each stands for the record that an earlier build could not read.
    await live.append([
      { vendor: 'oura', user: 'bea', body: '-' },
      { vendor: 'oura', user: 'bea', body: reading('bea', night, 60.606), receivedAt: now },
      { vendor: 'healthkit', user: 'cleo', body: '-' },
      {
        vendor: 'healthkit',
        user: 'cleo',
        body: steps([minute('08:00', 100), minute('08:01', 200)]),
        receivedAt: now,
      },
    ]);
    await live.drained();
    const old = now - 3 * hourMs;
    const oura = { vendor: 'oura', user: 'bea', receivedAt: old } as const;
    await live.cluster.append([
      // A version that is older than the one that came since; a night of its own, critical; and one that is stale by now.
      letterOf(live, { ...oura, body: reading('bea', night, 30.303) }, 0n),
      letterOf(live, { ...oura, body: reading('bea', night - hourMs, 20.202) }, 0n),
      letterOf(
        live,
        { ...oura, body: reading('bea', now - 2 * dayMs - hourMs, 51.515), receivedAt: now - 2 * dayMs },
        0n,
      ),
      // Fills a gap, and replaces nothing.
      letterOf(
        live,
        {
          vendor: 'healthkit',
          user: 'cleo',
          receivedAt: old,
          body: steps([minute('08:00', 7), minute('08:02', 400)]),
        },
        0n,
      ),
    ]);
    const before = (await live.events()).length;
    const ends = new Map<string, bigint>();
    for (const topic of Object.values(live.names.raw))
      for (const { partition, high } of await live.cluster.admin.fetchTopicOffsets(topic))
        ends.set(`${topic}-${partition}`, BigInt(high));

    const args = ['dead-letters', 'retry', '--reason', 'MISSING_FIELD'];
    const preview = jsonLines((await live.bridge([...args, '--json'])).out);
    assert.equal(preview.length, 4);
    const committed = await live.bridge([...args, '--json', '--commit']);
    assert.equal(committed.code, 0, committed.err);
    assertNoValues(committed.out, committed.err);
    const outcomes = jsonLines(committed.out).map(({ outcome }) => outcome);
    assert.deepEqual(
      outcomes,
      preview.map(({ outcome }) => outcome),
    );
    await live.drained();

    const events = (await live.events()).slice(0);
    const fresh = events.filter(
      ({ event: { raw } }) => BigInt(raw.offset) >= ends.get(`${raw.topic}-${raw.partition}`)!,
    );
    assert.equal(fresh.length, events.length - before);
    const expected = preview.flatMap(
      ({ outcome }) =>
        (outcome as { events: { event_id: string; topic: string; priority: string; triggers: string[] }[] })
          .events,
    );
    const byId = (a: { event_id: string }, b: { event_id: string }): number =>
      a.event_id < b.event_id ? -1 : 1;
    assert.deepEqual(
      fresh
        .map(({ record: { topic }, event: { event_id, priority, triggers } }) => ({
          topic,
          priority,
          event_id,
          triggers: triggers.map(({ type }) => type),
        }))
        .sort(byId),
      [...expected].sort(byId),
    );
    assert.deepEqual(
      expected.map(({ priority, triggers }) => [priority, triggers]),
      [
        ['HIGH', ['URGENT_INTERVENTION']],
        ['NORMAL', []],
        ['NORMAL', []],
      ],
    );
    const [first] = preview;
    assert.deepEqual((first!['outcome'] as { dropped: unknown }).dropped, [
      { operator: 'newest-revision', reason: 'older_revision', count: 1 },
    ]);
    const day0 = fresh.find(({ event }) => event.resource_id === `daily:${day}`)!;
    assert.equal(day0.event.activity_data['steps'], 700, 'the gap is filled, and nothing else');
    const stale = fresh.filter(({ event }) => event.flags.includes('stale'));
    assert.deepEqual(
      stale.map(({ event: { hrv } }) => hrv),
      [51.515],
      'its age counts from the retry',
    );
    const newest = events.filter(({ event: { resource_id } }) => resource_id === iso(night));
    assert.deepEqual(
      newest.map(({ event: { hrv } }) => hrv),
      [60.606],
    );

    const again = await live.bridge([...args, '--commit']);
    assert.equal(again.code, 0);
    assert.match(again.out, /^0 appended, 4 appended before$/m);
    const insisted = await live.bridge([...args, '--commit', '--again']);
    assert.match(insisted.out, /^4 appended$/m);
    assert.match(insisted.out, /dropped by operator newest-revision: unchanged/);
    assert.doesNotMatch(insisted.out, / event to /);
    await live.drained();
    assert.equal((await live.events()).length, events.length, 'a retry of what is known makes no event');
  },
);

test(
  'a letter without its record’s value is retried from the raw topic, or said to be lost; a batch is not retried',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    const now = Date.now();
    const raw = live.names.raw.oura;
    await live.append([{ vendor: 'oura', user: 'dora', body: reading('dora', now, 51.515) }]);
    const record = {
      topic: raw,
      partition: 0,
      timestamp: now,
      key: Buffer.from('dora'),
      value: null,
      headers: noHeaders,
    };
    const failure = {
      seam: 'production',
      message: 'the broker refused an output of this record: MESSAGE_TOO_LARGE',
      code: 'MESSAGE_TOO_LARGE',
      stack: '',
      node: 'raw',
    } as const;
    const smallest = (offset: bigint) =>
      smallestDeadLetter(live.names.deadLetters, { ...record, offset }, failure, {
        reason: 'MESSAGE_TOO_LARGE',
        atMs: now,
      });
    const message = 'the batch of the offsets 0 to 2 cannot be decoded: its checksum is wrong';
    const batch = deadLetter(
      live.names.deadLetters,
      { ...record, offset: 0n, key: null, value: Buffer.from('41.414') },
      { ...failure, seam: 'deserialization', code: 'CORRUPT_BATCH', message },
    );
    await live.cluster.append([smallest(0n), smallest(7n), batch].map(written));
    const { code, out } = await live.bridge(['dead-letters', 'retry']);
    assert.equal(code, 0);
    // Its raw record has not been processed yet: it will be, before the copy.
    assert.match(
      out,
      /:0:0 {2}\S+:0:0 {2}MESSAGE_TOO_LARGE at raw: to append\n {2}dropped by operator newest-revision: unchanged\n/,
    );
    assert.match(out, /:0:1 .*: cannot be retried: its value was left out, .*:0:7 does not exist any more$/m);
    assert.match(
      out,
      /:0:2 .*CORRUPT_BATCH at raw: cannot be retried: its value is a whole batch of the raw topic, /m,
    );
    assert.match(out, /^0 appended, 1 to append, 2 not retriable; --commit appends$/m);
    assertNoValues(out);
    const committed = await live.bridge(['dead-letters', 'retry', '--commit']);
    assert.equal(committed.code, 1, 'not all of them could be retried');
    const copies = (await live.cluster.read([raw])).filter(({ headers }) => rawHeader.retryOf in headers);
    assert.deepEqual(
      copies.map(({ value, offset }) => [String(value), offset]),
      [[JSON.stringify(reading('dora', now, 51.515)), 1n]],
    );
    assert.equal(String(copies[0]!.headers[rawHeader.scheme]), 'plain');
  },
);

test(
  'a retry that is interrupted has appended what it reports, and the next one appends the rest, each once',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    const now = Date.now();
    const raw = live.names.raw.whoop;
    await live.append([{ vendor: 'whoop', user: 'ed', body: '-' }]);
    const count = 1_200;
    const webhook = (at: number): Webhook => ({
      vendor: 'whoop',
      user: 'ed',
      body: reading('ed', now - at * 1_000, 51),
      receivedAt: now,
    });
    await live.cluster.append(Array.from({ length: count }, (_, at) => letterOf(live, webhook(at), 0n)));
    const deployment = await open(t, live);
    const copies = async (): Promise<string[]> =>
      (await live.cluster.read([raw])).slice(1).map(({ headers }) => String(headers[rawHeader.retryOf]));
    const interruption = new AbortController();
    const reported: string[] = [];
    const retrying = retryLetters(
      deployment,
      { ...retryOptions, commit: true, nowMs: now },
      { signal: interruption.signal, progress: noProgress },
      ({ letter, did }) => {
        assert.equal(did, 'appended');
        reported.push(positionName(letter.position));
        interruption.abort(new Interrupted());
      },
    );
    await assert.rejects(retrying, Interrupted);
    assert.ok(reported.length > 0 && reported.length < count, 'it ended after a send, before the last one');
    assert.deepEqual(await copies(), reported);
    const rest = await live.bridge(['dead-letters', 'retry', '--commit']);
    assert.equal(rest.code, 0, rest.err);
    const all = await copies();
    assert.equal(all.length, count);
    assert.equal(new Set(all).size, count);
  },
);

test(
  'SIGINT ends a command that waits for an open transaction, with exit code 130',
  { timeout: 60_000 },
  async (t) => {
    const live = await Live.create(t);
    const webhook: Webhook = { vendor: 'oura', user: 'ida', body: '-' };
    await live.cluster.append([letterOf(live, webhook, 0n)]);
    const producer = live.cluster.kafka.producer({
      transactionalId: `${live.cluster.prefix}open`,
      idempotent: true,
    });
    await producer.connect();
    live.cluster.after(() => producer.disconnect());
    const transaction = await producer.transaction();
    live.cluster.after(() => transaction.abort());
    await transaction.send({ topic: live.names.deadLetters, messages: [{ partition: 1, value: '-' }] });
    const child = live.spawn(['dead-letters', 'list', '--json']);
    const errors: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    const ended = once(child, 'exit');
    await soon('the letter of the first partition', once(child.stdout, 'data'));
    child.kill('SIGINT');
    const [code] = (await soon('the end', ended)) as [number];
    assert.equal(code, 130);
    assert.match(
      String(Buffer.concat(errors)),
      /^bridge dead-letters list: interrupted: run the same command again to go on\n$/,
    );
  },
);

test(
  'repeated headers and headers without a value are copied as they are',
  { timeout: 60_000 },
  async (t) => {
    const live = await Live.create(t);
    const letter = letterOf(live, { vendor: 'oura', user: 'jo', body: '{}' }, 0n);
    const odd = {
      'x-null': null,
      'x-twice': [Buffer.from('a'), null, Buffer.from('b')],
      retry_of: [Buffer.from('x'), Buffer.from('y')],
    };
    await live.append([{ vendor: 'oura', user: 'jo', body: '-' }]);
    await live.cluster.append([{ ...letter, headers: { ...letter.headers, ...odd } }]);
    const { code, err } = await live.bridge(['dead-letters', 'retry', '--commit']);
    assert.equal(code, 0, err);
    const copy = (await live.cluster.read([live.names.raw.oura])).at(-1)!;
    assert.deepEqual(copy.headers['x-null'], null);
    assert.deepEqual(copy.headers['x-twice'], odd['x-twice']);
    assert.equal(
      String(copy.headers[rawHeader.retryOf]),
      `${live.names.deadLetters}:0:0`,
      'the old ones are replaced',
    );
  },
);

test(
  'a copy that the broker refuses is named, and the others of its batch are appended',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    const now = Date.now();
    const raw = live.names.raw.oura;
    await live.append([{ vendor: 'oura', user: 'fay', body: '-' }]);
    const webhook = (bytes: number, at: number): Webhook => ({
      vendor: 'oura',
      user: 'fay',
      body: { ...reading('fay', now - at * 1_000, 51.515), note: 'x'.repeat(bytes) },
      receivedAt: now,
    });
    const letters = [10, 4_000, 20].map((bytes, at) => letterOf(live, webhook(bytes, at), 0n));
    await live.cluster.append(letters);
    // Keeps compression from making it small.
    const env = { KAFKA_COMPRESSION_TYPE: 'none' };
    const configEntries = [{ name: 'max.message.bytes', value: '2048' }];
    const resource = { type: topicResource, name: raw, configEntries };
    await live.cluster.admin.alterConfigs({ validateOnly: false, resources: [resource] });
    const { code, out, err } = await live.bridge(['dead-letters', 'retry', '--commit'], env);
    assert.equal(code, 1, err);
    assert.match(out, /:0:1 .*: the broker refuses it: MESSAGE_TOO_LARGE$/m);
    assert.match(out, /^2 appended, 1 refused by the broker$/m);
    assertNoValues(out, err);
    const copies = (await live.cluster.read([raw])).map(({ headers }) => String(headers[rawHeader.retryOf]));
    assert.deepEqual(copies.slice(1), [`${live.names.deadLetters}:0:0`, `${live.names.deadLetters}:0:2`]);
  },
);

test(
  'a limit counts what was not appended before, so that the next run goes on behind it',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    const now = Date.now();
    await live.append([{ vendor: 'oura', user: 'gil', body: '-' }]);
    const webhook = (at: number): Webhook => ({
      vendor: 'oura',
      user: 'gil',
      body: reading('gil', now - at * 1_000, 51.515),
      receivedAt: now,
    });
    await live.cluster.append([0, 1, 2].map((at) => letterOf(live, webhook(at), 0n)));
    const run = async (): Promise<string> =>
      (await live.bridge(['dead-letters', 'retry', '--commit', '--limit', '2'])).out.split('\n').at(-2)!;
    assert.equal(await run(), '2 appended, 1 beyond the limit');
    assert.equal(await run(), '1 appended, 2 appended before');
  },
);

test(
  'a preview reads the state again when its users’ records are processed meanwhile, and says so when they always are',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    await live.start();
    const now = Date.now();
    await live.append([
      { vendor: 'oura', user: 'hal', body: '-' },
      { vendor: 'oura', user: 'hal', body: reading('hal', now, 51.515), receivedAt: now },
    ]);
    await live.drained();
    await live.cluster.append([
      letterOf(live, { vendor: 'oura', user: 'hal', body: reading('hal', now, 51.515), receivedAt: now }, 0n),
    ]);
    const deployment = await open(t, live);
    const { committed } = deployment;
    const preview = async (staleAnswers: number): Promise<{ retried: Retried; asked: number }> => {
      let asked = 0;
      // Before each reading of the state the offsets are those of a moment ago.
      deployment.committed = async () => {
        asked += 1;
        const offsets = await committed.call(deployment);
        return asked % 2 === 1 && asked < 2 * staleAnswers + 1
          ? new Map([...offsets].map(([name, offset]) => [name, offset - 1n]))
          : offsets;
      };
      const all: Retried[] = [];
      const watch = { signal: new AbortController().signal, progress: noProgress };
      const reasons = new Set(['MISSING_FIELD']);
      await retryLetters(deployment, { ...retryOptions, filter: { reasons }, nowMs: now }, watch, (one) =>
        all.push(one),
      );
      return { retried: all[0]!, asked };
    };
    const once = await preview(1);
    assert.deepEqual([once.asked, once.retried.notes], [4, []]);
    assert.deepEqual(once.retried.outcome!.dropped, [
      { node: 'newest-revision', reason: 'unchanged', count: 1 },
    ]);
    const always = await preview(Infinity);
    assert.equal(always.asked, 6);
    assert.match(always.retried.notes[0]!, /processed meanwhile/);
  },
);

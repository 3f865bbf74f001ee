/** `bridge trace` on a real broker, next to a running topology. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rowOf } from '../../consumers/postgres/upsert.ts';
import { storeBatch } from '../../consumers/postgres/store.ts';
import {
  ouraSignature,
  plainSignature,
  terraSignature,
  whoopSignature,
  type Signature,
} from '../../local/traffic/signatures.ts';
import { positionName } from '../../replay/reading.ts';
import { verifyStored } from '../../replay/signature.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { vendors, vendorNames, type VendorName } from '../../vendors/index.ts';
import { testDatabase } from '../consumers/postgres/database.ts';
import { Live, type Ended } from './running.ts';

const hourMs = 3_600_000;
const iso = (epochMs: number): string => new Date(epochMs).toISOString();
const reading = (user: string, at: number, rmssd: number): object => ({
  user_id: user,
  timestamp: iso(at),
  hrv_data: { rmssd },
});
/** Measurements that no output may hold without --values. */
const planted = ['20.202', '51.515', '60.606'];

function assertNoValues({ out, err }: Ended): void {
  for (const number of planted) assert.ok(!`${out}${err}`.includes(number), `${number} in:\n${out}${err}`);
}

const secret = 'a-secret-of-tests-long-enough';
const signatures: readonly (readonly [VendorName, string, Signature])[] = [
  ['oura', 'oura', ouraSignature],
  ['whoop', 'whoop', whoopSignature],
  ['terra', 'terra', terraSignature],
  ...vendorNames.map((vendor) => [vendor, 'plain', plainSignature] as const),
];

function signed(scheme: string, sign: Signature, body: Buffer, secretIndex = 0): Record<string, Buffer> {
  const headers = {
    ...sign(secret, body),
    [rawHeader.scheme]: scheme,
    [rawHeader.secret]: String(secretIndex),
  };
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]));
}

test('a stored signature of each scheme is verified again, by whichever secret is configured now', () => {
  for (const [vendor, scheme, sign] of signatures) {
    const value = Buffer.from(`{"user_id":"${vendor}"}`);
    const headers = signed(scheme, sign, value);
    const variable = vendors[vendor].webhook.secret;
    const verify = (secrets: readonly string[], record = { headers, value }): readonly string[] => {
      const { result, reason } = verifyStored(record, vendor, secrets);
      return [result, reason];
    };
    assert.deepEqual(verify([secret]), ['verified', `by secret 0 of ${variable}`], scheme);
    assert.deepEqual(verify(['the next one', secret]), ['verified', `by secret 1 of ${variable}`]);
    assert.equal(verify(['the next one'])[0], 'not_verified');
    assert.equal(verify([secret], { headers, value: Buffer.from('{"user_id":"other"}') })[0], 'not_verified');
    assert.deepEqual(verify([]), ['cannot_verify', `${variable} is not set`]);
    const lost = Object.fromEntries(
      Object.entries(headers).filter(([name]) => name === rawHeader.scheme || name === rawHeader.secret),
    );
    assert.equal(verify([secret], { headers: lost, value })[0], 'cannot_verify');
  }
});

test('what cannot be verified by its nature says so, with the index of the secret that was used', () => {
  const value = Buffer.from('{}');
  const of = (vendor: VendorName, headers: Record<string, string>) =>
    verifyStored(
      {
        value,
        headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
      },
      vendor,
      [secret],
    );
  const token = of('healthkit', { scheme: 'bearer', secret: '1' });
  assert.deepEqual([token.scheme, token.secretIndex, token.result], ['bearer', 1, 'cannot_verify']);
  assert.equal(of('oura', { scheme: 'collector' }).result, 'cannot_verify');
  assert.equal(of('oura', {}).result, 'cannot_verify');
  assert.equal(of('oura', { scheme: 'whoop' }).result, 'cannot_verify');
});

test(
  'one record’s story is told from each of its places, and by its event_id',
  { timeout: 180_000 },
  async (t) => {
    const live = await Live.create(t);
    const now = Date.now();
    const night = now - (now % hourMs) - hourMs;
    const { raw, deadLetters } = live.names;
    const at = (vendor: VendorName, offset: number): string => `${raw[vendor]}:0:${offset}`;
    const body = Buffer.from(JSON.stringify(reading('anna', night, 20.202)));
    const headers = signed('oura', ouraSignature, body);
    const oura = live.rawRecord({ vendor: 'oura', user: 'anna', body: body.toString(), receivedAt: now });
    await live.cluster.append([{ ...oura, headers: { ...oura.headers, ...headers } }]);
    const waiting = await live.bridge(['trace', at('oura', 0)]);
    assert.equal(waiting.code, 0, waiting.err);
    assert.match(waiting.out, /^not processed yet$/m);

    await live.start();
    await live.append([
      // The same again, another user, and a thin notification; then a body that fails.
      { vendor: 'oura', user: 'anna', body: body.toString(), receivedAt: now + 1 },
      { vendor: 'oura', user: 'ben', body: reading('ben', night, 51.515), receivedAt: now + 2 },
      {
        vendor: 'oura',
        user: 'anna',
        body: {
          event_type: 'update',
          data_type: 'daily_sleep',
          object_id: 'o',
          event_time: iso(now),
          user_id: 'anna',
        },
      },
      { vendor: 'oura', user: 'anna', body: '{"hrv_data":{"rmssd":51.515' },
    ]);
    await live.drained();
    const [{ event, record }] = (await live.events()).filter(
      ({ event: { user_id } }) => user_id === 'anna',
    ) as [Awaited<ReturnType<Live['events']>>[number]];

    const secrets = { OURA_WEBHOOK_SECRET: `${secret},another secret` };
    const byPlace = await live.bridge(['trace', at('oura', 0)], secrets);
    assert.equal(byPlace.code, 0, byPlace.err);
    for (const line of [
      new RegExp(`^raw record ${raw.oura}:0:0 of oura$`, 'm'),
      new RegExp(`^ {2}received +${iso(now)}$`, 'm'),
      new RegExp(`^ {2}body +${body.length} bytes, key names its user$`, 'm'),
      /^ {2}headers +.*x-oura-signature/m,
      /^ {2}signature +scheme oura, verified by secret 0 when it was received\n +verified now by secret 0 of OURA_WEBHOOK_SECRET$/m,
      new RegExp(`^event ${positionName(record)}\\n {2}event_id +${event.event_id}$`, 'm'),
      /^ {2}made by +build [0-9a-f]{16}, generation 0$/m,
      /^ {2}priority +HIGH, triggers URGENT_INTERVENTION \(first\)$/m,
    ])
      assert.match(byPlace.out, line);
    assert.doesNotMatch(byPlace.out, /superseded|Postgres|dead letter|dropped/);
    for (const what of [positionName(record), event.event_id, event.event_id.toUpperCase()]) {
      const same = await live.bridge(['trace', what], secrets);
      assert.deepEqual([same.code, same.out], [0, byPlace.out], what);
    }
    const rotated = await live.bridge(['trace', at('oura', 0)], { OURA_WEBHOOK_SECRET: 'another secret' });
    assert.match(rotated.out, /NOT verified now, by none of the secrets of OURA_WEBHOOK_SECRET/);
    const unset = await live.bridge(['trace', at('oura', 0)]);
    assert.match(unset.out, /cannot be verified now: OURA_WEBHOOK_SECRET is not set/);
    const values = await live.bridge(['trace', at('oura', 0), '--values']);
    assert.match(values.out, /^ {2}values +\{"hrv":20.202,/m);
    const json = await live.bridge(['trace', at('oura', 0), '--json']);
    const told = JSON.parse(json.out) as { events: { event_id: string }[]; record: { signature: unknown } };
    assert.equal(told.events[0]!.event_id, event.event_id);
    for (const each of [byPlace, rotated, unset, json]) {
      assertNoValues(each);
      assert.ok(!each.out.includes(secret));
    }

    const dropped = await live.bridge(['trace', at('oura', 1)]);
    assert.match(
      dropped.out,
      /^no event and no dead letter; this build makes of it\n {2}dropped by operator newest-revision: unchanged$/m,
    );
    const thin = await live.bridge(['trace', at('oura', 3)]);
    assert.match(thin.out, /dropped by operator normalize: notification$/m);
    const failed = await live.bridge(['trace', at('oura', 4)]);
    assert.match(
      failed.out,
      new RegExp(`^dead letter ${deadLetters}:0:0\\n {2}NOT_JSON at operator raw: `, 'm'),
    );
    for (const each of [dropped, thin, failed]) assertNoValues(each);

    // Its letter leads to it as well; and once it was retried, each of the two names the other.
    assert.equal((await live.bridge(['trace', `${deadLetters}:0:0`])).out, failed.out);
    assert.equal((await live.bridge(['dead-letters', 'retry', '--commit'])).code, 0);
    await live.drained();
    const retried = await live.bridge(['trace', `${deadLetters}:0:0`]);
    assert.match(retried.out, new RegExp(`^appended again as ${raw.oura}:0:5$`, 'm'));
    const copy = await live.bridge(['trace', at('oura', 5)]);
    assert.match(copy.out, new RegExp(`^ {2}retry of +${deadLetters}:0:0, appended again \\d{4}-`, 'm'));
    assert.match(copy.out, new RegExp(`^dead letter ${deadLetters}:0:\\d+$`, 'm'));

    // A newer version, and what the sink has stored of either.
    const database = await testDatabase({ migrated: true });
    t.after(() => database.drop());
    const store = async (one: typeof event): Promise<void> => {
      await storeBatch(database.pool, [rowOf(one, record)!], []);
    };
    const postgres = { POSTGRES_URL: database.url };
    const noRow = await live.bridge(['trace', event.event_id], postgres);
    assert.match(noRow.out, /^ {2}Postgres +has no row of this resource$/m, noRow.err);
    await store(event);
    const stands = await live.bridge(['trace', event.event_id], postgres);
    assert.match(stands.out, /^ {2}Postgres +holds this version$/m);
    await live.append([
      { vendor: 'oura', user: 'anna', body: reading('anna', night, 60.606), receivedAt: now + 9 },
    ]);
    await live.drained();
    const newer = (await live.events()).find(({ event: { hrv } }) => hrv === 60.606)!;
    await store(newer.event);
    const superseded = await live.bridge(['trace', event.event_id], postgres);
    assert.match(
      superseded.out,
      new RegExp(
        `^ {2}Postgres +holds a newer version, ${newer.event.event_id}\\n {2}superseded by ${newer.event.event_id} at `,
        'm',
      ),
    );
    assertNoValues(superseded);

    const closed = new URL(database.url);
    closed.port = '1';
    const down = await live.bridge(['trace', newer.event.event_id], { POSTGRES_URL: closed.href });
    assert.equal(down.code, 0);
    assert.match(down.err, /Postgres does not answer \(ECONNREFUSED\): only the topics are searched/);
    assert.match(down.out, new RegExp(`supersedes ${event.event_id}`));

    const unknown = '00000000-0000-8000-8000-000000000000';
    const nothing = await live.bridge(['trace', unknown], postgres);
    assert.deepEqual([nothing.code, nothing.out], [1, '']);
    assert.match(
      nothing.err,
      new RegExp(
        `^bridge trace: no event has the event_id ${unknown}: it is neither in Postgres nor in the headers of the \\d+ offsets of `,
      ),
    );
    const beyond = await live.bridge(['trace', at('oura', 99)]);
    assert.deepEqual([beyond.code, beyond.out], [1, '']);
    assert.match(beyond.err, /partition 0 holds the offsets 0 to 6/);
    assert.equal((await live.bridge(['trace', 'other:0:1'])).code, 2);
    assert.equal((await live.bridge(['trace', 'soon'])).code, 2);
  },
);

test(
  'a drop is computed again also where the record before it has gone from the raw topic',
  { timeout: 120_000 },
  async (t) => {
    const live = await Live.create(t);
    await live.start();
    const now = Date.now();
    const body = reading('kim', now, 51.515);
    await live.append([
      { vendor: 'oura', user: 'kim', body, receivedAt: now },
      { vendor: 'oura', user: 'kim', body, receivedAt: now + 1 },
      // Of another user: not looked at, and not what is asked for.
      { vendor: 'oura', user: 'lea', body: reading('lea', now, 60.606), receivedAt: now + 2 },
    ]);
    await live.drained();
    const topic = live.names.raw.oura;
    await live.cluster.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] });
    const dropped = await live.bridge(['trace', `${topic}:0:1`]);
    assert.equal(dropped.code, 0, dropped.err);
    assert.match(dropped.out, /dropped by operator newest-revision: unchanged$/m);
    const { event } = (await live.events()).find(({ event: { user_id } }) => user_id === 'kim')!;
    const gone = await live.bridge(['trace', event.event_id]);
    assert.equal(gone.code, 0, gone.err);
    assert.match(gone.out, /^ {2}its topic no longer has it\nevent /m);
    assertNoValues(gone);
  },
);

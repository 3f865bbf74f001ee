import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { deliveries, type Delivery } from '../../local/traffic/deliveries.ts';
import { reject } from '../../streams/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { vendorNames } from '../../vendors/index.ts';
import { ended } from '../cli/ended.ts';
import { exportOf, metric } from '../topology/exports.ts';
import { eachReading } from '../topology/planted.ts';
import { linesOf, Live, type Report, type Webhook } from './live.ts';

const timeout = 120_000;
const hourMs = 3_600_000;

async function scratch(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bridge-diff-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** Deliveries of all vendors that the ingress takes, and the webhooks that it appends for them. */
function traffic(count: number): { sent: Delivery[]; webhooks: Webhook[] } {
  const secrets = Object.fromEntries(vendorNames.map((name) => [name, 'secret'])) as never;
  const sent: Delivery[] = [];
  for (const delivery of deliveries({ seed: 7, startMs: Date.now(), secrets })) {
    if (delivery.expect.outcome !== 'refused') sent.push(delivery);
    if (sent.length === count) break;
  }
  const webhooks = sent.map(({ device, body, expect }) => ({
    device,
    body,
    user: expect.outcome === 'event' ? expect.event.user_id : 'user-1',
  }));
  return { sent, webhooks };
}

/**
 * The raw records whose version of a resource readers get, and those of them that a later one has replaced: every vendor's simple
 * format gives no revision, so that any other content is a newer version.
 */
function versions(sent: readonly Delivery[], places: readonly string[]) {
  const last = new Map<string, { body: string; at: string }>();
  const all = new Map<string, Delivery>();
  const replaced = new Set<string>();
  for (const [at, delivery] of sent.entries()) {
    if (delivery.expect.outcome !== 'event') continue;
    const { user_id, resource_id } = delivery.expect.event;
    const resource = `${delivery.device} ${user_id} ${resource_id}`;
    const body = delivery.body.toString();
    const before = last.get(resource);
    if (before?.body === body) continue;
    if (before !== undefined) replaced.add(before.at);
    const place = places[at] ?? '';
    all.set(place, delivery);
    last.set(resource, { body, at: place });
  }
  return { all, replaced };
}

function of(report: Report, device: string): Report['devices'][number] {
  return report.devices.find((each) => each.device === device)!;
}

const reading = (user: string, at: number, hrv: number, more: object = {}): string =>
  JSON.stringify({ user_id: user, timestamp: new Date(at).toISOString(), hrv_data: { rmssd: hrv }, ...more });

test('of a deployment that nothing has changed in', { timeout }, async (t) => {
  const live = await Live.create(t);
  const { sent, webhooks } = traffic(600);
  const steps = exportOf(metric('step_count', 'count', ['2026-11-01 08:00:00 +0000', 1_000, 'Watch']));
  const places = await live.append([
    ...webhooks,
    { device: 'healthkit', user: 'hk', body: JSON.stringify(steps) },
    { device: 'healthkit', user: 'hk', body: JSON.stringify(steps) },
  ]);
  await live.run();

  await t.test('nothing differs', async () => {
    const report = await live.report(0);
    assert.equal(report.differences, 0);
    assert.equal(
      report.devices.reduce((sum, { unchanged }) => sum + unchanged, 0),
      webhooks.length + 2,
    );
    for (const { classes, compared, unchanged } of report.devices) {
      assert.deepEqual(classes, {});
      assert.equal(compared, unchanged);
      assert.ok(compared > 0);
    }
    const text = await live.diff('--parallel', '3');
    assert.equal(text.code, 0, text.stderr);
    assert.match(text.stdout, /^no difference$/m);
  });

  await t.test('another rule changes triggers and routes, and no content', async () => {
    const rules = join(await scratch(t), 'rules.json');
    // Nobody is urgent any more.
    await writeFile(rules, JSON.stringify(defaultRules.filter(({ type }) => type !== 'URGENT_INTERVENTION')));
    const { all, replaced } = versions(sent, places);
    const urgent = [...all]
      .filter(([, { expect }]) => expect.outcome === 'event' && expect.event.priority === 'HIGH')
      .map(([place]) => place)
      .filter((place) => !replaced.has(place));
    assert.ok(urgent.length > 10);
    const out = join(await scratch(t), 'diff.jsonl');
    const report = await live.report(3, '--rules', rules, '--out', out);
    const lines = linesOf(await readFile(out, 'utf8')).filter((line) => line.class !== 'superseded');
    assert.deepEqual(lines.map(({ raw }) => raw).sort(), urgent.sort());
    for (const line of lines) {
      assert.equal(line.class, 're_routed');
      assert.deepEqual(line.fields, ['triggers', 'priority']);
      assert.equal(line.events[0]?.published?.priority, 'HIGH');
    }
    const routes = report.devices.flatMap(({ routes: each }) => Object.keys(each));
    for (const route of routes) assert.match(route, /^HIGH to (NORMAL|MEDIUM)$/);
  });
});

test(
  'a planted fault of a unit is found in exactly the records that have it, and nowhere else',
  { timeout },
  async (t) => {
    const live = await Live.create(t);
    const { sent, webhooks } = traffic(800);
    const places = await live.append(webhooks);
    // Whoop's recovery as a share; no rule looks at it.
    await live.run({
      plant: eachReading((one, { topic }) =>
        topic.endsWith('raw.whoop') && one.recovery_score !== null
          ? { ...one, recovery_score: one.recovery_score / 100 }
          : one,
      ),
    });
    const { all, replaced } = versions(sent, places);
    const faulty = [...all].filter(
      ([, { device, expect }]) =>
        device === 'whoop' && expect.outcome === 'event' && (expect.event.recovery_score ?? 0) !== 0,
    );
    const expected = faulty.map(([place]) => place).filter((place) => !replaced.has(place));
    assert.ok(expected.length > 50 && expected.length < faulty.length, 'the traffic has none');

    const out = join(await scratch(t), 'diff.jsonl');
    const report = await live.report(3, '--out', out);
    const lines = linesOf(await readFile(out, 'utf8'));
    const counted = lines.filter((line) => line.class === 'changed');
    assert.deepEqual(counted.map(({ raw }) => raw).sort(), expected.sort());
    for (const { fields } of lines) assert.deepEqual(fields, ['recovery_score']);
    assert.deepEqual(
      lines
        .filter((line) => line.class !== 'changed')
        .map(({ raw, class: name }) => [raw, name])
        .sort(),
      faulty
        .map(([place]) => place)
        .filter((place) => replaced.has(place))
        .map((place) => [place, 'superseded'])
        .sort(),
    );
    assert.equal(report.differences, expected.length);
    assert.deepEqual(of(report, 'whoop').fields, { recovery_score: expected.length });
    for (const { device, classes } of report.devices) if (device !== 'whoop') assert.deepEqual(classes, {});
    assert.equal((await stat(out)).mode & 0o777, 0o600);
  },
);

test('values of measurements are in no output unless they are asked for', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const now = Date.now();
  const planted = [61.375, 23.0625];
  await live.append([
    { device: 'oura', user: 'u', body: reading('u', now, 61.375, { sleep: { score: 81.4375 } }) },
    { device: 'oura', user: 'v', body: reading('v', now, 23.0625) },
    { device: 'oura', user: 'w', body: '{"user_id":"w","hrv_data":{"rmssd":77.8125},' },
  ]);
  await live.run({ plant: eachReading((one) => ({ ...one, hrv: (one.hrv ?? 0) + 30.5 })) });
  const folder = await scratch(t);
  const secrets = /61\.375|23\.0625|91\.875|53\.5625|81\.4375|77\.8125/;
  const text = await live.diff('--out', join(folder, 'a'));
  const json = await live.diff('--json');
  assert.equal(text.code, 3, text.stderr);
  for (const all of [
    text.stdout,
    text.stderr,
    json.stdout,
    json.stderr,
    await readFile(join(folder, 'a'), 'utf8'),
  ])
    assert.doesNotMatch(all, secrets);
  assert.match(text.stdout, /oura: 3 raw records compared, 1 unchanged/);

  const told = await live.diff('--values', '--out', join(folder, 'b'));
  for (const value of planted) {
    assert.ok(told.stdout.includes(String(value)));
    assert.ok((await readFile(join(folder, 'b'), 'utf8')).includes(String(value + 30.5)));
  }
  const again = await live.diff('--out', join(folder, 'b'));
  assert.equal(again.code, 4);
  assert.match(again.stderr, /is not an empty file/);
});

test(
  'records are told that are dead-lettered now, or no longer, and events that are added or removed',
  { timeout },
  async (t) => {
    const live = await Live.create(t, 1);
    const now = Date.now();
    const users = ['kept', 'refused', 'dropped', 'invented', 'gone'];
    const places = await live.append([
      ...users.map((user) => ({ device: 'terra' as const, user, body: reading(user, now, 50) })),
      { device: 'terra', user: 'gone', body: '{"user_id":"gone"' },
    ]);
    await live.run({
      plant: (answer, record) => {
        if (record.key === 'refused') return reject('PLANTED', 'planted');
        if (record.key === 'dropped') return [];
        if (record.key === 'invented')
          return [...(answer as Iterable<object>)].flatMap((one) => [
            one,
            { ...one, resource_id: 'invented' },
          ]);
        // The live side read what this build cannot.
        if (record.key === 'gone' && record.offset === 5n) return [];
        return answer;
      },
    });
    const { devices } = await live.report(3);
    const { classes, examples } = devices.find(({ device }) => device === 'terra')!;
    // A value that is no JSON fails before the planted operator.
    assert.deepEqual(classes, { no_longer_dead_lettered: 1, added: 1, removed: 1 });
    assert.equal(examples['no_longer_dead_lettered']?.[0]?.raw, places[1]);
    assert.deepEqual(examples['no_longer_dead_lettered']?.[0]?.dead_letter, {
      published: 'PLANTED',
      recomputed: null,
    });
    assert.equal(examples['added']?.[0]?.raw, places[2]);
    assert.equal(examples['removed']?.[0]?.raw, places[3]);
    assert.equal(examples['removed']?.[0]?.events[0]?.resource_id, 'invented');
  },
);

test('a record is told that this build dead-letters', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const now = Date.now();
  const body = JSON.stringify({ user_id: 'u', timestamp: 'yesterday', hrv_data: { rmssd: 50 } });
  const [place] = await live.append([
    { device: 'oura', user: 'u', body },
    { device: 'oura', user: 'v', body: reading('v', now, 50) },
  ]);
  const taken = eachReading((one) => one);
  await live.run({
    plant: (answer, record) => {
      if (record.key !== 'u') return taken(answer, record);
      return [
        {
          hrv: 50,
          hrv_sdnn: null,
          sleep_score: null,
          recovery_score: null,
          stress_level: null,
          resting_heart_rate: null,
          activity_data: {},
          source: 'oura',
          user_id: 'u',
          kind: 'reading',
          timestamp: now,
          local_date: null,
          flags: [],
          resource_id: 'yesterday',
          revision: null,
          deleted: false,
          sleep: null,
          origins: { at: '', fields: {} },
        },
      ];
    },
  });
  const { devices } = await live.report(3, '--device', 'oura');
  assert.equal(devices.length, 1);
  const { classes, examples } = devices[0]!;
  assert.deepEqual(classes, { now_dead_lettered: 1 });
  const [line] = examples['now_dead_lettered']!;
  assert.equal(line?.raw, place);
  assert.equal(line?.dead_letter?.published, null);
  assert.equal(line.events[0]?.resource_id, 'yesterday');
});

test('only the devices, users and times that are asked for are compared', { timeout }, async (t) => {
  const live = await Live.create(t);
  const now = Date.now();
  const at = (hours: number): string => new Date(now - hours * hourMs).toISOString();
  const webhooks = (['oura', 'whoop'] as const).flatMap((device) =>
    ['u', 'v'].flatMap((user) =>
      [30, 20, 10].map((hours) => ({
        device,
        user,
        body: reading(user, now - hours * hourMs, 50),
        receivedAt: now - hours * hourMs,
      })),
    ),
  );
  await live.append(webhooks);
  await live.run({ plant: eachReading((one) => ({ ...one, hrv: 60 })) });
  const classes = async (...options: string[]): Promise<unknown> =>
    Object.fromEntries(
      (await live.report(3, ...options)).devices.map((each) => [
        each.device,
        [each.compared, each.classes['changed']],
      ]),
    );
  const none = { terra: [0, undefined], healthkit: [0, undefined] };
  assert.deepEqual(await classes(), { oura: [6, 6], whoop: [6, 6], ...none });
  assert.deepEqual(await classes('--device', 'whoop'), { whoop: [6, 6] });
  assert.deepEqual(await classes('--user', 'v'), { oura: [3, 3], whoop: [3, 3], ...none });
  assert.deepEqual(await classes('--from', at(20)), { oura: [4, 4], whoop: [4, 4], ...none });
  assert.deepEqual(await classes('--to', at(20)), { oura: [2, 2], whoop: [2, 2], ...none });
  assert.deepEqual(await classes('--from', at(21), '--to', at(19), '--user', 'u', '--device', 'oura'), {
    oura: [1, 1],
  });
});

for (const [options, reason] of [
  [['--device', 'fitbit'], /valid devices, separated by commas: oura, whoop, terra, healthkit/],
  [['--from', 'yesterday'], /write YYYY-MM-DD/],
  [['--from', '2026-11-02', '--to', '2026-11-01'], /--from must be earlier than --to/],
  [['--parallel', '0'], /write a whole number/],
  [['--rules', '/nonexistent'], /--rules \/nonexistent cannot be read: ENOENT/],
] as const)
  test(`${options.join(' ')} is a fault of usage`, async () => {
    const { code, stderr } = await ended('replay', 'diff', ...options);
    assert.notEqual(code, 0);
    assert.match(stderr, reason);
  });

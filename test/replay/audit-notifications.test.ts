import assert from 'node:assert/strict';
import { test } from 'node:test';
import { collectorScheme } from '../../schemas/raw-record.ts';
import type { InputRecord } from '../../streams/index.ts';
import { vendorNames, vendors, type VendorName } from '../../vendors/index.ts';
import { noAuditFigures } from '../../replay/audit-figures.ts';
import { notificationReaders, Notifications } from '../../replay/audit-notifications.ts';
import { judgeWaiting } from '../../replay/audit.ts';

const hourMs = 3_600_000;

/** Hands records over in order, one an offset. */
class Topic {
  readonly notifications: Notifications;
  readonly #vendor: VendorName;
  #offset = 0n;

  constructor(vendor: VendorName, limit?: number) {
    this.#vendor = vendor;
    this.notifications = new Notifications(vendor, limit);
  }

  /** The offsets of what waits. */
  get waiting(): string[] {
    return this.notifications.waiting.map(({ raw }) => raw.replace(`raw.${this.#vendor}:0:`, ''));
  }

  append(body: object, at: number, headers: Readonly<Record<string, string>> = {}, isJudged = true): this {
    const all = { received_at: String(at), ...headers };
    const record: InputRecord = {
      topic: `raw.${this.#vendor}`,
      partition: 0,
      offset: this.#offset,
      timestamp: at,
      key: Buffer.from('u'),
      value: Buffer.from(JSON.stringify(body)),
      headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
    };
    this.#offset += 1n;
    this.notifications.take(record, isJudged);
    return this;
  }

  document(
    notification: object,
    at: number,
    { id = 'x', named }: { id?: string; named?: string } = {},
  ): this {
    const headers = { scheme: collectorScheme, fetched_at: String(at) };
    const name = named === undefined ? {} : { notification: `raw.${this.#vendor}:0:${named}` };
    return this.append({ notification, resource: { id } }, at, { ...headers, ...name });
  }
}

const oura = (id: string, type = 'sleep', event = 'update'): object => ({
  event_type: event,
  data_type: type,
  object_id: id,
  user_id: 'u',
});
const whoop = (id: string | number, type = 'recovery.updated'): object => ({
  user_id: 1,
  id,
  type,
  trace_id: 't',
});

test('every vendor whose webhooks are thin has a reader of its notifications', () => {
  const thin = vendorNames.filter((vendor) => vendors[vendor].webhook.isThin);
  assert.deepEqual(Object.keys(notificationReaders).sort(), [...thin].sort());
});

test('a document that was fetched after a notification settles it, and no other object or type', () => {
  const topic = new Topic('oura')
    .append(oura('a'), 10)
    .append(oura('b'), 11)
    .append(oura('a', 'daily_sleep'), 12);
  topic.document(oura('a'), 20);
  assert.deepEqual(topic.waiting, ['1', '2']);
  assert.equal(topic.notifications.settled, 1);
});

test('a document that was fetched before a notification does not settle it, wherever it stands', () => {
  assert.deepEqual(new Topic('oura').append(oura('a'), 10).document(oura('a'), 9).waiting, ['0']);
  assert.deepEqual(new Topic('oura').document(oura('a'), 9).append(oura('a'), 10).waiting, ['1']);
  // It was appended first, and fetched later.
  assert.deepEqual(new Topic('oura').document(oura('a'), 10).append(oura('a'), 10).waiting, []);
});

test('one document settles all earlier notifications of its object', () => {
  const topic = new Topic('whoop').append(whoop('a'), 10).append(whoop('a'), 11).document(whoop('a'), 12);
  assert.deepEqual(topic.waiting, []);
  assert.equal(topic.notifications.settled, 2);
});

test('a document settles the notification that its header names, whatever its clock says', () => {
  const topic = new Topic('oura').append(oura('a'), 10).document(oura('other'), 5, { named: '0' });
  assert.deepEqual(topic.waiting, []);
});

test("the document's own id counts where its notification has another one", () => {
  const topic = new Topic('oura').append(oura('a'), 10).document(oura('other'), 11, { id: 'a' });
  assert.deepEqual(topic.waiting, []);
});

test('only the collector appends documents', () => {
  const topic = new Topic('oura').append(oura('a'), 10);
  topic.append({ notification: oura('a'), resource: { id: 'a' } }, 11, { scheme: 'plain' });
  assert.deepEqual(topic.waiting, ['0']);
  assert.equal(topic.notifications.documents, 0);
});

test('deletions are complete in themselves, and settle what was said of their object before', () => {
  const ofOura = new Topic('oura').append(oura('a'), 10).append(oura('a', 'sleep', 'delete'), 11);
  const ofWhoop = new Topic('whoop').append(whoop(1), 10).append(whoop(1, 'recovery.deleted'), 11);
  assert.deepEqual([ofOura.waiting, ofWhoop.waiting], [[], []]);
});

test('control events, unknown types and types that measure nothing wait for nothing', () => {
  const topic = new Topic('oura').append(oura('a', 'daily_spo2'), 1).append(oura('a', 'of_tomorrow'), 1);
  topic.append({ event_type: 'verify' }, 1).append({ user_id: 'u', timestamp: '2026-01-01T00:00:00Z' }, 1);
  const others = new Topic('whoop')
    .append(whoop('a', 'body.updated'), 1)
    .append(whoop('a', 'sleep.created'), 1);
  const terra = new Topic('terra').append({ type: 'sleep', data: [] }, 1);
  assert.deepEqual([topic.waiting, others.waiting, terra.waiting], [[], [], []]);
});

test('a notification outside of the range does not count', () => {
  const topic = new Topic('oura').append(oura('a'), 10, {}, false);
  assert.deepEqual(topic.waiting, []);
  topic.document(oura('a'), 11);
  assert.equal(topic.notifications.settled, 0);
});

test('of too many that wait, the oldest are given up', () => {
  const topic = new Topic('oura', 2);
  for (let at = 0; at < 4; at += 1) topic.append(oura(`o-${at}`), at);
  for (let at = 0; at < 4; at += 1) topic.document(oura(`o-${at}`), 10);
  assert.deepEqual(topic.waiting, ['0', '1']);
  assert.equal(topic.notifications.settled, 2);
});

test('what waits is judged by its age, all at once where no collector runs', () => {
  const scope = { fromMs: 0, toMs: 10 * hourMs, nowMs: 10 * hourMs, pendingAfterMs: hourMs };
  const waiting = [
    { raw: 'raw.oura:0:1', receivedAt: 8 * hourMs },
    { raw: 'raw.oura:0:2', receivedAt: 7 * hourMs },
    { raw: 'raw.oura:0:3', receivedAt: 9 * hourMs },
  ];
  const without = noAuditFigures();
  assert.deepEqual(
    judgeWaiting('oura', waiting, { figures: without, scope }).map(({ raw }) => raw),
    ['raw.oura:0:2'],
  );
  assert.deepEqual(
    [...without.oura.notifications],
    [
      ['waiting', 1],
      ['unsettled', 2],
    ],
  );
  const figures = noAuditFigures();
  figures.oura.notifications.set('documents', 1);
  assert.deepEqual(
    judgeWaiting('oura', waiting, { figures, scope }).map(({ raw }) => raw),
    ['raw.oura:0:1', 'raw.oura:0:2'],
  );
});

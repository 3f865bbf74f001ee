import assert from 'node:assert/strict';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { errorHeader } from '../../streams/index.ts';
import type { TopicNames } from '../../schemas/topics.ts';
import { receivedAt, webhookCases, type Delivered, type WebhookCase } from './cases.ts';
import type { VendorName } from '../../vendors/index.ts';
import { headerText } from '../../schemas/raw-record.ts';

/** Fails unless `records` are what the cases must lead to: each event or dead letter once, and nothing else. */
export function expectCases(
  records: readonly Delivered[],
  names: TopicNames<VendorName>,
  decode: (value: Buffer) => BiometricEvent,
): void {
  const left = new Map(records.map((record) => [place(record, names, decode), record]));
  assert.equal(left.size, records.length, 'a raw record came out more than once');
  const offsets = new Map<string, number>();
  for (const webhook of webhookCases) {
    const partition = `${names.raw[webhook.device]}-${webhook.partition}`;
    const offset = offsets.get(partition) ?? 0;
    offsets.set(partition, offset + 1);
    const record = left.get(`${partition}@${offset}`);
    left.delete(`${partition}@${offset}`);
    if (webhook.outcome.type === 'drop') assert.equal(record, undefined, webhook.title);
    else if (record === undefined) assert.fail(`nothing came of ${webhook.title}`);
    else if (webhook.outcome.type === 'event') expectEvent(webhook, webhook.outcome, record, names, decode);
    else expectDeadLetter(webhook, webhook.outcome, record, names);
  }
  assert.deepEqual([...left.keys()], []);
}

/** The position of the raw record of a record. */
function place(
  record: Delivered,
  names: TopicNames<VendorName>,
  decode: (value: Buffer) => BiometricEvent,
): string {
  if (record.topic === names.deadLetters) {
    const text = (name: string): string => headerText(record.headers, name) ?? '';
    return `${text(errorHeader.topic)}-${text(errorHeader.partition)}@${text(errorHeader.offset)}`;
  }
  const { topic, partition, offset } = decode(record.value!).raw;
  return `${topic}-${partition}@${offset}`;
}

function expectEvent(
  { title, partition, device }: WebhookCase,
  { priority, fields }: Extract<WebhookCase['outcome'], { type: 'event' }>,
  record: Delivered,
  names: TopicNames<VendorName>,
  decode: (value: Buffer) => BiometricEvent,
): void {
  const event = decode(record.value!);
  assert.equal(record.topic, names.priority[priority], title);
  assert.equal(record.partition, partition, title);
  assert.equal(record.timestamp, receivedAt, title);
  assert.equal(record.key?.toString(), `key-${device}`, title);
  for (const [name, value] of Object.entries(fields)) {
    assert.deepEqual(event[name as keyof BiometricEvent], value, `${name} of ${title}`);
  }
  const headers = Object.fromEntries(
    Object.keys(record.headers).map((name) => [name, headerText(record.headers, name)]),
  );
  const { build, ...others } = headers;
  assert.match(build ?? '', /^[0-9a-f]{16}$/, title);
  assert.deepEqual(
    others,
    {
      priority: event.priority,
      user_id: event.user_id,
      device_type: device,
      triggers: JSON.stringify({ triggers: event.triggers }),
      event_id: event.event_id,
      measured_at: String(event.timestamp),
      generation: '0',
    },
    title,
  );
}

function expectDeadLetter(
  webhook: WebhookCase,
  { code, message }: Extract<WebhookCase['outcome'], { type: 'deadLetter' }>,
  record: Delivered,
  names: TopicNames<VendorName>,
): void {
  const { title, partition, device, body } = webhook;
  assert.equal(record.topic, names.deadLetters, title);
  assert.equal(record.partition, partition, title);
  assert.equal(record.timestamp, receivedAt, title);
  assert.equal(record.key?.toString(), `key-${device}`, title);
  assert.ok(record.value?.equals(Buffer.from(body)), `the bytes of ${title}`);
  assert.equal(headerText(record.headers, 'scheme'), 'plain', title);
  assert.equal(headerText(record.headers, errorHeader.exception), code, title);
  assert.match(headerText(record.headers, errorHeader.message) ?? '', message, title);
  for (const name of Object.keys(record.headers)) {
    assert.ok(!headerText(record.headers, name)?.includes('planted'), `${name} quotes ${title}`);
  }
  const stack = record.headers[errorHeader.stacktrace];
  assert.ok(Buffer.isBuffer(stack) && stack.length > 0 && stack.length <= 4_096, title);
}

import { rawHeader } from '../../topology/raw-record.ts';
import type { RecordContext } from '../../topology/streams/index.ts';
import { topicNames, type Device } from '../../topology/topics.ts';

export const topics = topicNames('');

/** When the ingress of the tests takes everything. */
export const receivedAt = Date.parse('2025-07-30T12:00:05Z');

/** The context of a raw record of `device`, as the ingress writes it. */
export function rawRecord(device: Device, headers: Record<string, string> = {}): RecordContext {
  const all = { [rawHeader.receivedAt]: String(receivedAt), [rawHeader.scheme]: 'plain', ...headers };
  return {
    topic: topics.raw[device],
    partition: 2,
    offset: 17n,
    timestamp: receivedAt,
    key: 'u',
    headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
  };
}

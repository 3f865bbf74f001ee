/** Payloads of the vendors, small and right; tests change what they are about. */
import assert from 'node:assert/strict';
import { normalize } from '../../topology/normalize.ts';
import { collectorScheme, rawHeader } from '../../schemas/raw-record.ts';
import type { Reading } from '../../vendors/reading.ts';
import { Dropped, Partly, Rejected } from '../../streams/index.ts';
import type { VendorName } from '../../vendors/index.ts';
import { rawRecord, topics } from '../topology/support.ts';

const operator = normalize(topics);

/** Readings, or in words why there are none. */
export type Answer = readonly Reading[] | string;

/** The readings, or in words why there are none. */
export function read(device: VendorName, payload: unknown, headers: Record<string, string> = {}): Answer {
  const answer = normalized(device, payload, headers);
  if (answer instanceof Dropped) return `dropped: ${answer.reason}`;
  if (answer instanceof Rejected) return `${answer.code}: ${answer.message}`;
  const values = answer instanceof Partly ? [...answer.values] : answer;
  return values.filter((value): value is Reading => !('points' in value));
}

/** Why a part of the payload could not be read; undefined where all of it or nothing could. */
export function faultOf(
  device: VendorName,
  payload: unknown,
  headers: Record<string, string> = {},
): string | undefined {
  const answer = normalized(device, payload, headers);
  return answer instanceof Partly ? `${answer.code}: ${answer.message}` : undefined;
}

function normalized(
  device: VendorName,
  payload: unknown,
  headers: Record<string, string>,
): ReturnType<typeof operator> {
  const isEnvelope = typeof payload === 'object' && payload !== null && 'resource' in payload;
  const scheme = isEnvelope ? collectorScheme : device;
  return operator(payload, rawRecord(device, { [rawHeader.scheme]: scheme, ...headers }));
}

/** In words why there is no reading. */
export function reasonOf(answer: Answer): string {
  return typeof answer === 'string' ? answer : assert.fail('expected no reading');
}

/** The one reading. */
export function only(answer: Answer): Reading {
  if (typeof answer === 'string') assert.fail(`expected a reading, not ${answer}`);
  const [reading, ...rest] = answer;
  assert.ok(reading !== undefined && rest.length === 0, 'expected one reading');
  return reading;
}

/** An Oura document in the collector's envelope. */
export const oura = (dataType: string, document: object): object => ({
  notification: { event_type: 'update', data_type: dataType, object_id: 'o', user_id: 'u' },
  resource: { id: 'o', meta: { updated_at: '2025-07-30T08:00:00Z', version: 1 }, ...document },
});
export const night = {
  bedtime_end: '2025-07-30T07:00:00+02:00',
  day: '2025-07-30',
  type: 'long_sleep',
};
export const summary = { day: '2025-07-30', timestamp: '2025-07-30T00:00:00+02:00' };

/** A WHOOP object in the collector's envelope. */
export const whoop = (type: string, document: object): object => ({
  notification: { user_id: 10129, id: 's', type: `${type}.updated`, trace_id: 't' },
  resource: {
    id: 's',
    sleep_id: 's',
    user_id: 10129,
    created_at: '2025-07-30T08:00:00Z',
    updated_at: '2025-07-30T08:00:00Z',
    start: '2025-07-29T22:00:00Z',
    end: '2025-07-30T06:00:00Z',
    timezone_offset: '+02:00',
    nap: false,
    score_state: 'SCORED',
    ...document,
  },
});

/** A Terra payload of these items. */
export const terra = (type: string, ...items: object[]): object => ({
  type,
  user: { user_id: 'connection', reference_id: 'r', provider: 'GARMIN' },
  data: items.map((item) => ({
    metadata: {
      summary_id: 'x',
      start_time: '2025-07-30T00:00:00.000000+02:00',
      end_time: '2025-07-30T07:00:00.000000+02:00',
    },
    ...item,
  })),
});

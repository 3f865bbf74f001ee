import type { DayPoints } from './day-points.ts';
import { rawMeta, type RawMeta, type Reading } from '../vendors/reading.ts';
import { drop, reject, type Dropped, type RecordContext, type Rejected } from '../streams/index.ts';
import { devices, type Device, type TopicNames } from '../kafka/topics.ts';
import { normalizeHealthkit } from '../vendors/healthkit/normalize.ts';
import { normalizeOura } from '../vendors/oura/normalize.ts';
import { isEnvelopeForm, isObject, type Payload } from '../vendors/payload.ts';
import { normalizeTerra } from '../vendors/terra/normalize.ts';
import { normalizeWhoop } from '../vendors/whoop/normalize.ts';

/** Adding a vendor is a file here and a line in this table. */
const normalizers: Readonly<
  Record<
    Device,
    (payload: Payload, meta: RawMeta, key: unknown) => (Reading | DayPoints)[] | Dropped | Rejected
  >
> = {
  oura: normalizeOura,
  whoop: normalizeWhoop,
  terra: normalizeTerra,
  healthkit: normalizeHealthkit,
};

/** The vendors whose webhooks are thin, so that the collector has to fetch what they name. */
const fetched: ReadonlySet<Device> = new Set(['oura', 'whoop']);

/**
 * The operator that turns a raw payload into readings, and points that make a day's totals together with those of other
 * payloads, by the vendor whose topic it came from. Answers drop() for what holds no measurement by design and reject()
 * for what is broken; never throws for any JSON.
 */
export function normalize(
  topics: TopicNames,
): (payload: unknown, record: RecordContext) => (Reading | DayPoints)[] | Dropped | Rejected {
  const byTopic = new Map(devices.map((device) => [topics.raw[device], device]));
  return (payload, record) => {
    const device = byTopic.get(record.topic);
    if (device === undefined) return drop('unknown');
    if (!isObject(payload)) {
      return reject('NOT_AN_OBJECT', 'the body is JSON, but no object: it names no user');
    }
    const meta = rawMeta(device, record);
    // Only the collector writes envelopes; a stranger's is not believed, whatever it says inside.
    if (isEnvelopeForm(payload) && !(meta.isEnvelope && fetched.has(device))) return drop('unknown');
    return normalizers[device](payload, meta, record.key);
  };
}

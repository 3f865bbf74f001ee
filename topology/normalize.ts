import { readRawRecord } from '../schemas/raw-record.ts';
import type { TopicNames } from '../schemas/topics.ts';
import {
  drop,
  partly,
  reject,
  type Dropped,
  type Partly,
  type RecordContext,
  type Rejected,
} from '../streams/index.ts';
import type { DayPoints } from '../vendors/day-points.ts';
import { vendorNames, vendors, type VendorName } from '../vendors/index.ts';
import { isDropped, isPartly, isRejected } from '../vendors/outcome.ts';
import { isEnvelopeForm, isObject } from '../vendors/payload.ts';
import type { Reading } from '../vendors/reading.ts';

/**
 * The operator that turns a raw payload into readings and points of days, as the vendor of its topic requires. Drops
 * payloads that hold no measurement by design, rejects broken ones, passes on the readable part of partly broken ones,
 * and never throws for any JSON.
 */
export function normalize(
  topics: TopicNames<VendorName>,
): (
  payload: unknown,
  record: RecordContext,
) => readonly (Reading | DayPoints)[] | Partly<Reading | DayPoints> | Dropped | Rejected {
  const vendorOf = new Map(vendorNames.map((vendor) => [topics.raw[vendor], vendor]));
  return (payload, context) => {
    const name = vendorOf.get(context.topic);
    if (name === undefined) return drop('unknown');
    if (!isObject(payload)) {
      return reject('NOT_AN_OBJECT', 'the body is JSON, but no object: it names no user');
    }
    const { webhook, normalize: normalizeOf } = vendors[name];
    const record = readRawRecord(name, context);
    // Only the collector writes envelopes: a request that looks like one is not trusted.
    if (isEnvelopeForm(payload) && !(record.isEnvelope && webhook.isThin)) return drop('unknown');
    const outcome = normalizeOf(payload, record);
    if (isDropped(outcome)) return drop(outcome.reason);
    if (isRejected(outcome)) return reject(outcome.code, outcome.message);
    if (isPartly(outcome)) return partly(outcome.values, outcome.code, outcome.message);
    return outcome;
  };
}

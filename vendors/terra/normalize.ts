import { instantText, parseInstant } from '../instant.ts';
import { idText } from '../json.ts';
import { headerText, type RawRecord } from '../../schemas/raw-record.ts';
import { napFlag, noMeasurements, readingOf, type Origins, type Reading } from '../reading.ts';
import {
  drop,
  isDropped,
  isRejected,
  partly,
  reject,
  type Dropped,
  type Partly,
  type Rejected,
} from '../outcome.ts';
import { invalidField, nothingMeasured, sleepOf, startOfDay, userAt, withinLead } from '../document.ts';
import { isObject, valueAt, type Payload } from '../payload.ts';
import { signatureFields } from '../signature.ts';
import { normalizeSimple } from '../simple.ts';
import { dataTypes, nap, type DataType } from './data-types.ts';

/** Terra's control events: a connection made, lost or changed, or the state of a large request. They have no data. */
const controlTypes = new Set([
  'auth',
  'auth_cancelled',
  'deauth',
  'access_revoked',
  'connection_error',
  'permission_change',
  'user_reauth',
  'large_request_processing',
  'large_request_sending',
  'processing',
  'rate_limit_hit',
  'google_no_datasource',
  'healthcheck',
]);

/** Notices of data that lies elsewhere and has not been fetched. */
const pendingTypes = new Set(['s3_payload', 's3_upload']);

/** What the page of Terra lists. */
export const terraIgnored = { control: [...controlTypes], pending: [...pendingTypes] };

/**
 * Terra's own payloads name their `type`; those with data hold any number of items, each its own reading. An item that
 * cannot be read does not take the others along: they are answered together with its place.
 */
export function normalizeTerra(
  payload: Payload,
  record: RawRecord,
): Reading[] | Partly<Reading> | Dropped | Rejected {
  const name = payload['type'];
  if (typeof name !== 'string') return normalizeSimple(payload, record);
  if (controlTypes.has(name)) return drop('control');
  if (pendingTypes.has(name)) return drop('pending');
  const type = dataTypes.get(name);
  if (type === undefined) return drop('unknown');
  const user = userAt(payload, [
    ['user', 'reference_id'],
    ['user', 'user_id'],
  ]);
  if (isRejected(user)) return user;
  const provider = providerOf(payload);
  if (isRejected(provider)) return provider;
  const items = payload['data'] ?? [];
  if (!Array.isArray(items)) return invalidField('data');

  const common: Common = {
    name,
    user,
    provider,
    revision: revisionOf(record),
    receivedAt: record.receivedAt,
  };
  const readings = new Map<string, Reading>();
  let nothing = drop('no_measurement');
  let fault: Rejected | null = null;
  for (const [index, item] of (items as unknown[]).entries()) {
    const answer = readItem(item, `data[${index}]`, type, common);
    if (isRejected(answer)) fault ??= answer;
    else if (isDropped(answer)) nothing = answer;
    else {
      // A raw record holds one version of a resource: of two for one day the later item counts.
      readings.delete(answer.resource_id);
      readings.set(answer.resource_id, answer);
    }
  }
  if (readings.size === 0) return fault ?? nothing;
  return fault === null ? [...readings.values()] : partly([...readings.values()], fault.message);
}

/** What all items of a payload share. */
interface Common {
  readonly name: string;
  readonly user: string;
  readonly provider: string | null;
  readonly revision: number | null;
  readonly receivedAt: number;
}

function readItem(item: unknown, at: string, named: DataType, common: Common): Reading | Dropped | Rejected {
  // As of a field, null says that there is nothing.
  if (item === null) return drop('no_measurement');
  if (!isObject(item)) return invalidField(at);
  const isSleep = common.name === 'sleep';
  const isNap = isSleep && valueAt(item, ['metadata', 'is_nap']) === true;
  const type = isNap ? nap : named;
  const upload = uploadOf(item, type);
  if (upload === 'deletion') return deletion(item, at, type, common);
  const found = type.values.read(item);
  const nothing = nothingMeasured(found, `${at}.`);
  if (nothing !== null) return nothing;
  const dated = dateOf(item, type);
  if (dated === null) return undated(at, type);
  const id = resourceOf(item, at, type, dated.day, common);
  if (isRejected(id)) return id;
  const flags = [...found.flags];
  if (dated.zoneAssumed) flags.push('zone_assumed_utc');
  if (upload === 'tentative') flags.push('tentative');
  if (isNap) flags.push(napFlag);
  const { averaged } = found;
  return readingOf(found.measured, {
    source: sourceOf(common),
    user_id: common.user,
    kind: type.kind,
    timestamp: dated.epochMs,
    local_date: dated.day,
    flags,
    resource_id: id,
    revision: common.revision,
    deleted: false,
    sleep: isSleep && !isNap ? sleepOf(dated.epochMs, valueAt(item, ['metadata', 'start_time'])) : null,
    origins: { at, fields: averaged === null ? type.origins : { ...type.origins, ...averaged } },
  });
}

/** An item that takes a resource back needs no more than its identity, and its values do not count. */
function deletion(item: Payload, at: string, type: DataType, common: Common): Reading | Rejected {
  const dated = dateOf(item, type);
  if (dated === null && type.key === 'day') return undated(at, type);
  const id = resourceOf(item, at, type, dated?.day ?? '', common);
  if (isRejected(id)) return id;
  const fields: Origins['fields'] = {
    ...type.origins,
    ...(dated === null ? { timestamp: 'header received_at' } : {}),
    deleted: 'metadata.upload_type',
  };
  return readingOf(noMeasurements, {
    source: sourceOf(common),
    user_id: common.user,
    kind: type.kind,
    timestamp: dated?.epochMs ?? common.receivedAt,
    local_date: dated?.day ?? null,
    flags: dated?.zoneAssumed === true ? ['zone_assumed_utc'] : [],
    resource_id: id,
    revision: common.revision,
    deleted: true,
    origins: { at, fields },
  });
}

/** What kind of upload an item is; undefined for an ordinary one. */
function uploadOf(item: Payload, { uploads }: DataType): DataType['uploads'][number] | undefined {
  const value = valueAt(item, ['metadata', 'upload_type']);
  return typeof value === 'number' && Object.hasOwn(uploads, value) ? uploads[value] : undefined;
}

interface Dated {
  readonly epochMs: number;
  readonly zoneAssumed: boolean;
  /** Its calendar day, YYYY-MM-DD. */
  readonly day: string;
}

/** The date of an item; null when its time is missing, or no RFC 3339 text. */
function dateOf(item: Payload, { key, time }: DataType): Dated | null {
  const text = valueAt(item, ['metadata', time]);
  if (typeof text !== 'string') return null;
  const instant = parseInstant(text);
  if (instant === null) return null;
  // Read before any conversion: midnight east of Greenwich is another day in UTC.
  const day = text.slice(0, 10);
  const { epochMs, zoneAssumed } = (key === 'day' ? startOfDay(day, text) : null) ?? instant;
  return { epochMs, zoneAssumed, day };
}

function undated(at: string, { time }: DataType): Rejected {
  return reject('BAD_TIMESTAMP', `${at}.metadata.${time} is missing, or no RFC 3339 text`);
}

/**
 * The id of an item: its provider and day, or its summary. Terra need not name the summary; provider and start then
 * identify it. A name that is no usable id is a fault, because the start would make another resource of it.
 */
function resourceOf(
  item: Payload,
  at: string,
  { key }: DataType,
  day: string,
  { name, provider }: Common,
): string | Rejected {
  const maker = provider ?? 'unknown';
  if (key === 'day') return `${name}:${maker}:${day}`;
  const path = `${at}.metadata.summary_id`;
  const given = valueAt(item, ['metadata', 'summary_id']) ?? '';
  if (given !== '') {
    const id = idText(given);
    if (id !== null) return `${name}:${id}`;
    return reject('MISSING_RESOURCE_ID', `${path} is missing, or is no usable id`);
  }
  const start = valueAt(item, ['metadata', 'start_time']);
  const instant = typeof start === 'string' ? parseInstant(start) : null;
  if (instant !== null) return `${name}:${maker}:${instantText(instant.epochMs)}`;
  const instead = 'metadata.start_time, which would do, is missing or no RFC 3339 text';
  return reject('MISSING_RESOURCE_ID', `${path} is missing, and ${instead}`);
}

function sourceOf({ provider }: Common): string {
  return provider === null ? 'terra' : `terra:${provider}`;
}

/** The wearable's maker as Terra writes it; null when Terra names none. */
function providerOf(payload: Payload): string | null | Rejected {
  const provider = valueAt(payload, ['user', 'provider']) ?? null;
  return provider === null ? null : (idText(provider) ?? invalidField('user.provider'));
}

/**
 * When Terra made the payload, epoch ms, from its ordering header. That header is not signed: where it is missing, or
 * later than the signed `t` of the signature allows, `t` counts. Null when that is later than the arrival allows too;
 * then the order of arrival decides.
 */
function revisionOf({ headers, receivedAt }: RawRecord): number | null {
  const ordering = headerText(headers, 'x-terra-ordering-timestamp') ?? '';
  const orderedAt = /^[1-9]\d{12}$/.test(ordering) ? Number(ordering) : null;
  // An empty header counts as missing: verification skips it too, and the time must be of the header that it used.
  const signedAt = signedTime(
    headerText(headers, 'x-terra-signature') || headerText(headers, 'terra-signature'),
  );
  const ordered =
    orderedAt === null ? null : withinLead(orderedAt, Math.min(receivedAt, signedAt ?? receivedAt));
  return ordered ?? (signedAt === null ? null : withinLead(signedAt, receivedAt));
}

/** The last `t` of a signature header, seconds, as epoch ms. */
function signedTime(header = ''): number | null {
  const text = signatureFields(header, 't').at(-1) ?? '';
  return /^[1-9]\d{9}$/.test(text) ? Number(text) * 1_000 : null;
}

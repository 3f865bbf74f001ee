/** What has to become of raw records, by a rule that shares nothing with the topology. */
import type { InputRecord } from '../../streams/index.ts';
import { Findings, placeName, type Place } from './audit-compare.ts';

/** The rule's figures. */
export interface Accounts {
  /** Raw records that led to no output and were none of these that may be dropped. */
  readonly missing: Findings;
  /** Outputs beyond one of a raw record, also of one that had to be dropped. */
  readonly duplicates: Findings;
  /** Raw records that had to be dropped and were. */
  readonly dropped: number;
}

/**
 * Each raw record has one output, an event or a dead letter, unless it repeats the last version of its user's reading
 * or measures nothing. Knows the simple format, common to all devices, and calls whatever else it sees an output.
 */
export function account(raw: readonly InputRecord[], origins: readonly Place[]): Accounts {
  const outputs = new Map<string, number>();
  for (const origin of origins) outputs.set(placeName(origin), (outputs.get(placeName(origin)) ?? 0) + 1);
  const missing = new Findings();
  const duplicates = new Findings();
  let dropped = 0;
  const versions = new Map<string, string>();
  for (const record of raw) {
    const name = placeName({ ...record, offset: Number(record.offset) });
    const count = outputs.get(name) ?? 0;
    outputs.delete(name);
    const mayBeDropped = isRepeatOrEmpty(record, versions);
    if (mayBeDropped && count === 0) dropped += 1;
    if (!mayBeDropped && count === 0) missing.add(name);
    for (let more = count; more > (mayBeDropped ? 0 : 1); more -= 1) duplicates.add(name);
  }
  // Outputs of raw records that are not there.
  for (const [name, count] of outputs) for (let more = count; more > 0; more -= 1) duplicates.add(name);
  return { missing, duplicates, dropped };
}

/** Records of one raw partition have to come in their order. */
function isRepeatOrEmpty({ topic, partition, value }: InputRecord, versions: Map<string, string>): boolean {
  const body = parsed(value);
  const time = Date.parse(String(body['timestamp']));
  if (body['user_id'] === undefined || Number.isNaN(time)) return false;
  const measured = [number(body, 'hrv_data', 'rmssd'), number(body, 'sleep', 'score')];
  measured.push(number(body, 'recovery', 'score'), number(body, 'stress', 'level'));
  if (measured.some((one) => one === 'invalid')) return false;
  if (measured.every((one) => one === null)) return true;
  const reading = JSON.stringify([topic, partition, body['user_id'], time]);
  const version = JSON.stringify(measured);
  const isRepeat = versions.get(reading) === version;
  versions.set(reading, version);
  return isRepeat;
}

function parsed(value: Buffer | null): Record<string, unknown> {
  try {
    const body = JSON.parse(String(value)) as unknown;
    return typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function number(body: Record<string, unknown>, object: string, field: string): number | null | 'invalid' {
  const inner = body[object] ?? {};
  if (typeof inner !== 'object') return 'invalid';
  const value = (inner as Record<string, unknown>)[field] ?? null;
  return value === null || typeof value === 'number' ? value : 'invalid';
}

import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { errorHeader } from '../streams/index.ts';
import { headersAsText, withInstantsAsText, type Explained, type Explanation } from '../topology/explain.ts';
import { headerText } from '../schemas/raw-record.ts';
import type { HourParts, TotalParts } from '../topology/total-parts.ts';

/** Formats an explanation as JSON lines, one per output record. */
export function asJsonLines({ outputs }: Explanation): string {
  return outputs
    .map(({ record, event, totals }) => {
      const value = event === undefined ? (record.value?.toString() ?? null) : withInstantsAsText(event);
      const { topic, key, headers } = record;
      const line = { topic, key: key?.toString() ?? null, headers: headersAsText(headers), value };
      return `${JSON.stringify(totals === undefined ? line : { ...line, totals })}\n`;
    })
    .join('');
}

/** Formats an explanation as text: the delivery, its events field by field, or why there is none. */
export function asText({ topic, offset, delivery, outputs, days, dropped }: Explanation): string {
  const lines = [
    `delivery ${offset + 1n}: ${topic} offset ${offset}, key ${delivery.key.toString()}, received ${new Date(delivery.receivedAt).toISOString()}`,
  ];
  for (const output of outputs)
    lines.push(...(output.event === undefined ? letterLines(output) : eventLines(output, output.event)));
  for (const [name, count] of dropped) {
    const [operator = '', reason = ''] = name.split('/');
    const meaning = meanings[reason];
    lines.push(
      `  no event${count > 1 ? ` of ${count} items` : ''}: operator ${operator} drops it as ${reason}${meaning === undefined ? '' : `, ${meaning}`}`,
    );
  }
  // An answer to why the delivery changed nothing.
  const changed = new Set(outputs.map(({ event }) => event?.resource_id));
  for (const { date, totals } of days)
    if (!changed.has(`daily:${date}`))
      lines.push(`  the day ${date} as known now`, ...totals.flatMap(totalLines));
  if (outputs.length === 0 && dropped.size === 0) lines.push('  no event: it holds no items');
  return `${lines.join('\n')}\n\n`;
}

/** The meanings of drop reasons. */
export const meanings: Readonly<Record<string, string>> = {
  notification:
    'a notification that names an object and carries no measurement; the object must still be fetched',
  pending: 'a notice of data that lies elsewhere and must still be fetched',
  bucket_too_long: 'an export by weeks or longer, which says nothing of a day',
  control: 'a notice about a connection or a request, without data',
  unknown: 'a type that the bridge does not read, or an envelope that the collector did not write',
  no_measurement: 'it holds no measurement that an event carries',
  out_of_range: 'all its measurements are outside the plausible range',
  not_scored: 'the vendor has no score for it, or not yet',
  unchanged: 'the last version of this resource has the same content',
  older_revision: 'a newer version of this resource arrived before',
};

function letterLines({ record: { topic, headers } }: Explained): string[] {
  const error = (name: keyof typeof errorHeader): string => headerText(headers, errorHeader[name]) ?? '';
  return [
    `  dead letter to ${topic}: ${error('exception')} at operator ${error('node')}, ${error('message')}`,
  ];
}

/** The origins of fields that no payload holds. */
const ownOrigins: Readonly<Partial<Record<keyof BiometricEvent, string>>> = {
  event_id: 'hash of device, user, resource, revision and content',
  device_type: 'the route',
  baseline: "the user's nights of the 30 days before",
  priority: 'the gravest trigger',
  supersedes: 'the version of this resource before this one, and its alerts',
  generation: 'which recomputation of history made it',
  received_at: 'header received_at',
  raw: 'the place of the raw record',
};

/** The origins of fields that this payload does not name. */
const otherwise: Readonly<Partial<Record<keyof BiometricEvent, string>>> = {
  source: 'the route',
  user_id: 'key of the raw record',
  kind: 'the type of the payload',
  revision: 'header received_at, or the last revision plus 1 if that is higher',
};

function eventLines({ record, origins, totals = [] }: Explained, event: BiometricEvent): string[] {
  const { triggers, activity_data, ...fields } = withInstantsAsText(event) as Record<string, unknown> &
    Pick<BiometricEvent, 'triggers' | 'activity_data'>;
  const rows: [string, string, string][] = [];
  const add = (name: string, value: unknown, origin: string | undefined): void => {
    rows.push([name, typeof value === 'string' ? value : JSON.stringify(value), origin ?? '']);
  };
  const paths = origins?.fields as Readonly<Record<string, string>> | undefined;
  const pathOf = (field: string): string | undefined => {
    const path = paths?.[field];
    // A header is no part of the payload.
    const isRoot = origins?.at === '' || path?.startsWith('header') === true;
    return path === undefined || origins === undefined || isRoot ? path : `${origins.at}: ${path}`;
  };
  for (const [field, value] of Object.entries(fields))
    add(
      field,
      value,
      ownOrigins[field as keyof BiometricEvent] ??
        (value === null ? undefined : (pathOf(field) ?? otherwise[field as keyof BiometricEvent])),
    );
  for (const [metric, value] of Object.entries(activity_data))
    add(`activity_data.${metric}`, value, pathOf(metric));
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return [
    `  event to ${record.topic}`,
    ...rows.map(([name, value, origin]) =>
      `    ${name.padEnd(widths[0] ?? 0)}  ${origin === '' ? value : `${value.padEnd(Math.min(widths[1] ?? 0, 40))}  ${origin}`}`.trimEnd(),
    ),
    ...totals.flatMap(totalLines),
    ...triggers.map(
      ({ type, severity, metric, value, threshold, recommendation, alert_id, first }) =>
        `    trigger ${type} (${severity}): ${metric} ${value} is below ${threshold}; ${recommendation}; alert ${alert_id}, ${first ? 'for the first time' : 'raised before'}`,
    ),
    ...(triggers.length === 0 ? ['    no trigger'] : []),
  ];
}

/** How a day's total came about. */
function totalLines({ metric, total, bucket, hours }: TotalParts): string[] {
  const sum = hours.reduce((all, hour) => all + hour.total, 0);
  const ofHours = `the sum of its hours, ${rounded(sum)}`;
  const what =
    bucket === null
      ? ofHours
      : bucket.isAlone
        ? `the bucket of the day alone, which arrived after everything inside it${hours.length > 0 ? `; ${ofHours}` : ''}`
        : hours.length === 0
          ? 'the bucket of the day'
          : `the larger of the bucket of the day, ${rounded(bucket.value)}, and ${ofHours}`;
  return [`    total ${metric} ${rounded(total)}: ${what}`, ...hours.map(hourLine)];
}

function hourLine({ begins, total, bucket, minutes, sources }: HourParts): string {
  const isMerged = sources.some((source) => source.isMerged);
  const rule = isMerged ? 'the larger at each instant counts' : 'the largest counts';
  const samples = sources.map(({ source, sum }) => `${source === '' ? 'no source' : source} ${rounded(sum)}`);
  const parts = [
    ...(bucket === null ? [] : [`bucket ${rounded(bucket.value)}${bucket.isAlone ? ', alone' : ''}`]),
    ...(minutes === null ? [] : [`minutes ${rounded(minutes)}`]),
    ...(samples.length === 0
      ? []
      : [`samples of ${samples.join(', ')}${samples.length > 1 ? `: ${rule}` : ''}`]),
  ];
  return `      ${begins} ${rounded(total)}: ${parts.join('; ')}`;
}

function rounded(value: number): number {
  return Math.round(value * 1e3) / 1e3;
}

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hashKey } from '../ingress/raw-record.ts';
import { vendors, vendorNames, type VendorName } from '../vendors/index.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import {
  explain,
  headersAsText,
  withInstantsAsText,
  type Delivery,
  type Explained,
  type Explanation,
} from '../topology/explain.ts';
import { firstId, isEnvelopeForm, isObject, valueAt } from '../vendors/payload.ts';
import { parseJson } from '../vendors/json.ts';
import { collectorScheme, rawHeader } from '../schemas/raw-record.ts';
import { errorHeader, headerText } from '../streams/index.ts';
import { topicNames } from '../schemas/topics.ts';
import { defaultRules, readRules } from '../topology/triggers.ts';
import { withLocalEnv } from '../local/env.ts';
import { UsageError, type Command } from './command.ts';

const usage = `
Usage: bridge explain <device> <file|-> [--user USER] [--json]

Tells what the topology makes of a payload: its events field by field, with where each came from, triggers and topic, or
why there is none. Runs the topology itself, with its state, and needs no running stack. Devices: ${vendorNames.join(', ')}.

The file (or standard input, -) holds
  one payload, as it would be posted; for oura and whoop also a document in its envelope {"notification":…,"resource":…}
  or JSON lines, each a delivery {"body":…,"headers":{…}}, run in order; the body is JSON, or a string of the exact bytes

An envelope counts as appended by the collector unless its headers name another scheme; received_at is the header's
(epoch ms), else now.

  --user USER   the user that the token of a HealthKit request names; a body that names one itself keeps it
  --json        one JSON object per output record: {"topic","key","headers","value"}, dead letters too

TRIGGER_RULES_FILE and TOPIC_PREFIX are heeded. Exits 0 also when nothing comes out.
`;

export const explainCommand: Command = {
  summary: 'tell what the topology makes of a payload, and why',
  usage,
  async run(args) {
    const { values, positionals } = parsed(args);
    const [name, file, ...rest] = positionals;
    const device = vendorNames.find((known) => known === name);
    if (device === undefined) throw new UsageError(`the device has to be one of ${vendorNames.join(', ')}`);
    if (file === undefined || rest.length > 0)
      throw new UsageError('takes one file, or - for standard input');
    const env = withLocalEnv(process.env);
    const rulesFile = env['TRIGGER_RULES_FILE'];
    const explanations = await explain(
      deliveriesOf(readInput(file)).map((delivery) => asDelivery(device, delivery, values.user)),
      {
        vendor: device,
        topics: topicNames(env['TOPIC_PREFIX'] ?? '', vendorNames),
        rules: rulesFile === undefined || rulesFile === '' ? defaultRules : readRules(rulesFile),
      },
    );
    const print = values.json === true ? asJsonLines : asText;
    for (const explanation of explanations) process.stdout.write(print(explanation));
    return 0;
  },
};

function parsed(args: string[]): { values: { user?: string; json?: boolean }; positionals: string[] } {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { user: { type: 'string' }, json: { type: 'boolean' } },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'unknown arguments');
  }
}

function readInput(file: string): Buffer {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new UsageError(`${file} cannot be read (${code})`);
  }
}

/** A request of the file: the body's exact bytes, and headers by lower-case name. */
interface Request {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** One payload, or deliveries, one a line. @throws UsageError for a file that is neither one nor the other. */
export function deliveriesOf(input: Buffer): Request[] {
  const whole = parseJson(input);
  if (whole.ok) return [requestOf(whole.value) ?? { body: input, headers: {} }];
  const lines = input
    .toString('utf8')
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '');
  const requests = lines.map((line) => {
    const json = parseJson(Buffer.from(line));
    return json.ok ? requestOf(json.value) : undefined;
  });
  if (requests.every((request) => request === undefined)) return [{ body: input, headers: {} }];
  return requests.map((request, at) => {
    if (request === undefined)
      throw new UsageError(
        `delivery ${at + 1} of the file is not a JSON object with exactly the keys body and headers`,
      );
    return request;
  });
}

function requestOf(value: unknown): Request | undefined {
  if (!isObject(value)) return undefined;
  if (Object.keys(value).sort().join() !== 'body,headers') return undefined;
  const { body, headers } = value;
  if (!isObject(headers)) return undefined;
  return {
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, text]) => [name.toLowerCase(), String(text)]),
    ),
  };
}

/** The raw record that the ingress, or the collector, would have appended. */
function asDelivery(device: VendorName, { body, headers }: Request, user: string | undefined): Delivery {
  const json = parseJson(body);
  const value = json.ok ? json.value : undefined;
  const isEnvelope = isEnvelopeForm(value);
  const { userId } = vendors[device].webhook;
  const named =
    firstId(value, userId) ?? (isEnvelope ? firstId(valueAt(value, ['notification']), userId) : null);
  const key = named ?? (device === 'healthkit' ? user : undefined);
  const given = headers[rawHeader.receivedAt];
  const receivedAt = given === undefined ? Date.now() : Number(given);
  if (!Number.isSafeInteger(receivedAt) || receivedAt < 0)
    throw new UsageError(`the header ${rawHeader.receivedAt} has to be epoch milliseconds`);
  const all = {
    [rawHeader.receivedAt]: String(receivedAt),
    [rawHeader.contentType]: 'application/json',
    [rawHeader.scheme]: isEnvelope
      ? collectorScheme
      : device === 'healthkit' && named === null
        ? 'bearer'
        : 'plain',
    ...headers,
  };
  // Credentials are in no raw record.
  const kept = Object.entries(all).filter(([name]) => name !== 'authorization');
  return {
    key: key === undefined ? hashKey(body) : Buffer.from(key),
    body,
    headers: Object.fromEntries(kept.map(([name, text]) => [name, Buffer.from(text)])),
    receivedAt,
  };
}

function asJsonLines({ outputs }: Explanation): string {
  return outputs
    .map(({ record, event }) => {
      const value = event === undefined ? (record.value?.toString() ?? null) : withInstantsAsText(event);
      const { topic, key, headers } = record;
      return `${JSON.stringify({ topic, key: key?.toString() ?? null, headers: headersAsText(headers), value })}\n`;
    })
    .join('');
}

function asText({ topic, offset, delivery, outputs, dropped }: Explanation): string {
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
  if (outputs.length === 0 && dropped.size === 0) lines.push('  no event: it holds no items');
  return `${lines.join('\n')}\n\n`;
}

/** What the reasons of drops mean. */
const meanings: Readonly<Record<string, string>> = {
  notification:
    'a notification that names an object and carries no measurement: the object is still to be fetched',
  control: 'news about a connection or a request, without data',
  unknown: 'a type that is not read, or an envelope that the collector did not write',
  no_measurement: 'it measures nothing that an event carries',
  out_of_range: 'all that it measures is outside of what a body can have',
  ignored: 'the vendor itself says that it does not count',
  not_scored: 'the vendor has no score of it, or not yet',
  unchanged: 'the last version of this resource said the same',
  older_revision: 'a newer version of this resource came before',
};

function letterLines({ record: { topic, headers } }: Explained): string[] {
  const error = (name: keyof typeof errorHeader): string => headerText(headers, errorHeader[name]) ?? '';
  return [
    `  dead letter to ${topic}: ${error('exception')} at operator ${error('node')}, ${error('message')}`,
  ];
}

/** Where the fields come from that no payload holds. */
const ownOrigins: Readonly<Partial<Record<keyof BiometricEvent, string>>> = {
  event_id: 'hash of device, user, resource, revision and content',
  device_type: 'the route',
  baseline: "the user's nights of the 30 days before",
  priority: 'the gravest trigger',
  supersedes: 'the version of this resource before this one',
  received_at: 'header received_at',
  raw: 'the place of the raw record',
};

/** Where these come from when the payload says nothing of them. */
const otherwise: Readonly<Partial<Record<keyof BiometricEvent, string>>> = {
  source: 'the route',
  user_id: 'key of the raw record',
  kind: 'the type of the payload',
  revision: 'header received_at, or the last revision if that is higher',
};

function eventLines({ record, origins }: Explained, event: BiometricEvent): string[] {
  const { triggers, activity_data, ...fields } = withInstantsAsText(event) as Record<string, unknown> &
    Pick<BiometricEvent, 'triggers' | 'activity_data'>;
  const rows: [string, string, string][] = [];
  const add = (name: string, value: unknown, origin: string | undefined): void => {
    rows.push([name, typeof value === 'string' ? value : JSON.stringify(value), origin ?? '']);
  };
  const paths = origins?.fields as Readonly<Record<string, string>> | undefined;
  const pathOf = (field: string): string | undefined => {
    const path = paths?.[field];
    return path === undefined || origins === undefined || origins.at === '' ? path : `${origins.at}: ${path}`;
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
    ...triggers.map(
      ({ type, severity, metric, value, threshold, recommendation, alert_id, first }) =>
        `    trigger ${type} (${severity}): ${metric} ${value} is below ${threshold}; ${recommendation}; alert ${alert_id}, ${first ? 'for the first time' : 'raised before'}`,
    ),
    ...(triggers.length === 0 ? ['    no trigger'] : []),
  ];
}

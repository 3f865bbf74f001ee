import { readFileSync } from 'node:fs';
import { Argument, InvalidArgumentError } from 'commander';
import { hashKey } from '../ingress/raw-record.ts';
import { vendors, vendorNames, type VendorName } from '../vendors/index.ts';
import { explain, type Delivery } from '../topology/explain.ts';
import { firstId, isEnvelopeForm, isObject, valueAt } from '../vendors/payload.ts';
import { parseJson } from '../vendors/json.ts';
import { collectorScheme, rawHeader } from '../schemas/raw-record.ts';
import { topicNames } from '../schemas/topics.ts';
import { topologyVariables } from '../topology/config.ts';
import { defaultRules, readRules } from '../topology/triggers.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { asJsonLines, asText } from './explanation.ts';

const { TRIGGER_RULES_FILE, TOPIC_PREFIX } = topologyVariables;
const variables = { TRIGGER_RULES_FILE, TOPIC_PREFIX };

const description = `Show what the topology makes of a payload: its events field by field, with the origin of each field, triggers and topic, or why there is no event. Runs the topology itself, with its state, and needs no running stack. Exits with 0 even when there is no event.

The file holds one payload as it would be posted. For oura and whoop it may be a document in its envelope {"notification":…,"resource":…}. It may also hold deliveries {"body":…,"headers":{…}}, as JSON lines or as the list "deliveries" of one object; they run in order. A body is JSON, or a string of the exact bytes.

An envelope counts as appended by the collector unless its headers name another scheme. The time of receipt is the header received_at (epoch ms), else now.`;

/** `bridge explain`. */
export function define(command: Command): void {
  command
    .description(description)
    .addArgument(new Argument('<device>', 'the route that the payload is posted to').choices(vendorNames))
    .argument('<file>', 'the file to read, or - for standard input')
    .option('--user <user>', 'the user of the HealthKit token; a body that names a user keeps its own')
    .option(
      '--json',
      'print a JSON object {"topic","key","headers","value"} per output record, dead letters too',
    )
    .environment(variables)
    .does(run);
}

async function run(
  device: VendorName,
  file: string,
  options: { user?: string; json?: true },
): Promise<number> {
  const config = configured(variables);
  const rulesFile = config.TRIGGER_RULES_FILE;
  const explanations = await explain(
    deliveriesOf(readInput(file)).map((delivery) => asDelivery(device, delivery, options.user)),
    {
      vendor: device,
      topics: topicNames(config.TOPIC_PREFIX, vendorNames),
      rules: rulesFile === undefined ? defaultRules : readRules(rulesFile),
    },
  );
  const print = options.json === true ? asJsonLines : asText;
  for (const explanation of explanations) process.stdout.write(print(explanation));
  return 0;
}

function readInput(file: string): Buffer {
  try {
    return readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new InvalidArgumentError(`${file} cannot be read (${code})`);
  }
}

/** A request of the file: the body's exact bytes, and headers by lower-case name. */
interface Request {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

/** Reads one payload, or one delivery a line. @throws InvalidArgumentError when only some of the lines are deliveries. */
export function deliveriesOf(input: Buffer): Request[] {
  const whole = parseJson(input);
  if (whole.ok) return listedIn(whole.value) ?? [requestOf(whole.value) ?? { body: input, headers: {} }];
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
    if (request === undefined) throw notDelivery(at);
    return request;
  });
}

/** The requests of `{"deliveries":[…]}`, of which each has a body; undefined for anything else. */
function listedIn(value: unknown): Request[] | undefined {
  if (!isObject(value) || Object.keys(value).join() !== 'deliveries' || !Array.isArray(value['deliveries']))
    return undefined;
  const { deliveries } = value;
  if (deliveries.length === 0) throw new InvalidArgumentError('the list of deliveries in the file is empty');
  return deliveries.map((delivery: unknown, at) => {
    const request = isObject(delivery) ? requestOf({ headers: {}, ...delivery }) : undefined;
    if (request === undefined) throw notDelivery(at);
    return request;
  });
}

function notDelivery(at: number): InvalidArgumentError {
  return new InvalidArgumentError(
    `delivery ${at + 1} of the file is not a JSON object with exactly the keys body and headers`,
  );
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

/** The last instant that a Date holds. */
const maxDateMs = 8_640_000_000_000_000;

/** The raw record that the ingress, or the collector, would have appended. @param user - as `--user`. */
export function asDelivery(
  device: VendorName,
  { body, headers }: Request,
  user: string | undefined,
): Delivery {
  const json = parseJson(body);
  const value = json.ok ? json.value : undefined;
  const isEnvelope = isEnvelopeForm(value);
  const { userId } = vendors[device].webhook;
  const named =
    firstId(value, userId) ?? (isEnvelope ? firstId(valueAt(value, ['notification']), userId) : null);
  const key = named ?? (device === 'healthkit' ? user : undefined);
  const received = headers[rawHeader.receivedAt];
  const receivedAt = received === undefined ? Date.now() : Number(received);
  if (!Number.isInteger(receivedAt) || receivedAt < 0 || receivedAt > maxDateMs)
    throw new InvalidArgumentError(`the header ${rawHeader.receivedAt} must be epoch milliseconds`);
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
  // Raw records never hold credentials.
  const kept = Object.entries(all).filter(([name]) => name !== 'authorization');
  return {
    key: key === undefined ? hashKey(body) : Buffer.from(key),
    body,
    headers: Object.fromEntries(kept.map(([name, text]) => [name, Buffer.from(text)])),
    receivedAt,
  };
}

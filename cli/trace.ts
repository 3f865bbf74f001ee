import { InvalidArgumentError } from 'commander';
import { silentLog } from '../kafka/client.ts';
import { secretVariables } from '../ingress/config.ts';
import { is, variable, type Config } from '../process/config.ts';
import { Deployment, replayVariables } from '../replay/deployment.ts';
import { exitCode } from '../replay/exit.ts';
import { progressBar } from '../replay/progress.ts';
import { parsePosition, positionName, type Position, type Watch } from '../replay/reading.ts';
import { NoDatabase, StoredEvents, type StoredRow } from '../replay/stored.ts';
import { findEvent, rawOf, storyOf, type Story, type Traced } from '../replay/story.ts';
import { byVendor, vendors } from '../vendors/index.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { interruptible } from './interrupt.ts';
import { storyJson, storyText } from './story-text.ts';

const variables = {
  ...replayVariables,
  POSTGRES_URL: variable<string | undefined>({
    schema: is.url,
    default: undefined,
    secret: true,
    description: 'postgresql:// address of the database of the sink, to be asked first; optional',
  }),
  ...secretVariables(),
} as const;

/** `bridge trace`. */
export function define(command: Command): void {
  command
    .description(
      `Tell the whole story of one raw record: where it is, a fresh verification of its stored signature with the secrets of the environment, what came of it (events, dead letters, or the drop, which is computed again), the newer versions that supersede it, and whether Postgres still holds it.

Looks for an event_id in Postgres first, then in the headers of the priority topics. A place may be one of a raw topic, a priority topic or the dead-letter topic. Prints no health value unless --values asks for them. Exits with 0 when found, 1 when not found or after a failure, 2 after a usage fault, 130 when interrupted.`,
    )
    .argument('<what>', 'an event_id, or a place: topic:partition:offset', what)
    .option('--values', 'print the measurements of the events too')
    .option('--json', 'print one line of JSON')
    .environment(variables)
    .does(run);
}

type What = { readonly eventId: string } | { readonly position: Position };

function what(text: string): What {
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return { eventId: text.toLowerCase() };
  const position = parsePosition(text);
  if (position === undefined)
    throw new InvalidArgumentError('It must be an event_id (a UUID) or topic:partition:offset.');
  return { position };
}

interface Options {
  readonly values?: true;
  readonly json?: true;
}

async function run(asked: What, { values, json }: Options): Promise<number> {
  const config = configured(variables);
  return interruptible(async (signal) => {
    const deployment = await Deployment.open(config, { clientId: 'bridge-trace', log: silentLog });
    const stored = config.POSTGRES_URL === undefined ? undefined : new StoredEvents(config.POSTGRES_URL);
    const progress = progressBar('trace', 0);
    const watch = { signal, progress };
    try {
      const found = await find(deployment, stored, asked, watch);
      if (typeof found === 'string') {
        progress.stop();
        process.stderr.write(`bridge trace: ${found}\n`);
        return exitCode.failed;
      }
      const story = await storyOf(deployment, found, secretsOf(config), watch);
      const rows = await rowsOf(stored, story);
      progress.stop();
      const print = json === true ? storyJson : storyText;
      process.stdout.write(`${print(story, { rows, values: values === true })}\n`);
      return exitCode.done;
    } finally {
      progress.stop();
      await Promise.all([deployment.close(), stored?.close()]);
    }
  });
}

function secretsOf(config: Config<typeof variables>) {
  return byVendor((vendor) => config[vendors[vendor].webhook.secret]);
}

/** Finds the raw record; or says what was searched in vain. */
async function find(
  deployment: Deployment,
  stored: StoredEvents | undefined,
  asked: What,
  watch: Watch,
): Promise<Traced | string> {
  if ('position' in asked) return findPlace(deployment, asked.position, watch);
  const { eventId } = asked;
  const inDatabase = await orWarning(() => stored?.find(eventId));
  if (inDatabase !== undefined) return inDatabase;
  let searched = 0n;
  const onTopic = (records: bigint): void => {
    searched += records;
  };
  const traced = await findEvent(deployment, eventId, { ...watch, onTopic });
  if (traced !== undefined) return traced;
  const topics = Object.values(deployment.topics.priority).join(', ');
  const database = stored === undefined ? '' : 'neither in Postgres nor ';
  return `no event has the event_id ${eventId}: it is ${database === '' ? 'not ' : database}in the headers of the ${searched} offsets of ${topics}, which keep 28 days`;
}

async function findPlace(deployment: Deployment, position: Position, watch: Watch): Promise<Traced | string> {
  const { topics } = deployment;
  const known = [...Object.values(topics.raw), ...deployment.outputTopics];
  if (!known.includes(position.topic))
    throw new InvalidArgumentError(`${position.topic} is none of ${known.join(', ')}`);
  const traced = await rawOf(deployment, position, watch);
  if (traced !== undefined) return traced;
  const partition = Math.min(position.partition, deployment.partitions - 1);
  const { offset, end } = await deployment.range(position.topic, partition);
  const holds = `partition ${partition} holds the offsets ${offset} to ${end - 1n}`;
  return `${positionName(position)} holds no record that says where it came from: ${offset === end ? `partition ${partition} is empty` : holds}`;
}

/** The stored row of each event, by its place in the list; empty without a database. */
async function rowsOf(
  stored: StoredEvents | undefined,
  { events }: Story,
): Promise<readonly (StoredRow | undefined)[]> {
  const rows: (StoredRow | undefined)[] = [];
  for (const { event } of events) rows.push(await orWarning(() => stored?.rowOf(event)));
  return rows;
}

/** Postgres is optional: without its answer, the topics tell the story. */
async function orWarning<T>(ask: () => Promise<T> | undefined): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof NoDatabase)) throw error;
    process.stderr.write(`bridge trace: ${error.message}: only the topics are searched\n`);
    return undefined;
  }
}

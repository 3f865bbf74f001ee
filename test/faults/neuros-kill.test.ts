import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { transactional } from '../../consumers/neuros/index.ts';
import { projectRoot } from '../../process/root.ts';
import type { BiometricEvent, Priority } from '../../schemas/biometric-event.ts';
import { readerTopicSpecs } from '../../schemas/topics.ts';
import { testProgram } from '../bridge-program.ts';
import { testDatabase, type TestDatabase } from '../consumers/postgres/database.ts';
import { partitions, priorityStack, until, type PriorityStack } from '../consumers/priority-stack.ts';
import { anEvent } from '../schemas/events.ts';
import type { NeurosReaderSettings } from './neuros-reader.ts';
import { report, rounds, seeded } from './settings.ts';

const kills = rounds(1) * 3;
const leaseMs = 1_500;
const redis = process.env['REDIS_URL'] ?? '';

interface Effect {
  readonly kind: 'announced' | 'withdrawn';
  readonly alert_id: string;
  readonly may_be_repeat: boolean;
}

describe(
  'a reader that is killed inside its handlers',
  { concurrency: true, timeout: 240_000 + kills * 60_000 },
  () => {
    test('transactional: what it writes happens exactly once', async (t) => {
      const { effects, standing } = await killed(t, 'transactional');
      const seen = balance(t, effects, standing);
      assert.deepEqual(
        { twice: seen.twice, wronglyWithdrawn: seen.wronglyWithdrawn, lost: seen.lost, wrong: seen.wrong },
        { twice: 0, wronglyWithdrawn: 0, lost: 0, wrong: 0 },
      );
      assert.ok(!effects.some(({ may_be_repeat }) => may_be_repeat));
    });

    for (const contract of ['claims in Postgres', 'claims in Redis'] as const)
      test(
        `${contract}: no alert is lost, and one that comes again says so`,
        { skip: contract === 'claims in Redis' && redis === '' && 'redis-server is not installed' },
        async (t) => {
          const { effects, standing } = await killed(t, contract);
          const { lost, wrong, silent, wronglyWithdrawn } = balance(t, effects, standing);
          assert.deepEqual(
            { lost, wrong, silent, wronglyWithdrawn },
            { lost: 0, wrong: 0, silent: 0, wronglyWithdrawn: 0 },
          );
        },
      );
  },
);

/** Sends alerts and corrections to a reader that is killed again and again while its handlers are at work. */
async function killed(
  t: TestContext,
  contract: NeurosReaderSettings['contract'],
): Promise<{ effects: Effect[]; standing: Map<string, boolean> }> {
  const random = seeded(t, contract);
  const stack = await priorityStack('neuros-kill', (prefix) => readerTopicSpecs(prefix, 'neuros'));
  t.after(() => stack.close());
  const database = await testDatabase({ migrated: false });
  t.after(() => database.drop());
  await prepare(database);
  const { brokers, registryUrl: registry, prefix: topicPrefix } = stack;
  const settings = { brokers, registry, topicPrefix, postgres: database.url, redis, contract, leaseMs };
  const nights = Array.from({ length: kills * 60 }, (_, at) => night(at, random));
  const standing = new Map(nights.flatMap(({ alerts }) => [...alerts]));
  const batch = Math.ceil(nights.length / (kills + 1));
  let reader = new ReaderProcess(settings);
  t.after(() => reader.kill());
  for (let kill = 0; kill < kills; kill += 1) {
    await send(stack, nights.slice(kill * batch, (kill + 1) * batch));
    await reader.atWork(1 + Math.floor(random() * 20));
    await sleep(random() * 12);
    await reader.kill();
    reader = new ReaderProcess(settings);
  }
  await send(stack, nights.slice(kills * batch));
  await until('the reader to be done', () => isDone(stack, reader), 120_000);
  await reader.stop();
  return { effects: await database.rows<Effect>('SELECT * FROM effects ORDER BY id'), standing };
}

async function prepare(database: TestDatabase): Promise<void> {
  await database.rows(
    `CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, kind text, alert_id text, event_id text, may_be_repeat boolean)`,
  );
  const pool = new pg.Pool({ connectionString: database.url, max: 1 });
  await transactional({ pool }).migrate();
  await pool.end();
}

interface Night {
  readonly events: readonly BiometricEvent[];
  /** Whether each of its alerts stands at the end. */
  readonly alerts: ReadonlyMap<string, boolean>;
}

/**
 * A night of one user: two resources that may raise one alert, each in up to three versions, which raise it or not and go to
 * HIGH or NORMAL accordingly.
 */
function night(number: number, random: () => number): Night {
  const alert = `alert-${number}`;
  const events: BiometricEvent[] = [];
  let stands = false;
  let isFirst = true;
  for (const resource of ['sleep', 'recovery'].slice(0, random() < 0.5 ? 1 : 2)) {
    let before: BiometricEvent | undefined;
    for (let revision = 1; revision <= 1 + Math.floor(random() * 3); revision += 1) {
      const raises = random() < 0.7;
      const priority: Priority = raises ? (random() < 0.5 ? 'HIGH' : 'MEDIUM') : 'NORMAL';
      const event = anEvent({
        event_id: `${number}-${resource}-${revision}`,
        user_id: `user-${number % 25}`,
        flags: [],
        priority,
        triggers: raises ? [{ ...anEvent().triggers[0]!, alert_id: alert, first: isFirst }] : [],
        resource_id: `${resource}-${number}`,
        revision,
        raw: { topic: 'raw.oura', partition: number % partitions, offset: number * 10 + events.length },
        supersedes:
          before === undefined
            ? null
            : {
                event_id: before.event_id,
                priority: before.priority,
                alert_ids: before.triggers.map(({ alert_id }) => alert_id),
              },
      });
      if (raises) isFirst = false;
      events.push(event);
      before = event;
    }
    stands ||= before !== undefined && before.triggers.length > 0;
  }
  return { events, alerts: new Map([[alert, stands]]) };
}

async function send(stack: PriorityStack, nights: readonly Night[]): Promise<void> {
  await stack.send(nights.flatMap(({ events }) => events));
}

async function isDone(stack: PriorityStack, reader: ReaderProcess): Promise<boolean> {
  if (!reader.isAlive) throw new Error(`the reader ended: ${reader.errors}`);
  for (const [priority, topic] of Object.entries(stack.names.priority)) {
    const group = `${stack.prefix}neuros-${priority.toLowerCase()}`;
    if ((await stack.lag(group, [topic])) > 0) return false;
  }
  return true;
}

/** What the effects come to, alert by alert. */
function balance(t: TestContext, effects: readonly Effect[], standing: ReadonlyMap<string, boolean>) {
  const figures = { raised: standing.size, announced: 0, withdrawn: 0, twice: 0, silent: 0 };
  const wrongs = { wronglyWithdrawn: 0, lost: 0, wrong: 0 };
  for (const [alert, stands] of standing) {
    let isStanding = false;
    for (const { kind, may_be_repeat } of effects.filter(({ alert_id }) => alert_id === alert)) {
      figures[kind] += 1;
      if (kind === 'announced' && isStanding) {
        figures.twice += 1;
        if (!may_be_repeat) figures.silent += 1;
      }
      // A withdrawal whose handler was killed comes again, too.
      if (kind === 'withdrawn' && !isStanding && !may_be_repeat) wrongs.wronglyWithdrawn += 1;
      isStanding = kind === 'announced';
    }
    if (stands && !isStanding) wrongs.lost += 1;
    if (!stands && isStanding) wrongs.wrong += 1;
  }
  report(t, { kills, ...figures, ...wrongs });
  return { ...figures, ...wrongs };
}

/** The reader as a child process. */
class ReaderProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #calls = 0;
  errors = '';

  constructor(settings: NeurosReaderSettings) {
    this.#child = spawn(
      process.execPath,
      [...testProgram('faults/neuros-reader'), JSON.stringify(settings)],
      {
        cwd: projectRoot(),
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    this.#ended = once(this.#child, 'exit');
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#calls += chunk.toString().split('\n').length - 1;
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.errors += chunk.toString()));
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Waits until its handlers have been called so often. */
  async atWork(calls: number): Promise<void> {
    await until(
      'the handlers to be at work',
      () => {
        if (!this.isAlive) throw new Error(`the reader ended: ${this.errors}`);
        return this.#calls >= calls;
      },
      60_000,
    );
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.#ended;
    assert.equal(this.#child.exitCode, 0, this.errors);
  }
}

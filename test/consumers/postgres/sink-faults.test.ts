import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { anEvent } from '../../schemas/events.ts';
import { page, partitions, relay, sinkStack, until, type Relay, type SinkStack } from './harness.ts';
import { bridgeProgram } from '../../bridge-program.ts';

// Each test waits for real timeouts of the group: together they take as long as the slowest.
describe('a sink under faults', { timeout: 180_000, concurrency: true }, () => {
  test(
    'the sink waits for a database that is away for longer than a session, keeps its membership and continues',
    underFaults(async ({ stack, way, through, sendSome, expectAllStored }) => {
      const sink = await stack.sink(through());
      await sendSome(20);
      await expectAllStored();
      const members = async () => {
        const { groups } = await stack.admin.describeGroups([`${stack.prefix}postgres-sink`]);
        return { state: groups[0]!.state, ids: groups[0]!.members.map(({ memberId }) => memberId) };
      };
      const joined = await members();
      await way.cut();
      await sendSome(50);
      await until('the sink notices', async () => (await page(sink, '/readyz')).status === 503);
      assert.equal((await page(sink, '/readyz')).body, 'the database does not answer');
      assert.match((await page(sink, '/metrics')).body, /^sink_database_up 0$/m);
      // The broker drops a member that is silent for 10 s.
      await sleep(11_000);
      assert.deepEqual(await members(), joined);
      assert.equal((await page(sink, '/livez')).status, 200);
      await way.mend();
      await expectAllStored();
      assert.deepEqual(await page(sink, '/readyz'), { status: 200, body: 'ok' });
      assert.deepEqual(await members(), joined);
      await sink.stop();
      assert.equal(sink.lines.filter((line) => line.includes('the database does not answer')).length, 1);
      assert.equal(sink.lines.filter((line) => line.includes('the database is back')).length, 1);
    }),
  );

  test(
    'connections that the server ends in mid-use lose nothing',
    underFaults(async ({ stack, sendSome, expectAllStored }) => {
      const sink = await stack.sink();
      for (let round = 0; round < 5; round += 1) {
        await sendSome(100);
        await stack.database.rows(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'biometric-bridge-sink'",
          [stack.database.name],
        );
      }
      await expectAllStored();
      await sink.stop();
    }),
  );

  test(
    'a sink that waits for the database stops on request, and its successor loses nothing',
    underFaults(async ({ stack, way, through, sendSome, expectAllStored }) => {
      const sink = await stack.sink(through());
      await way.cut();
      await sendSome(30);
      await until('the sink notices', async () => (await page(sink, '/readyz')).status === 503);
      await sink.stop();
      await way.mend();
      const successor = await stack.sink(through());
      await expectAllStored();
      await successor.stop();
    }),
  );

  test(
    'sinks that start and stop while events flow lose none',
    underFaults(async ({ stack, sendSome, expectAllStored }) => {
      const first = await stack.sink();
      await sendSome(200);
      const second = await stack.sink();
      await sendSome(200);
      const third = await stack.sink();
      await sendSome(200);
      await first.stop();
      await sendSome(200);
      await second.stop();
      await sendSome(200);
      await expectAllStored();
      await third.stop();
    }),
  );

  test(
    'a process that is killed repeatedly between its steps loses nothing',
    underFaults(async ({ stack, sendSome, expectAllStored, rows }) => {
      // This process only migrates.
      const first = await stack.sink();
      await first.stop();
      for (let round = 0; round < 2; round += 1) {
        const child = spawn(process.execPath, [bridgeProgram, 'sink'], {
          env: { PATH: process.env['PATH'], ...stack.env },
          stdio: ['ignore', 'ignore', 'inherit'],
        });
        const ended = once(child, 'exit');
        try {
          await sendSome(500);
          const before = await rows();
          // Killed at the first sign of writing: batches are in flight, offsets are not yet committed.
          await until('it writes', async () => child.exitCode !== null || (await rows()) > before);
          assert.equal(child.exitCode, null);
          await sendSome(500);
        } finally {
          child.kill('SIGKILL');
          await ended;
        }
      }
      const last = await stack.sink();
      await expectAllStored();
      await last.stop();
    }),
  );
});

interface Faulty {
  readonly stack: SinkStack;
  /** In front of the database. */
  readonly way: Relay;
  /** The environment of a sink whose way to the database can be cut. */
  readonly through: () => NodeJS.ProcessEnv;
  /** Sends two versions of each of so many new resources, the newer one first half of the time. */
  readonly sendSome: (resources: number) => Promise<void>;
  readonly expectAllStored: () => Promise<void>;
  readonly rows: () => Promise<number>;
}

function underFaults(body: (faulty: Faulty) => Promise<void>): () => Promise<void> {
  return async () => {
    const stack = await sinkStack();
    const { hostname, port } = new URL(stack.database.url);
    const way = await relay(hostname, Number(port));
    let sequence = 0;
    const someEvents = (resources: number): BiometricEvent[] =>
      Array.from({ length: resources }, () => {
        sequence += 1;
        const at = sequence;
        const priority = (['HIGH', 'MEDIUM', 'NORMAL'] as const)[at % 3]!;
        const versions = [1, 2].map((revision) =>
          anEvent({
            resource_id: `r${at}`,
            revision,
            priority,
            event_id: `${at}-${revision}`,
            raw: { topic: 'raw.oura', partition: at % partitions, offset: at * 2 + revision },
          }),
        );
        return at % 2 === 0 ? versions : versions.reverse();
      }).flat();
    const count = async (): Promise<{ rows: number; newest: number }> => {
      const [counts] = await stack.database.rows<{ rows: number; newest: number }>(
        'SELECT count(*)::integer AS rows, count(*) FILTER (WHERE revision = 2)::integer AS newest FROM biometric_events',
      );
      return counts!;
    };
    try {
      await body({
        stack,
        way,
        through: () => {
          const url = new URL(stack.database.url);
          url.hostname = '127.0.0.1';
          url.port = String(way.port);
          return { POSTGRES_URL: url.href };
        },
        sendSome: (resources) => stack.send(someEvents(resources)),
        expectAllStored: async () => {
          await until('all committed', async () => (await stack.lag()) === 0);
          assert.deepEqual(await count(), { rows: sequence, newest: sequence });
        },
        rows: async () => (await count()).rows,
      });
    } finally {
      await stack.close();
      await way.close();
    }
  };
}

/** Instances of the generation before, at and after a promotion: late ones, sleepers, and those of an older build. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { abortPromotion, discard } from '../../replay/promote.ts';
import { RefusedCommand } from '../../replay/exit.ts';
import { readStatus } from '../../replay/status.ts';
import { bootstrapServers } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';
import { Application, registerContract, registryUrl } from './application.ts';
import { contractOf } from './contract-readers.ts';
import { checkOutRelease, releaseMissing } from './release-before.ts';
import {
  candidate,
  caughtUp,
  deployed,
  ended,
  instance,
  openGenerations,
  prepare,
  promoteTo,
  settled,
} from './reprocessing.ts';
import { faultSeed, rounds } from './settings.ts';
import { KafkaProxy } from './tcp-proxy.ts';
import type { WorkerProcess } from './worker-process.ts';

const timeout = 300_000;
/** Of Kafka's protocol: https://kafka.apache.org/protocol#protocol_error_codes */
const topicAuthorizationFailed = 29;

/** Waits until a process says that it is retired, and checks what its probes say and that it has joined no group. */
async function isIdle(worker: WorkerProcess): Promise<void> {
  const find = (pattern: RegExp): RegExpExecArray | undefined => pattern.exec(worker.log) ?? undefined;
  await until('the process to be retired', () => find(/retired: another generation/), 60_000);
  const [, port = ''] = await until('its admin port', () => find(/"port":(\d+),"msg":"admin port"/));
  const ask = async (path: string): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${port}/${path}`);
    return [answer.status, await answer.text()];
  };
  await until(
    'its streams to be closed',
    () => worker.state === undefined || worker.state === 'NOT_RUNNING' || undefined,
  );
  const [live] = await ask('livez');
  const [ready, why] = await ask('readyz');
  assert.equal(live, 200);
  assert.equal(ready, 503);
  assert.match(why, /retired: generation 1/);
  assert.ok(worker.isAlive);
}

/** As many steps as there are rounds; which come first follows from the seed. */
const steps = ['outputs', 'changelogs', 'offsets'] as const;
const sleepsAfter = steps.filter((_, at) => (at + faultSeed) % steps.length < rounds(1));

describe('an instance of the generation before', () => {
  test(
    'that starts late, behind the closing or once another is live, stays idle; given up, the old ones go on; a blind one ends',
    { timeout },
    async (t) => {
      const deployment = await deployed(t, { plant: ['tenfold'] });
      const { application, generations, old } = deployment;
      await candidate(deployment);
      let late: WorkerProcess | undefined;
      const given = promoteTo(generations, 1, {
        afterStep: async (step) => {
          if (step !== 'cut') return;
          late = instance(application, 0, 'late', { plant: ['tenfold'] });
          await Promise.all([isIdle(late), isIdle(old)]);
          assert.deepEqual(late.lines, [], 'it has not even joined');
          throw new Error('suspended for ever');
        },
      });
      await assert.rejects(given, /suspended for ever/);
      await assert.rejects(discard(generations, 1), /under way/);
      await abortPromotion(generations, 1);
      await Promise.all([old.running(), late?.running()]);
      await application.progress(400);
      await assert.rejects(discard(generations, 1), /instances of generation 1 run/);
      await promoteTo(generations, 1, {
        afterStep: (step) =>
          step === 'live' ? assert.rejects(discard(generations, 0), /taken over/) : undefined,
      });
      const later = instance(application, 0, 'later', { plant: ['tenfold'] });
      await Promise.all([isIdle(old), isIdle(later)]);
      assert.deepEqual(later.lines, []);
      // One that cannot read which generation is live does not guess.
      const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
      application.cluster.after(() => proxy.close());
      proxy.failsFetches(generations.control.topic, 0, topicAuthorizationFailed);
      const blind = instance(application, 0, 'blind', { env: { KAFKA_BOOTSTRAP_SERVERS: proxy.address } });
      assert.equal(await blind.ended(), 1);
      assert.deepEqual(blind.lines, []);
      assert.match(blind.log, /TOPIC_AUTHORIZATION_FAILED|not authorized/i);
      await ended(t, deployment);
      await assert.rejects(discard(generations, 1), /is live/);
      await discard(generations, 0);
      assert.deepEqual((await readStatus(generations)).to_discard, []);
      const last = instance(application, 0, 'last');
      await isIdle(last);
      await last.stop();
    },
  );

  for (const step of sleepsAfter)
    test(
      `that sleeps across the cut after the step ${step} of a commit commits nothing when it wakes`,
      { timeout },
      async (t) => {
        const deployment = await deployed(t, { plant: ['tenfold'], sleepAfter: step });
        const { application, generations, old } = deployment;
        await candidate(deployment);
        await old.sleep();
        await promoteTo(generations, 1);
        await settled(generations, 1);
        const committed = await application.committed();
        old.signal('SIGCONT');
        await isIdle(old);
        assert.deepEqual(await application.committed(), committed, 'its group has got nothing more');
        await ended(t, deployment, { step });
      },
    );

  test(
    'of a release without generations is named by the promotion, which refuses to begin',
    { skip: releaseMissing(), timeout },
    async (t) => {
      const folder = await checkOutRelease();
      const { register } = await contractOf(folder);
      const application = await Application.create(t, { partitions: 2, register });
      await registerContract({ SCHEMA_REGISTRY_URL: registryUrl() }, application.cluster.prefix);
      const generations = await openGenerations(application);
      application.traffic({ rate: 100, users: 60 });
      const old = application.worker('old', {}, folder);
      await old.running(120_000);
      await application.progress(100);
      await prepare(application, 1);
      const one = instance(application, 1, 'a');
      await caughtUp(generations, one);
      await assert.rejects(
        promoteTo(generations, 1),
        (error) => error instanceof RefusedCommand && /old-consumer-|old.*at 127/.test(error.message),
      );
      assert.deepEqual((await readStatus(generations)).closing, null);
      await application.progress(100);
      await one.stop();
    },
  );
});

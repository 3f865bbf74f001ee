import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { newTopicInFront } from '../streams/broker/new-topic.ts';
import { recordingLog } from '../streams/log.ts';
import { Application, registerContract, registryUrl } from './application.ts';
import { contractOf } from './contract-readers.ts';
import { checkOutRelease, ofRelease, releaseMissing } from './release-before.ts';
import { work } from './side-by-side.ts';
import type { WorkerProcess } from './worker-process.ts';

type StreamsModule = typeof import('../../streams/index.ts');
type TracedModule = typeof import('../streams/broker/traced.ts');

/** The records that a worker has restored its tasks from. */
function restoredBy({ lines }: WorkerProcess): number {
  return lines
    .filter((line) => line.startsWith('RESTORED '))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('a rolling upgrade', { skip: releaseMissing() }, () => {
  let release = '';
  before(
    async () => {
      release = await checkOutRelease();
    },
    { timeout: 400_000 },
  );

  test(
    'this build takes over from the release before, under load, and loses and repeats nothing',
    { timeout: 300_000 },
    async (t) => {
      const { register } = await contractOf(release);
      const application = await Application.create(t, { register });
      await registerContract({ SCHEMA_REGISTRY_URL: registryUrl() }, application.cluster.prefix);
      const traffic = application.traffic({ rate: 150 });
      const start = async (id: string, folder?: string): Promise<WorkerProcess> => {
        const worker = application.worker(id, {}, folder);
        await worker.running();
        return worker;
      };
      // The member that was in the group first leads it, until it leaves.
      const first = await start('old-1', release);
      await work(application, first);
      const second = await start('old-2', release);
      await work(application, first, second);
      const young = await start('new');
      await work(application, first, second, young);
      assert.ok(restoredBy(young) > 0, 'this build has restored nothing that the release before had written');
      await first.stop();
      await work(application, second, young);
      await second.stop();
      await work(application, young);

      // There is no way back with this state: the release before must stop loudly, and spoil nothing.
      await young.stop();
      const back = application.worker('old-3', {}, release);
      assert.notEqual(await back.ended(), 0);
      assert.match(back.log, /a store holds a value of layout .*run the build that wrote it/);
      const again = await start('new-2');
      await work(application, again);

      const sent = await traffic.stop();
      // What the release before made has its policies and its layouts, and so differs.
      const { state_entries } = await application.audit({ sent }, ['missing', 'duplicates']);
      assert.ok(state_entries > 0, 'there is no state');
      await again.stop();
    },
  );

  for (const leader of ['older', 'newer'] as const)
    test(
      `case 8: a new source topic in front of the others leaves nothing unread beside the release before, with the ${leader} as leader`,
      { timeout: 90_000 },
      (t) =>
        newTopicInFront(t, leader, async (cluster, from, to) => {
          const { KafkaStreams } = await ofRelease<StreamsModule>(release, 'streams/index.ts');
          const { traced } = await ofRelease<TracedModule>(release, 'test/streams/broker/traced.ts');
          const log = recordingLog();
          const { connection, prefix } = cluster;
          const options = { connection, applicationId: `${prefix}app`, instanceId: 'older', log };
          const streams = new KafkaStreams(traced(from, to), options);
          cluster.after(() => streams.close());
          await streams.start();
          return { streams, entries: log.entries };
        }),
    );
});

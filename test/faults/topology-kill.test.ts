import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CommitStep } from '../../topology/streams/index.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { Flow } from '../streams/broker/flow.ts';
import { assertOnceEach } from '../streams/broker/traced.ts';
import { until } from '../streams/until.ts';
import { WorkerProcess } from './worker-process.ts';

/** Repeats a run: the moments of the kills follow from it. */
const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 31));

/** Numbers in [0, 1) that follow from a seed alone (mulberry32). */
function random(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A topology between topics of its own. */
class Application {
  readonly cluster: Cluster;
  readonly from: readonly string[];
  readonly to: string;
  readonly #t: TestContext;

  private constructor(t: TestContext, cluster: Cluster, topics: readonly string[]) {
    const [a = '', b = '', to = ''] = topics;
    this.#t = t;
    this.cluster = cluster;
    this.from = [a, b];
    this.to = to;
  }

  static async create(t: TestContext): Promise<Application> {
    const cluster = await Cluster.open(t);
    return new Application(t, cluster, await cluster.createTopics(['a', 'b', 'out']));
  }

  worker(instanceId: string, crashAfter?: CommitStep): WorkerProcess {
    const worker = new WorkerProcess({
      brokers: bootstrapServers(),
      applicationId: `${this.cluster.prefix}app`,
      instanceId,
      from: this.from,
      to: this.to,
      ...(crashAfter === undefined ? {} : { crashAfter }),
    });
    this.#t.after(() => worker.dispose());
    return worker;
  }

  /** Waits until everything sent was processed, and compares. */
  async check(sent: number): Promise<void> {
    await this.cluster.drained(this.from);
    assertOnceEach(await this.cluster.read([this.to]), sent);
  }

  /** How many records, markers included, stand in the output topic. */
  async written(): Promise<number> {
    const ends = await this.cluster.admin.fetchTopicOffsets(this.to, { isolationLevel: 0 });
    return ends.reduce((sum, { high }) => sum + Number(high), 0);
  }

  /** The ends of the input partitions, by `topic-partition`. */
  async ends(): Promise<Map<string, bigint>> {
    const ends = new Map<string, bigint>();
    for (const topic of this.from) {
      for (const { partition, high } of await this.cluster.admin.fetchTopicOffsets(topic)) {
        ends.set(`${topic}-${partition}`, BigInt(high));
      }
    }
    return ends;
  }

  /** Waits until the group has committed all of `ends`. */
  async passed(ends: ReadonlyMap<string, bigint>): Promise<void> {
    await until('the group to pass the ends', async () => {
      const groupId = `${this.cluster.prefix}app`;
      const topics = await this.cluster.admin.fetchOffsets({ groupId, topics: [...this.from] });
      const isPassed = topics.every(({ topic, partitions }) =>
        partitions.every(
          ({ partition, offset }) => BigInt(offset) >= (ends.get(`${topic}-${partition}`) ?? 0n),
        ),
      );
      return isPassed || undefined;
    });
  }

  /** Waits until more is written than was before. */
  async progress(): Promise<void> {
    const before = await this.written();
    await until('progress', async () => (await this.written()) > before || undefined);
  }
}

// Most of each test is waiting for the group to give a dead member up, so they wait side by side.
describe('a topology under a steady flow', { concurrency: true, timeout: 120_000 }, () => {
  test('loses and repeats nothing when its processes are killed at random moments', async (t) => {
    t.diagnostic(`FAULT_SEED=${seed}`);
    const next = random(seed);
    const application = await Application.create(t);
    const flow = await Flow.start(application.cluster, application.from);
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    for (let kill = 0; kill < 3; kill += 1) {
      await application.progress();
      await sleep(next() * 500);
      const victim = Math.floor(next() * workers.length);
      workers[victim]!.signal('SIGKILL');
      assert.equal(await workers[victim]!.ended(), 'SIGKILL');
      workers[victim] = application.worker(`i${victim}`);
      await workers[victim].running();
    }
    await application.progress();
    await application.check(await flow.stop());
    for (const worker of workers) {
      worker.signal('SIGTERM');
      assert.equal(await worker.ended(), 0);
    }
  });

  test('refuses what a process still wants to commit that slept past its session', async (t) => {
    const application = await Application.create(t);
    const flow = await Flow.start(application.cluster, application.from);
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    await application.progress();
    const [zombie, other] = workers as [WorkerProcess, WorkerProcess];
    await zombie.sleep();
    // The other one gets all tasks once the group has given the sleeper up and the sleeper's transaction has ended.
    await application.passed(await application.ends());
    const before = zombie.errors.length;
    zombie.signal('SIGCONT');
    await until(
      'the sleeper to be refused',
      () => /"reason":"[A-Z_]+"/.test(zombie.errors.slice(before)) || undefined,
    );
    await application.progress();
    await application.check(await flow.stop());
    for (const worker of [zombie, other]) {
      worker.signal('SIGTERM');
      assert.equal(await worker.ended(), 0);
    }
  });

  for (const step of ['begin', 'outputs', 'offsets', 'commit'] as const) {
    test(`loses and repeats nothing when it dies after the step ${step} of a commit`, async (t) => {
      const application = await Application.create(t);
      const flow = await Flow.start(application.cluster, application.from);
      assert.equal(await application.worker('i0', step).ended(), 'SIGKILL');
      const successor = application.worker('i0');
      await successor.running();
      await application.progress();
      await application.check(await flow.stop());
      successor.signal('SIGTERM');
      assert.equal(await successor.ended(), 0);
    });
  }
});

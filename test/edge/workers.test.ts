import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { bridgeScript } from '../../process/root.ts';
import { partitions, secrets, signed, testTopics, until, type TestTopics } from '../ingress/harness.ts';
import { edgeProcess, get, metric, spawnIngress, type EdgeProcess } from './process.ts';

// Some twenty-five processes are started, most of them one after the other: where each takes 5 s, that is two minutes.
describe('several workers', { timeout: 240_000 }, () => {
  let topics: TestTopics;
  before(async () => {
    topics = await testTopics();
  });
  after(() => topics.close());

  function workersOf(ingress: EdgeProcess): number[] {
    return ingress.lines
      .filter(({ msg, workers }) => msg === 'the ingress listens' && workers === undefined)
      .map(({ pid }) => Number(pid));
  }
  async function send(port: number, count: number): Promise<void> {
    for (let sent = 0; sent < count; sent += 1) {
      assert.equal((await signed(port, 'oura', `{"user_id":"u-${sent}"}`)).status, 200);
    }
  }

  test('share a port and report metrics and health as one process, on that port or on the admin port', async (t) => {
    const ingress = await edgeProcess(t, topics.prefix, { WORKERS: '2' });
    assert.equal(workersOf(ingress).length, 2);
    await send(ingress.port, 20);
    const text = await ingress.metrics();
    assert.equal(metric(text, 'bridge_ingress_webhooks_total'), 20);
    assert.equal(metric(text, 'bridge_ingress_webhook_duration_seconds_count'), 20);
    const summary = (await get(ingress.adminPort, '/metrics', { accept: 'application/json' })).json();
    assert.equal(summary['processed_webhooks_total'], 20);
    assert.equal((await get(ingress.adminPort, '/readyz')).body, 'ok\n');
    assert.equal((await get(ingress.adminPort, '/health')).json()['status'], 'healthy');
    assert.equal((await get(ingress.port, '/readyz')).status, 200);
    assert.equal((await get(ingress.port, '/metrics')).status, 404);

    // SIGHUP makes processes reread their files; it ends none.
    ingress.child.kill('SIGHUP');
    await send(ingress.port, 4);
    assert.equal(workersOf(ingress).length, 2);
    assert.equal(await ingress.stop(), 0);
    assert.deepEqual(ingress.strays, []);

    const { child, lines, strays } = spawnIngress(t, topics.prefix, { WORKERS: '2', ADMIN_PORT: '' });
    await until(() => lines.some(({ workers }) => workers === 2), 'both listen');
    const port = Number(lines.find(({ workers }) => workers === 2)!['port']);
    await send(port, 10);
    for (let asked = 0; asked < 4; asked += 1) {
      const one = (await get(port, '/metrics', { accept: 'application/json' })).json();
      assert.equal(one['processed_webhooks_total'], 10);
    }
    assert.equal((await get(port, '/health')).json()['status'], 'healthy');
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    await exit;
    assert.deepEqual([child.exitCode, strays], [0, []]);
  });

  test('answer on the admin port until the last of them has drained, also from source', async (t) => {
    const env = { WORKERS: '2', DRAIN_GRACE_MS: '60000' };
    const ingress = await edgeProcess(t, topics.prefix, env, bridgeScript());
    // An open connection keeps a worker draining until it is closed.
    const held = connect(ingress.port, '127.0.0.1');
    await once(held, 'connect');
    const exit = once(ingress.child, 'exit');
    ingress.child.kill('SIGTERM');
    await until(async () => {
      const { status, body } = await get(ingress.adminPort, '/readyz');
      return status === 503 && body.includes('"code":"stopping"');
    }, 'the admin port says that it is stopping');
    assert.equal((await get(ingress.adminPort, '/metrics', { accept: 'text/plain' })).status, 200);
    held.destroy();
    assert.deepEqual([(await exit)[0], ingress.strays], [0, []]);
  });

  test('are replaced when they die, and no counter decreases', async (t) => {
    const ingress = await edgeProcess(t, topics.prefix, { WORKERS: '2' });
    await send(ingress.port, 20);
    assert.equal(metric(await ingress.metrics(), 'bridge_ingress_webhooks_total'), 20);
    for (let killed = 0; killed < 2; killed += 1) {
      process.kill(workersOf(ingress)[killed]!, 'SIGKILL');
      await until(() => workersOf(ingress).length === 3 + killed, 'another one listens');
    }
    assert.equal(metric(await ingress.metrics(), 'bridge_ingress_webhooks_total'), 20);
    await send(ingress.port, 10);
    assert.equal(metric(await ingress.metrics(), 'bridge_ingress_webhooks_total'), 30);
    assert.equal(await ingress.stop(), 0);
    assert.deepEqual(ingress.strays, []);
  });

  test('that cannot start or die repeatedly end the process with exit code 1 and a reason', async (t) => {
    const wrong = spawnIngress(t, topics.prefix, {
      WORKERS: '2',
      TOPIC_PARTITIONS: String(partitions + 1),
    });
    // The last of its lines may be read after its exit.
    const [code] = (await once(wrong.child, 'close')) as [number];
    assert.equal(code, 1);
    assert.match(JSON.stringify(wrong.lines), /has 4 partitions/);
    assert.match(JSON.stringify(wrong.lines.at(-1)), /before all were started/);

    const ingress = await edgeProcess(t, topics.prefix, { WORKERS: '2', ...secrets });
    const exit = once(ingress.child, 'close') as Promise<[number]>;
    let killed = 0;
    // Killing the workers as soon as they start makes them die young.
    const killing = setInterval(() => {
      for (const pid of workersOf(ingress).slice(killed)) {
        killed += 1;
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It is being stopped already.
        }
      }
    }, 20);
    // Also when the test ends before the ingress does: the file would go on for ever.
    t.after(() => clearInterval(killing));
    assert.equal((await exit)[0], 1);
    assert.ok(killed >= 9, `${killed} killed`);
    assert.match(JSON.stringify(ingress.lines), /workers in a row ended right after their start/);
  });
});

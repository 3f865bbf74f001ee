import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { StreamWorkers } from '../../streams/index.ts';
import { until } from './until.ts';
import type { FixtureData } from './worker-fixture.ts';

function workers(t: TestContext, second: FixtureData['second']): StreamWorkers {
  const tsx = import.meta.resolve('tsx/esm/api');
  const fixture = new URL('./worker-fixture.ts', import.meta.url).href;
  const source = `(await import(${JSON.stringify(tsx)})).register(); await import(${JSON.stringify(fixture)});`;
  const streams = new StreamWorkers({
    module: new URL(`data:text/javascript,${encodeURIComponent(source)}`),
    threads: 2,
    data: { second } satisfies FixtureData,
    closeTimeoutMs: 1_000,
  });
  t.after(() => streams.close());
  return streams;
}

const reaches = (streams: StreamWorkers, state: string): Promise<true> =>
  until(`state ${state}`, () => streams.state === state || undefined);

describe('stream threads', () => {
  test('are running when all of them are, answer for their metrics, and end when they are closed', async (t) => {
    const streams = workers(t, 'run');
    assert.equal(streams.state, 'CREATED');
    await streams.start();
    await reaches(streams, 'RUNNING');
    assert.deepEqual(await streams.metrics(), ['metrics of 1', 'metrics of 2']);
    await streams.close();
  });

  test('do not start when one of them cannot, and say why', async (t) => {
    await assert.rejects(workers(t, 'refuse').start(), { code: 'INVALID_TOPICS', message: 'no topics' });
  });

  test('fail when one of them fails, with its reason', async (t) => {
    const streams = workers(t, 'fail');
    await streams.start();
    await assert.rejects(streams.failed, { code: 'RECOVERIES_EXHAUSTED', message: 'too many' });
    assert.equal(streams.state, 'ERROR');
  });

  test('grow silent when one of them hangs, leave its metrics out, and still end it on close', async (t) => {
    const streams = workers(t, 'hang');
    await streams.start();
    // A thread that has not reported yet is silent too.
    await reaches(streams, 'RUNNING');
    await until('silence', () => (streams.silentForMs ?? 0) > 1_500 || undefined);
    assert.deepEqual(await streams.metrics(), ['metrics of 1']);
    await streams.close();
  });

  test('are terminated when they do not close in time', async (t) => {
    const streams = workers(t, 'ignore close');
    await streams.start();
    const begun = performance.now();
    await streams.close();
    assert.ok(performance.now() - begun >= 1_000);
  });
});

/** What the tests of StreamWorkers run in their worker threads: streams that behave as asked, without a broker. */
import { serveStreamWorker, StreamsError, type State } from '../../streams/index.ts';

export interface FixtureData {
  /** What thread 2 does; thread 1 is always well. */
  readonly second: 'run' | 'refuse' | 'fail' | 'hang' | 'ignore close';
}

await serveStreamWorker((data, threadName) => {
  const { second } = data as FixtureData;
  const does = threadName === '2' ? second : 'run';
  let state: State = 'CREATED';
  const streams = {
    get state(): State {
      return state;
    },
    silentForMs: 0,
    failed: new Promise<never>((_, reject) => {
      if (does === 'fail')
        setTimeout(() => reject(new StreamsError('RECOVERIES_EXHAUSTED', 'too many')), 100);
    }),
    start: () => {
      if (does === 'refuse') return Promise.reject(new StreamsError('INVALID_TOPICS', 'no topics'));
      state = 'RUNNING';
      if (does === 'hang')
        setTimeout(() => {
          for (;;);
        }, 1_000);
      return Promise.resolve();
    },
    close: () => (does === 'ignore close' ? new Promise<void>(() => undefined) : Promise.resolve()),
  };
  return Promise.resolve({ streams, metrics: () => Promise.resolve(`metrics of ${threadName}`) });
});

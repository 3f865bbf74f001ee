/** One of several stream threads of the stateless topology. */
import { serveStreamWorker } from '../../../streams/index.ts';
import { statelessStreams, type StatelessSettings } from '../stateless.ts';

await serveStreamWorker((data, threadName) => {
  const { streams, progress } = statelessStreams(data as StatelessSettings, threadName);
  return Promise.resolve({ streams, metrics: () => Promise.resolve(progress) });
});

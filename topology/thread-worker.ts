/** One stream thread of the topology process, as a worker thread. */
import { Registry } from 'prom-client';
import { createLog } from '../process/log.ts';
import { biometricStreams, type InstanceSettings } from './instance.ts';
import { serveStreamWorker } from '../streams/index.ts';

await serveStreamWorker((data, threadName) => {
  const settings = data as InstanceSettings & { readonly logName: string };
  const registry = new Registry();
  const log = createLog({ name: settings.logName, level: settings.config.LOG_LEVEL });
  const streams = biometricStreams(settings, { log, registry, threadName });
  return Promise.resolve({ streams, metrics: () => registry.getMetricsAsJSON() });
});

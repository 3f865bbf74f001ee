import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bootstrapServers } from '../streams/broker/cluster.ts';
import { soon } from '../streams/until.ts';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';
import { apiKeys, KafkaProxy, type Fault } from './tcp-proxy.ts';

const times = rounds(1);
const swallowed = Object.entries(apiKeys).map(
  ([name, apiKey]) => [`the answer to ${name} is lost`, { type: 'swallow', apiKey }] as const,
);
const cut = Object.entries(apiKeys).map(
  ([name, apiKey]) => [`${name} arrives by half`, { type: 'cut', apiKey }] as const,
);

// InitProducerId is sent only by a new producer: after another fault.
const withoutInit = ([, { apiKey }]: readonly [string, { apiKey: number }]): boolean =>
  apiKey !== apiKeys.initProducerId;

describe('over a network that breaks', { timeout: 120_000 + times * 120_000 }, () => {
  test('no record is lost or repeated, whichever request of a transaction is cut off or left unanswered', async (t) => {
    const random = seeded(t, 'network');
    const application = await Application.create(t);
    const proxy = await KafkaProxy.start(bootstrapServers()[0]!);
    application.cluster.after(() => proxy.close());
    const traffic = application.traffic({ rate: 150 });
    const worker = application.worker('i0', { env: { KAFKA_BOOTSTRAP_SERVERS: proxy.address } });
    await worker.running();
    const faults: string[] = [];
    for (let round = 0; round < times; round += 1) {
      const fates: (readonly [string, Fault])[] = [...swallowed, ...cut].filter(withoutInit);
      fates.push(
        ['any request arrives by half', { type: 'cut' }],
        ['any request arrives by half', { type: 'cut' }],
      );
      while (fates.length > 0) {
        const [[what, fault] = ['', { type: 'cut' } as Fault]] = fates.splice(
          Math.floor(random() * fates.length),
          1,
        );
        await application.progress();
        await sleep(random() * 100);
        // Now and then the recovery itself is broken.
        const then: Fault | undefined =
          random() < 0.3 ? { type: 'swallow', apiKey: apiKeys.initProducerId } : undefined;
        await soon(what, proxy.breaks(fault, then), 30_000);
        faults.push(what);
      }
    }
    await application.progress();
    const sent = await traffic.stop();
    await application.audit({ broken: faults.length, sent });
    await worker.stop();
  });
});

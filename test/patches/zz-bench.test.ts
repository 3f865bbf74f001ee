import { test } from 'node:test';
import kafkajs from 'kafkajs';
import { brokerClient, newTopic, withAdmin } from './broker.ts';
test('bench', { timeout: 200_000 }, async () => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const producer = kafka.producer();
  await producer.connect();
  const value = Buffer.alloc(100, 'v');
  const t0 = performance.now();
  for (let i = 0; i < 1000; i++) {
    await producer.send({ topic, messages: Array.from({ length: 1000 }, (_, j) => ({ key: `user-0000-1111-2222-3333-${String(i * 1000 + j).padStart(16, '0')}`, value })) });
  }
  console.log('produce s', (performance.now() - t0) / 1000, kafkajs.CompressionTypes.None);
  await producer.disconnect();
  await withAdmin(kafka, async (admin) => {
    for (const maxBytes of [1_048_576, 1_048_576, 1_048_576, 262_144, 4_194_304]) {
      const cpu = process.cpuUsage();
      const t = performance.now();
      let n = 0, f = 0;
      for (let offset = '0'; ; ) {
        const a = await admin.fetchRecords({ topic, partition: 0, offset, maxBytes });
        n += a.records.length; f++;
        offset = a.nextOffset;
        if (offset === a.highWatermark) break;
      }
      const s = (performance.now() - t) / 1000;
      const { user, system } = process.cpuUsage(cpu);
      console.log(maxBytes, 'records', n, 'fetches', f, 's', s.toFixed(2), 'per s', Math.round(n / s), 'cpu s', (user + system) / 1e6, 'per cpu s', Math.round(n / ((user + system) / 1e6)));
    }
  });
});

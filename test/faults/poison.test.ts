import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawHeader, headerText } from '../../schemas/raw-record.ts';
import { errorHeader } from '../../streams/errors.ts';
import { keyPartition } from '../../kafka/client.ts';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);
const dayMs = 86_400_000;

test(
  'poison records are dead-lettered once each, complete and unchanged, leave no state and stop nothing',
  { timeout: 120_000 + times * 60_000 },
  async (t) => {
    seeded(t, 'poison');
    // Without compression, sizes are predictable.
    const application = await Application.create(t, { env: { KAFKA_COMPRESSION_TYPE: 'none' } });
    const { cluster, names, partitions } = application;
    // Room for some ordinary events in one batch, but not for one of a user whose name takes so much that it alone is too large.
    await application.configure(names.priority.HIGH, { 'max.message.bytes': '2500' });
    // A raw topic that accepts records its output topics refuse.
    await application.configure(names.raw.whoop, { 'message.timestamp.after.max.ms': String(30 * dayMs) });
    // Few events of high priority: on a busy machine many in one transaction would be too large together, again and again.
    const traffic = application.traffic({ critical: 0.002 });
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    for (let round = 0; round < times; round += 1) {
      await application.progress(300);
      const alarming = (user: string, timestamp: number) => {
        const key = Buffer.from(user);
        const reading = { user_id: user, timestamp: new Date().toISOString(), hrv_data: { rmssd: 12 } };
        return {
          key,
          partition: keyPartition(key, partitions),
          value: Buffer.from(JSON.stringify({ ...reading, sleep: { score: 20 }, recovery: { score: 5 } })),
          timestamp,
          headers: { [rawHeader.scheme]: Buffer.from('plain'), traceparent: Buffer.from('00-1') },
        };
      };
      await cluster.append([
        { ...alarming(`${'界'.repeat(250)}${round}`, Date.now()), topic: names.raw.oura },
        { ...alarming(`ahead-${round}`, Date.now() + 2 * dayMs), topic: names.raw.whoop },
      ]);
      await application.passed(await application.ends());
      await application.progress(300);
    }
    const sent = await traffic.stop();
    const figures = await application.audit({ sent });
    assert.equal(sent.failed_sends, 0);
    assert.equal(figures.refused, 2 * times);
    assert.equal(figures.dead_letters, sent.malformed + 2 * times);

    const raw = new Map(
      (await cluster.read(application.rawTopics)).map((record) => [
        `${record.topic}-${record.partition}@${record.offset}`,
        record,
      ]),
    );
    const letters = await cluster.read([names.deadLetters]);
    const codes: Record<string, number> = {};
    for (const letter of letters) {
      const error = (name: keyof typeof errorHeader): string => {
        const text = headerText(letter.headers, errorHeader[name]);
        assert.ok(text !== undefined && (text !== '' || name === 'stacktrace'), `${name} is missing`);
        return text;
      };
      for (const name of ['message', 'stacktrace', 'node'] as const) error(name);
      const code = error('exception');
      codes[code] = (codes[code] ?? 0) + 1;
      const origin = raw.get(`${error('topic')}-${error('partition')}@${error('offset')}`);
      assert.ok(origin, 'it came from nowhere');
      assert.deepEqual([letter.key, letter.value], [origin.key, origin.value]);
      assert.equal(letter.timestamp, origin.timestamp);
      const errors = new Set<string>(Object.values(errorHeader));
      const own = Object.entries(letter.headers).filter(([name]) => !errors.has(name));
      assert.deepEqual(own, Object.entries(origin.headers));
    }
    assert.equal(codes['MESSAGE_TOO_LARGE'], times);
    assert.equal(codes['INVALID_TIMESTAMP'], times);
    t.diagnostic(JSON.stringify(codes));
    for (const worker of workers) await worker.stop();
  },
);

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rawHeader } from '../../schemas/raw-record.ts';
import { Application } from '../faults/application.ts';

const dayMs = 86_400_000;

test(
  'case 3: the dead letter of a record that is dated long ago was deleted by the next retention run, and no other one is taken',
  { timeout: 120_000 },
  async (t) => {
    const application = await Application.create(t);
    const { cluster, names } = application;
    const record = (ageMs: number) => ({
      topic: names.raw.oura,
      key: Buffer.from(`aged-${ageMs}`),
      value: Buffer.from('{"cut off'),
      timestamp: Date.now() - ageMs,
      headers: { [rawHeader.scheme]: Buffer.from('plain') },
    });
    // Its sender hears of it, where it would be deleted unread.
    for (const ageMs of [Date.now(), 29 * dayMs])
      await assert.rejects(cluster.append([record(ageMs)]), { type: 'INVALID_TIMESTAMP' });
    const startedAt = Date.now();
    await cluster.append([record(27 * dayMs)]);
    // As a topic takes it that an older build has created.
    await application.configure(names.raw.oura, {
      'message.timestamp.before.max.ms': '9223372036854775807',
      'retention.ms': '-1',
    });
    await cluster.append([record(20_000 * dayMs)]);
    const worker = application.worker('i0');
    await worker.running();
    await application.passed(await application.ends(), 30_000);
    const letters = await cluster.read([names.deadLetters]);
    assert.deepEqual(letters.map(({ key }) => String(key)).sort(), [
      `aged-${20_000 * dayMs}`,
      `aged-${27 * dayMs}`,
    ]);
    for (const { timestamp } of letters) assert.ok(timestamp >= startedAt && timestamp <= Date.now());
    await worker.stop();
  },
);

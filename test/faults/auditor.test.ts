import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changelogTopic } from '../../streams/changelogs.ts';
import { Application } from './application.ts';
import type { AuditFigures } from './auditor.ts';

test(
  'the auditor finds missing, repeated, changed and disordered outputs',
  { timeout: 120_000 },
  async (t) => {
    const application = await Application.create(t);
    const { cluster, names } = application;
    const traffic = application.traffic();
    const worker = application.worker('i0');
    await worker.running();
    await application.progress(500);
    await traffic.stop();
    const clean = await application.audit();
    assert.ok(clean.events > 0 && clean.dropped > 0 && clean.state_entries > 0, JSON.stringify(clean));
    await worker.stop();

    /** What one more record in some topic changes in the figures. */
    let last: AuditFigures = clean;
    const after = async (
      record: Parameters<typeof cluster.append>[0][number],
    ): Promise<Record<string, number>> => {
      await cluster.append([record]);
      const figures = await application.examine();
      const kinds = ['missing', 'duplicates', 'unlinked', 'different', 'state_different'] as const;
      const changes = kinds.map((kind) => [kind, figures[kind] - last[kind]] as const);
      last = figures;
      return Object.fromEntries(changes.filter(([, change]) => change !== 0));
    };

    const events = await cluster.read([names.priority.NORMAL]);
    const event = events[0]!;
    // One output too many, after the one that should follow it.
    assert.deepEqual(await after(event), { duplicates: 1, different: 2 });
    assert.deepEqual(await after({ ...event, headers: {} }), { duplicates: 1, different: 1 });
    assert.deepEqual(await after({ ...event, value: Buffer.from('no event') }), { different: 1 });

    const raw = (await cluster.read([names.raw.oura])).find(
      ({ value }) => value?.at(-1) === '}'.charCodeAt(0),
    )!;
    const body = String(raw.value).replace('"user_id":"u', '"user_id":"another-u');
    const { state_different, ...missing } = await after({ ...raw, value: Buffer.from(body) });
    assert.deepEqual(missing, { missing: 1, different: 1 });
    assert.ok((state_different ?? 0) >= 2, 'a reading leaves its revision and its night in the state');

    const topic = changelogTopic(application.applicationId, 'revisions');
    const changelog = await cluster.read([topic]);
    const entry = changelog[0]!;
    assert.deepEqual(await after({ ...entry, value: null }), { state_different: 1 });
    assert.deepEqual(await after({ ...entry, key: Buffer.from('unknown') }), { state_different: 1 });
  },
);

import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { defaultRules } from '../../topology/triggers.ts';
import { auditOf, endsOf } from '../replay/audit-log.ts';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { candidate, deployed, promoteTo, settled } from './reprocessing.ts';

const timeout = { timeout: 420_000 };

test('a run whose instances are killed has no exceptions', timeout, async (t) => {
  const application = await Application.create(t);
  const traffic = application.traffic({ rate: 400 });
  const first = application.worker('one');
  await first.running();
  await application.progress(200);
  const crashing = application.worker('two', { crash: { step: 'changelogs', transaction: 3 } });
  await crashing.ended();
  await first.kill();
  const again = application.worker('one');
  await application.progress(200);
  await again.kill();
  application.worker('three');
  await traffic.stop();
  await application.audit();
  const printed = await auditOf(application);
  assert.deepEqual(printed.examples, []);
  assert.equal(endsOf(printed)['unprovable'], undefined);
});

test('a day with a promotion and the way back in it has no exceptions', timeout, async (t) => {
  const file = join(tmpdir(), `audit-rules-${process.pid}.json`);
  t.after(() => rmSync(file, { force: true }));
  // Another build, because its rules are others: it takes more of the events for critical.
  const [critical, high, ...others] = defaultRules;
  const rules = [{ ...critical, below: 35 }, { ...high, atLeast: 35 }, ...others];
  writeFileSync(file, JSON.stringify(rules));
  const deployment = await deployed(t);
  const { application, generations, traffic } = deployment;
  await candidate(deployment, 1, { env: { TRIGGER_RULES_FILE: file } });
  await promoteTo(generations, 1);
  await settled(generations, 1);
  await application.progress(300, 60_000, generations.groupOf(1));
  await candidate(deployment, 2, { from: 0 });
  await promoteTo(generations, 2, { from: 0 });
  await settled(generations, 2);
  await traffic.stop();
  await until('the last records', async () => {
    const { devices } = await auditOf(application);
    return (
      Object.values(devices).every(({ ends }) => Object.keys(ends['pending'] ?? {}).length === 0) || undefined
    );
  });
  const printed = await auditOf(application);
  assert.deepEqual(printed.examples, []);
  for (const generation of [1, 2]) {
    const outputs = Object.values(printed.devices).map(
      (one) => one.outputs[`corrections of generation ${generation}`] ?? 0,
    );
    assert.ok(
      outputs.some((of) => of > 0),
      `generation ${generation} has corrected nothing`,
    );
  }
  await application.stop();
});

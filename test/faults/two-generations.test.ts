/** Generations in a row, of two instances each, under traffic. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readStatus } from '../../replay/status.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { caughtUp, deployed, ended, instance, prepare, promoteTo, settled } from './reprocessing.ts';

/** How often the status is asked for: each answer reads two changelogs. */
const askEveryMs = 1_000;

test(
  'a fault, its correction and a change of rules, by two instances each that take tasks from one another',
  { timeout: 280_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'rules-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const rules = join(folder, 'rules.json');
    // More is critical, and short sleep raises nothing.
    const changed = defaultRules
      .filter(({ metric }) => metric !== 'sleep_score')
      .map((rule) => ('below' in rule && rule.below === 25 ? { ...rule, below: 30 } : rule));
    writeFileSync(rules, JSON.stringify(changed));
    const deployment = await deployed(t, { plant: ['tenfold'] }, { partitions: 4, rate: 200 });
    const { application, generations } = deployment;
    await instance(application, 0, 'b', { plant: ['tenfold'] }).running();
    // The status is asked for all the time.
    const over = new AbortController();
    t.after(() => over.abort());
    let asked = 0;
    const asking = (async () => {
      while (!over.signal.aborted) {
        await readStatus(generations);
        asked += 1;
        await sleep(askEveryMs);
      }
    })();
    asking.catch(() => undefined);
    const pauses: number[] = [];
    for (const [generation, settings] of [
      [1, { env: { TRIGGER_RULES_FILE: rules } }],
      [2, {}],
    ] as const) {
      await prepare(application, generation);
      const first = instance(application, generation, 'a', settings);
      // The second one joins while the first seeds or catches up.
      await first.running();
      const second = instance(application, generation, 'b', settings);
      await caughtUp(generations, second);
      // A third one joins, and leaves, around the takeover.
      const third = instance(application, generation, 'c', settings);
      await third.running();
      const reader = await application.reader();
      const leaving = promoteTo(generations, generation, {
        afterStep: (step) => (step === 'live' ? third.stop() : undefined),
      });
      await leaving;
      await settled(generations, generation);
      await reader.caughtUp();
      pauses.push((await reader.stop()).longest_gap_ms);
    }
    over.abort();
    await asking;
    await ended(t, deployment, { pauses, asked });
  },
);

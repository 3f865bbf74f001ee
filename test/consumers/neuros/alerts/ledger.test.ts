import { describe, test } from 'node:test';
import fc from 'fast-check';
import { claimedAlerts } from '../../../../consumers/neuros/alerts/claims.ts';
import { memory, memoryStore } from '../../../../consumers/neuros/alerts/memory.ts';
import { nights } from './night.ts';
import { assertPromised, drawn, faultyStore, readAll } from './readers.ts';
import { runs } from './runs.ts';

describe('alerts of a night, read over three topics in any order', { timeout: 600_000 }, () => {
  test('with a store nothing is lost or silently repeated, whatever crashes', async () => {
    await fc.assert(
      fc.asyncProperty(nights({ staleForGood: false }), fc.nat(), async (log, seed) => {
        const draw = drawn(seed);
        let clock = 0;
        const shared = memoryStore({ maxEntries: 1_000 });
        const effects = await readAll({
          log,
          draw,
          crashes: draw(4),
          failures: draw(4),
          passTime: () => (clock += 60_001),
          async alerts() {
            const store = faultyStore(shared, { now: () => clock, draw, faults: draw(3) });
            const alerts = claimedAlerts(store, { leaseMs: 60_000, firstDecides: false });
            await alerts.start('neuros');
            return alerts;
          },
        });
        assertPromised(log, effects);
      }),
      { numRuns: runs(1_000) },
    );
  });

  test('without a store the same holds until the process ends', async () => {
    await fc.assert(
      fc.asyncProperty(nights({ staleForGood: true }), fc.nat(), async (log, seed) => {
        const draw = drawn(seed);
        const effects = await readAll({
          log,
          draw,
          crashes: 0,
          failures: draw(4),
          passTime: () => undefined,
          async alerts() {
            const alerts = memory();
            await alerts.start('neuros');
            return alerts;
          },
        });
        assertPromised(log, effects);
      }),
      { numRuns: runs(1_000) },
    );
  });
});

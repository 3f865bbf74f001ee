/** What a run of the edge tests is given. Figures go where those of the fault tests go. */
import { randomInt } from 'node:crypto';
import type { TestContext } from 'node:test';
import { seededRandom } from '../../streams/index.ts';
import { report as tell } from '../faults/settings.ts';

/** Whether this is the run at length, `npm run test:edge`, rather than the part of it that `npm test` has time for. */
export const isFull = process.env['EDGE_FULL'] === 'on';

/** Repeats a run: EDGE_SEED, else any. */
export const edgeSeed = Number(process.env['EDGE_SEED'] ?? randomInt(2 ** 31));

/** Random numbers in [0, 1) that follow from the seed of the run and `part`. */
export function seeded(part: number): () => number {
  return seededRandom(edgeSeed + Math.imul(part, 0x9e3779b1));
}

/** Reports figures of a test, as the fault tests do. */
export function report(t: TestContext, figures: object): void {
  tell(t, { seed: edgeSeed, ...figures });
}

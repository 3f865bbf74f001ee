/** What a run of the fault tests is given, and where its figures go. */
import { randomInt } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { seededRandom } from '../../streams/index.ts';

/** The transaction timeout of a topology process. */
export const transactionTimeoutMs = 10_000;

/**
 * How long a reader of committed records may wait behind a dead process: until its transaction has timed out, and the
 * brokers of the local stack, which look every second, have noticed; the rest is for polls on two busy cores.
 */
export const longestWaitMs = transactionTimeoutMs + 1_000 + 2_000;

/** Repeats a run: FAULT_SEED, else any. What is killed when, and what is sent, follow from it. */
export const faultSeed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 31));

/** How often a test does its worst: FAULT_ROUNDS, else `quick`, which is what an ordinary test run has time for. */
export function rounds(quick: number): number {
  const given = process.env['FAULT_ROUNDS'];
  return given === undefined || given === '' ? quick : Number(given);
}

/** Random numbers in [0, 1) of a test, which follow from the seed of the run and `name`; reports the seed. */
export function seeded(t: TestContext, name: string): () => number {
  t.diagnostic(`FAULT_SEED=${faultSeed}`);
  let seed = faultSeed;
  for (const char of name) seed = Math.imul(seed, 31) + char.charCodeAt(0);
  return seededRandom(seed);
}

/** Reports figures of a test: as a diagnostic, and as a line of the file FAULT_REPORT, which a long run sums up. */
export function report(t: TestContext, figures: object): void {
  t.diagnostic(JSON.stringify(figures));
  const file = process.env['FAULT_REPORT'];
  if (file !== undefined && file !== '')
    appendFileSync(file, `${JSON.stringify({ test: t.name, seed: faultSeed, ...figures })}\n`);
}

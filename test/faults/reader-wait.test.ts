import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);
/** The transaction timeout of a topology process. */
const transactionTimeoutMs = 10_000;
/** How often the brokers of the local stack look for transactions that have timed out. */
const scanMs = 1_000;
/** What the reader's polls, and two busy cores, may add. */
const slackMs = 2_000;

test(
  'a reader of committed records waits behind a dead process no longer than its transaction may last',
  { timeout: 120_000 + times * 60_000 },
  async (t) => {
    const random = seeded(t, 'reader-wait');
    const application = await Application.create(t);
    const traffic = application.traffic({ rate: 150 });
    const survivor = application.worker('i0');
    await survivor.running();
    await application.progress();
    const reader = await application.reader();
    for (let round = 0; round < times; round += 1) {
      // It dies with outputs in the log and does not come back, so nobody but the brokers can end its transaction.
      const crash = { step: 'outputs', transaction: 5 + Math.floor(random() * 20) } as const;
      const victim = application.worker(`victim-${round}`, { crash });
      assert.equal(await victim.ended(), 'SIGKILL');
      await application.passed(await application.ends());
    }
    const sent = await traffic.stop();
    await application.drained();
    const waits = await reader.stop();
    await application.audit({ deaths: times, waits, sent });
    assert.ok(waits.records > 0, 'the reader got nothing');
    assert.ok(
      waits.longest_blocked_ms > transactionTimeoutMs / 2,
      `the reader waited ${waits.longest_blocked_ms} ms at most: no transaction stood in its way`,
    );
    const limitMs = transactionTimeoutMs + scanMs + slackMs;
    assert.ok(
      waits.longest_blocked_ms <= limitMs && waits.longest_gap_ms <= limitMs,
      `the reader waited ${waits.longest_blocked_ms} ms behind an open transaction and ${waits.longest_gap_ms} ms between records, at most ${limitMs} are due`,
    );
    await survivor.stop();
  },
);

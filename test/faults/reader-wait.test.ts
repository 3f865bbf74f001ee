import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from './application.ts';
import { longestWaitMs, rounds, seeded, transactionTimeoutMs } from './settings.ts';

const times = rounds(1);
test(
  'a reader of committed records waits for a dead process no longer than its transaction timeout',
  { timeout: 120_000 + times * 60_000 },
  async (t) => {
    const random = seeded(t, 'reader-wait');
    const application = await Application.create(t);
    const traffic = application.traffic();
    const survivor = application.worker('i0');
    await survivor.running();
    await application.progress();
    const reader = await application.reader();
    for (let round = 0; round < times; round += 1) {
      // It dies with outputs in the log and does not come back, so only the brokers can end its transaction: the
      // first, which has what came during the rebalance, or the second.
      const crash = { step: 'changelogs', transaction: 1 + Math.floor(random() * 2) } as const;
      const victim = application.worker(`victim-${round}`, { crash });
      assert.equal(await victim.ended(), 'SIGKILL');
      await application.passed(await application.ends());
      await reader.caughtUp();
    }
    const sent = await traffic.stop();
    const waits = await reader.stop();
    await application.audit({ deaths: times, waits, sent });
    assert.ok(waits.records > 0, 'the reader got nothing');
    assert.ok(
      waits.longest_blocked_ms > transactionTimeoutMs / 2,
      `the reader waited ${waits.longest_blocked_ms} ms at most: no transaction blocked it`,
    );
    // The reported gaps include the rebalances as well, which have no such limit.
    assert.ok(
      waits.longest_blocked_ms <= longestWaitMs,
      `the reader waited ${waits.longest_blocked_ms} ms behind an open transaction, at most ${longestWaitMs} are due`,
    );
    await survivor.stop();
  },
);

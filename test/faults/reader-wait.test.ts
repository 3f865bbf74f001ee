import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from './application.ts';
import { longestWaitMs, rounds, seeded, transactionTimeoutMs } from './settings.ts';

const times = rounds(1);
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
      await reader.caughtUp();
    }
    const sent = await traffic.stop();
    const waits = await reader.stop();
    await application.audit({ deaths: times, waits, sent });
    assert.ok(waits.records > 0, 'the reader got nothing');
    assert.ok(
      waits.longest_blocked_ms > transactionTimeoutMs / 2,
      `the reader waited ${waits.longest_blocked_ms} ms at most: no transaction stood in its way`,
    );
    assert.ok(
      waits.longest_blocked_ms <= longestWaitMs && waits.longest_gap_ms <= longestWaitMs,
      `the reader waited ${waits.longest_blocked_ms} ms behind an open transaction and ${waits.longest_gap_ms} ms between records, at most ${longestWaitMs} are due`,
    );
    await survivor.stop();
  },
);

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { schemaRegistry } from '../../schemas/registry.ts';
import { Account } from '../../local/traffic/account.ts';
import { deliveries } from '../../local/traffic/deliveries.ts';
import { Reader } from '../../local/traffic/reader.ts';
import { sendSteadily } from '../../local/traffic/sender.ts';
import { byVendor } from '../../vendors/index.ts';
import { bridge, eventually, secret } from '../bridge/harness.ts';
import { silentLog } from '../streams/log.ts';
import { rounds } from './settings.ts';

const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000);
const seconds = rounds(1) === 1 ? 10 : 60;

test(
  'with 12 partitions and 500 webhooks a second, every accepted webhook arrives and its latency is reported',
  { timeout: 240_000 },
  async (t) => {
    const deployment = await bridge({ partitions: 12 });
    t.after(() => deployment.close());
    const { names, baseUrl } = deployment;
    // Not at trace level, as the other tests run them: a line for every request is not what is measured.
    for (const command of ['ingress', 'topology']) deployment.start(command, { LOG_LEVEL: 'info' });
    await eventually('the ingress to be ready', async () => {
      const answer = await fetch(`${baseUrl}/readyz`).catch(() => undefined);
      return answer?.status === 200 || undefined;
    });
    const secrets = byVendor(() => secret);
    const send = (ratePerSecond: number, forSeconds: number, account: Account, startMs: number) =>
      sendSteadily({
        baseUrl,
        deliveries: deliveries({ seed, startMs, secrets }),
        ratePerSecond,
        untilMs: forSeconds * 1_000,
        signal: t.signal,
        onAnswer: (delivery, status, at) => account.answered(delivery, status, at),
      });
    const measured = async (ratePerSecond: number, forSeconds: number, startMs: number) => {
      const account = new Account();
      const reader = await Reader.start({
        connection: { brokers: (process.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '').split(',') },
        topics: names,
        registry: schemaRegistry({ SCHEMA_REGISTRY_URL: process.env['SCHEMA_REGISTRY_URL'] ?? '' }),
        log: silentLog,
        listener: {
          onRaw: (raw) => account.rawRead(raw),
          onEvent: (_, read, at) => account.outputRead(read.raw, at, read),
          onDeadLetter: (ref, at) => account.outputRead(ref, at, undefined),
        },
      });
      try {
        await send(ratePerSecond, forSeconds, account, startMs);
        const groupId = `${names.deadLetters.replace('biometric-events.dlq', '')}biometric-bridge`;
        return await eventually('everything accepted to come out', async () => {
          const balance = account.balance(await reader.committed(groupId, names));
          return balance.summary.missing === 0 ? balance : undefined;
        });
      } finally {
        await reader.stop();
      }
    };
    // The first append to each of some hundred partitions creates files: that is not what is measured either.
    await measured(100, 5, Date.now() - 86_400_000);
    const { summary, faults } = await measured(500, seconds, Date.now());
    // A machine that is too busy for 500 a second refuses some: that is reported, and is not a fault.
    const refused = faults.filter((fault) => fault.includes('was answered 503')).length;
    t.diagnostic(
      `500 webhooks/s, 12 partitions, ${seconds} s, seed ${seed}: accepted ${summary.accepted}, refused ${refused}, ` +
        `p50 ${summary.p50_ms} ms, p99 ${summary.p99_ms} ms from the answer to a committed reader`,
    );
    // A refused webhook may be in the log nevertheless, and then a retry of it is not a new version.
    const others = refused > 0 ? [] : faults;
    assert.deepEqual([others, summary.duplicates, summary.missing], [[], 0, 0]);
  },
);

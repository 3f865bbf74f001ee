import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { test } from 'node:test';
import { secrets, signed, testTopics } from '../ingress/harness.ts';
import { edgeProcess, metric } from './process.ts';
import { edgeSeed, isFull, report, seeded } from './settings.ts';
import { fuzzDevices, strangeRequest, type Device } from './strange-requests.ts';

const requests = isFull ? 50_000 : 2_000;
const senders = 32;
const MiB = 1024 * 1024;

const secretOf: Record<Device, string> = {
  oura: 'oura-secret-of-the-tests',
  whoop: secrets.WHOOP_WEBHOOK_SECRET,
  terra: secrets.TERRA_WEBHOOK_SECRET,
  healthkit: secrets.APPLE_HEALTHKIT_SECRET,
};

/** Long enough for an answer to begin, and for another to follow; whatever is not complete by then never will be. */
const silenceMs = 200;
const furtherMs = 20;

/** Sends bytes on a connection of their own, and no more; resolves with all that came back once it is closed. */
function exchange(port: number, bytes: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const late = setTimeout(() => reject(new Error('the connection was held for 20 s')), 20_000);
    let silence = setTimeout(() => socket.end(), silenceMs);
    let response = '';
    socket.on('data', (chunk: Buffer) => {
      response += chunk.toString('latin1');
      clearTimeout(silence);
      silence = setTimeout(() => socket.end(), furtherMs);
    });
    // A reset while it still sends is a valid answer to nonsense.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(late);
      clearTimeout(silence);
      resolve(response);
    });
    socket.write(bytes);
  });
}

function hashOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('base64');
}

test(
  'the ingress neither fails nor grows under any input, and keeps only signed requests',
  { timeout: isFull ? 1_200_000 : 120_000 },
  async (t) => {
    t.diagnostic(`EDGE_SEED=${edgeSeed}`);
    const topics = await testTopics();
    t.after(() => topics.close());
    const ingress = await edgeProcess(t, topics.prefix, { MAX_BODY_BYTES: '100000' });
    const signedBodies = new Map<string, number>();
    const statuses: Record<string, number> = {};
    const wrong: string[] = [];
    let kept = 0;
    let sent = 0;
    const startedAt = performance.now();
    const resident = async (): Promise<number> =>
      metric(await ingress.metrics(), 'process_resident_memory_bytes') / MiB;
    let warm = 0;

    const work = Array.from({ length: senders }, async (_, part) => {
      const random = seeded(part);
      for (let number = part; number < requests; number += senders) {
        const { bytes, authentic } = strangeRequest(random, secretOf);
        for (const { device, body } of authentic) {
          const place = `${device} ${hashOf(body)}`;
          signedBodies.set(place, (signedBodies.get(place) ?? 0) + 1);
        }
        const response = await exchange(ingress.port, bytes);
        for (const [head, status] of response.matchAll(/HTTP\/1\.1 (\d{3})[^]*?\r\n\r\n/g)) {
          statuses[status!] = (statuses[status!] ?? 0) + 1;
          if (status === '200' && head.includes('application/json')) kept += 1;
          const isProblem = head.includes('application/problem+json');
          if (
            (Number(status) >= 500 && status !== '503') ||
            status === '410' ||
            Number(status) >= 400 !== isProblem
          )
            wrong.push(`request ${number}: ${head.slice(0, 200)}`);
        }
        sent += 1;
        if (sent === Math.floor(requests / 4)) warm = await resident();
      }
    });
    await Promise.all(work);
    const seconds = (performance.now() - startedAt) / 1000;

    assert.deepEqual(wrong, []);
    assert.equal(ingress.child.exitCode, null, 'it runs');
    assert.deepEqual(ingress.strays, []);
    assert.deepEqual(
      ingress.lines.filter(({ msg }) => msg === 'an unexpected failure'),
      [],
    );
    assert.equal((await signed(ingress.port, 'oura', '{"user_id":"as before"}')).status, 200);
    const text = await ingress.metrics();
    assert.equal(metric(text, 'bridge_ingress_webhooks_in_hand'), 0);
    assert.equal(metric(text, 'bridge_ingress_webhooks_waiting'), 0);
    assert.equal(metric(text, 'bridge_ingress_large_body_bytes'), 0);
    const end = await resident();

    let records = 0;
    for (const device of fuzzDevices) {
      for (const { value } of await topics.read(topics.names.raw[device])) {
        const body = value ?? Buffer.alloc(0);
        if (body.toString() === '{"user_id":"as before"}') continue;
        records += 1;
        const place = `${device} ${hashOf(body)}`;
        const left = signedBodies.get(place) ?? 0;
        assert.ok(left > 0, `a record of ${body.length} bytes in raw.${device} that was not signed`);
        signedBodies.set(place, left - 1);
      }
    }
    const notJson = metric(text, 'bridge_ingress_webhooks_total', 'outcome="not_json"');
    const processed = metric(text, 'bridge_ingress_webhooks_total', 'outcome="processed"') - 1;
    assert.equal(records, processed + notJson, 'every authenticated request occurs once in its topic');
    report(t, {
      requests,
      seconds: Math.round(seconds),
      statuses,
      records,
      answered_200: kept,
      resident_mib_at_a_quarter: Math.round(warm),
      resident_mib: Math.round(end),
    });
    assert.ok(end < warm + 96, `memory grew from ${Math.round(warm)} to ${Math.round(end)} MiB`);
    assert.equal(await ingress.stop(), 0);
  },
);

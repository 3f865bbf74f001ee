/**
 * Sends webhooks at a steady rate, whatever becomes of the answers, and tells when each was answered. A process of its
 * own: what it does must not delay those who read.
 */
import { createHmac } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { vendorNames } from '../../../vendors/index.ts';
import { monotonicMs } from '../machine.ts';
import { readingText } from '../records.ts';
import { answer, settings } from './settings.ts';

const { port, secret, name, ratePerSecond, seconds } = settings() as {
  port: number;
  secret: string;
  /** Of the users: each webhook is of one of its own. */
  name: string;
  ratePerSecond: number;
  seconds: number;
};
const agent = new Agent({ keepAlive: true, noDelay: true });
const answeredAtMs: number[] = [];
const delaysMs: number[] = [];
const refused: Record<string, number> = {};
const underWay = new Set<Promise<void>>();

function post(number: number): Promise<void> {
  const device = vendorNames[number % vendorNames.length] ?? 'oura';
  const body = readingText(device, {
    user: `${name}-${number}`,
    time: new Date().toISOString(),
    hrv: 20 + (number % 60),
    sleep: 50 + (number % 50),
    percent: 80,
    level: 3,
  });
  const signature = createHmac('sha256', secret).update(body).digest('hex');
  const sentAtMs = monotonicMs();
  answeredAtMs[number] = NaN;
  return new Promise((resolve) => {
    const end = (outcome: string): void => {
      if (outcome !== '200') refused[outcome] = (refused[outcome] ?? 0) + 1;
      resolve();
    };
    const outgoing = request({
      agent,
      port,
      host: '127.0.0.1',
      method: 'POST',
      path: `/webhook/${device}`,
      headers: { 'content-type': 'application/json', 'content-length': body.length, signature },
    });
    outgoing.once('response', (response) => {
      const atMs = monotonicMs();
      if (response.statusCode === 200) {
        answeredAtMs[number] = atMs;
        delaysMs.push(atMs - sentAtMs);
      }
      response.once('end', () => end(String(response.statusCode))).resume();
    });
    outgoing.once('error', () => end('no answer'));
    outgoing.end(body);
  });
}

const startedAtMs = monotonicMs();
const count = ratePerSecond * seconds;
for (let number = 0; number < count; number += 1) {
  const waitMs = startedAtMs + (number * 1_000) / ratePerSecond - monotonicMs();
  if (waitMs > 0) await sleep(waitMs);
  const sent = post(number).finally(() => underWay.delete(sent));
  underWay.add(sent);
}
await Promise.all(underWay);
agent.destroy();
// JSON knows no NaN: null stands for what was not taken.
answer({ answered_at_ms: answeredAtMs, delays_ms: delaysMs, refused });

import { setTimeout as sleep } from 'node:timers/promises';
import type { Delivery } from './deliveries.ts';

/**
 * How many may be under way: a sender has a bounded pool of connections. Without a bound each second of a stall opens as
 * many new ones as are due, and what waits in the kernel to be accepted runs into the time-out.
 */
const maxUnderWay = 200;

/**
 * Posts deliveries at a steady rate until `signal` aborts or `untilMs` is reached, then waits for the answers under way.
 * @param onAnswer - each answer's status, undefined when none came, and the moment it came (performance.now()).
 */
export async function sendSteadily(options: {
  baseUrl: string;
  deliveries: Iterator<Delivery>;
  ratePerSecond: number;
  untilMs: number;
  signal: AbortSignal;
  onAnswer: (delivery: Delivery, status: number | undefined, at: number) => void;
}): Promise<void> {
  const started = performance.now();
  const underWay = new Set<Promise<void>>();
  const ended = (): boolean => options.signal.aborted;
  for (let count = 0; !ended(); count += 1) {
    const due = started + (count * 1_000) / options.ratePerSecond;
    if (due - started >= options.untilMs) break;
    const wait = due - performance.now();
    if (wait > 0) await sleep(wait, undefined, { signal: options.signal }).catch(() => undefined);
    if (underWay.size >= maxUnderWay) await Promise.race(underWay);
    const next = options.deliveries.next();
    if (next.done === true || ended()) break;
    const answer = post(options.baseUrl, next.value, options.onAnswer).finally(() => underWay.delete(answer));
    underWay.add(answer);
  }
  await Promise.all(underWay);
}

async function post(
  baseUrl: string,
  delivery: Delivery,
  onAnswer: (delivery: Delivery, status: number | undefined, at: number) => void,
): Promise<void> {
  let status: number | undefined;
  try {
    const response = await fetch(`${baseUrl}/webhook/${delivery.device}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...delivery.headers },
      body: delivery.body,
      signal: AbortSignal.timeout(15_000),
    });
    ({ status } = response);
    onAnswer(delivery, status, performance.now());
    await response.arrayBuffer();
  } catch {
    if (status === undefined) onAnswer(delivery, undefined, performance.now());
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseMembers } from '../vendors/json.ts';
import { firstId } from '../vendors/payload.ts';
import type { ByteBudget, Lease, AdmissionQueue } from './admission.ts';
import { problemStatus, type ProblemCode } from './errors.ts';
import type { Appended, RawLog } from './raw-log.ts';
import { hashKey, rawRecord, testRecord } from './raw-record.ts';
import { declaredLength, readBody, type Pace } from './read-body.ts';
import type { SignatureScheme } from '../vendors/signature.ts';
import { checkClaim, hasSecret, readClaim } from '../vendors/verify.ts';
import type { Webhook } from '../vendors/vendor.ts';
import { send, sendProblem } from './response.ts';
import type { AppendRecord } from '../kafka/append-batch.ts';

/** A handler on Node's own request and response, so that it can be served with or without Express. */
export type Handler = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** What all webhooks of a process share. */
export interface WebhookDeps {
  readonly rawLog: RawLog;
  readonly queue: AdmissionQueue;
  readonly budget: ByteBudget;
  readonly partitions: number;
  readonly ackDeadlineMs: number;
  /** Epoch ms. */
  readonly now: () => number;
  /** Called for every webhook that was answered or given up. */
  readonly onDone: (done: {
    readonly device: string;
    readonly outcome: Outcome;
    readonly seconds: number;
  }) => void;
  readonly onUnexpected: (error: unknown) => void;
}

/** The outcome of a webhook; bounded, so that it can label a metric. */
export type Outcome = 'processed' | ProblemCode;

/** One vendor's webhook. */
export interface VendorRoute {
  readonly device: string;
  readonly topic: string;
  readonly webhook: Webhook;
  /** The enabled schemes; the first is the vendor's own. */
  readonly schemes: readonly SignatureScheme[];
  /** Whether the tokens of this user are refused. */
  readonly isRevoked: (userId: string) => boolean;
  readonly secrets: readonly string[];
  readonly toleranceS: number;
  readonly maxBodyBytes: number;
}

/** Covers clock skew; more would only widen the window for replays. */
const futureMs = 300_000;
/** Even a slow phone is faster; a slower sender would hold a place that others wait for. */
const pace: Pace = { idleMs: 10_000, bytesPerSecond: 8 * 1024 };
/** Reject with 503 after 1 s when the queue is full: as late as those in the queue whose turn did not come. */
const fullAnswerMs = 1_000;
const testBodyBytes = 64 * 1024;

/**
 * Creates the handler of a vendor's webhook: verify the raw bytes, take the key, append, answer after the broker's
 * acknowledgement. It reads nothing of the body but the user's id.
 */
export function vendorWebhook(deps: WebhookDeps, route: VendorRoute): Handler {
  const window = { pastMs: route.toleranceS * 1000, futureMs };
  const keptHeaders = ['signature', ...route.webhook.keptHeaders];
  const userMembers = route.webhook.userId.map(([name = '']) => name);
  return webhook(deps, {
    device: route.device,
    maxBodyBytes: route.maxBodyBytes,
    admit(request, receivedAtMs) {
      if (!hasSecret(route.secrets)) return 'no_secret';
      const claim = readClaim(route.schemes, request.headersDistinct, window, receivedAtMs);
      if (!claim.ok) return claim.reason;
      const prove = (body: Buffer) => {
        const verified = checkClaim(claim, body, route.secrets);
        // Checked for valid tokens only, so that an unauthenticated caller cannot learn who is revoked.
        return verified.ok && verified.userId !== undefined && route.isRevoked(verified.userId)
          ? ({ ok: false, reason: 'token_revoked' } as const)
          : verified;
      };
      // A token does not cover the body, so a wrong one is refused before anything is read.
      if (!claim.scheme.signs.includes('body')) {
        const early = prove(Buffer.alloc(0));
        if (!early.ok) return early.reason;
      }
      return (body) => {
        const verified = prove(body);
        if (!verified.ok) return verified.reason;
        const json = parseMembers(body, userMembers);
        const named = json.ok ? firstId(json.value, route.webhook.userId) : null;
        if (named !== null && verified.userId !== undefined && named !== verified.userId)
          return 'token_of_another_user';
        const userId = json.ok ? (verified.userId ?? named) : null;
        const key = userId === null ? hashKey(body) : Buffer.from(userId);
        const facts = { receivedAtMs, headers: request.headers, keptHeaders, verified };
        return {
          record: rawRecord({ topic: route.topic, partitions: deps.partitions }, key, body, facts),
          // Appended all the same: it is authentic, and the topology dead-letters it with the reason.
          outcome: json.ok ? 'processed' : 'not_json',
        };
      };
    },
  });
}

/** Creates the handler of the unsigned test webhook: any bytes, to the partitions of the test topic in turn. */
export function testWebhook(deps: WebhookDeps, topic: string): Handler {
  let turn = 0;
  return webhook(deps, {
    device: 'test',
    maxBodyBytes: testBodyBytes,
    admit: (request, receivedAtMs) => (body) => {
      turn = (turn + 1) % deps.partitions;
      const facts = { receivedAtMs, headers: request.headers, keptHeaders: [] };
      return { record: testRecord({ topic, partition: turn }, body, facts), outcome: 'processed' };
    },
  });
}

interface Kind {
  readonly device: string;
  readonly maxBodyBytes: number;
  /** Judges the headers alone: returns the reason to refuse, or the function that takes the body. */
  admit(
    request: IncomingMessage,
    receivedAtMs: number,
  ): ProblemCode | ((body: Buffer) => ProblemCode | Accepted);
}

interface Accepted {
  readonly record: AppendRecord;
  readonly outcome: 'processed' | 'not_json';
}

function webhook(deps: WebhookDeps, kind: Kind): Handler {
  const processed = JSON.stringify({ status: 'processed', device: kind.device });
  const json = { 'content-type': 'application/json' };
  return async (request, response) => {
    const startedAt = performance.now();
    let outcome: Outcome;
    try {
      outcome = await handle(deps, kind, request, response);
    } catch (error) {
      deps.onUnexpected(error);
      outcome = 'internal';
    }
    if (outcome === 'processed') {
      send(request, response, 200, json, processed);
    } else {
      const breakerMs = deps.rawLog.breaker.retryAfterMs();
      const retryAfterS = problemStatus(outcome) === 503 ? Math.max(1, Math.ceil(breakerMs / 1000)) : 1;
      sendProblem(request, response, outcome, { retryAfterS });
    }
    deps.onDone({ device: kind.device, outcome, seconds: (performance.now() - startedAt) / 1000 });
  };
}

async function handle(
  deps: WebhookDeps,
  kind: Kind,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Outcome> {
  const receivedAtMs = deps.now();
  // The cheapest checks come first: a request that must fail takes no place and no memory.
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') return 'content_encoding';
  if ((declaredLength(request) ?? 0) > kind.maxBodyBytes) return 'body_too_large';
  const accept = kind.admit(request, receivedAtMs);
  if (typeof accept === 'string') return accept;
  if (deps.rawLog.breaker.retryAfterMs() > 0) return 'breaker_open';

  const turn = await deps.queue.enter((leave) => response.once('close', leave));
  if (turn === 'gone') return 'incomplete_body';
  // An immediate answer would let thousands of senders retry at once and leave the broker no turn of the event loop.
  if (turn === 'full') await sleep(fullAnswerMs);
  if (turn !== 'entered') return 'too_busy';
  const lease: Lease = deps.budget.lease();
  let hasPlace = true;
  const leave = (): void => {
    if (hasPlace) deps.queue.leave();
    hasPlace = false;
  };
  try {
    const read = await readBody(request, response, {
      maxBytes: kind.maxBodyBytes,
      lease,
      pace,
    });
    if (!read.ok) return read.code;
    const accepted = accept(read.body);
    if (typeof accepted === 'string') return accepted;
    // What waits for a broker that does not answer must not keep out what others would take.
    const appended = await deps.rawLog.append(accepted.record, {
      deadlineMs: deps.ackDeadlineMs,
      onHeldUp: leave,
    });
    return appended === 'acknowledged' ? accepted.outcome : refusals[appended];
  } finally {
    lease.release();
    leave();
  }
}

const refusals: Readonly<Record<Exclude<Appended, 'acknowledged'>, ProblemCode>> = {
  too_large: 'record_too_large',
  late: 'ack_deadline',
  failed: 'log_failed',
  breaker_open: 'breaker_open',
  stopped: 'stopping',
};

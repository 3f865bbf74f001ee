/** Claims in Redis: a hash per reader, device and user. */
import { deviceTypes } from '../../../schemas/biometric-event.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { causes } from '../../../process/errors.ts';
import { within } from '../../../process/deadline.ts';
import { AlertStoreUnavailable } from './alerts.ts';
import { keptDays, type Change, type ClaimStore, type LedgerOf, type Touched } from './claim-store.ts';
import type { AlertState, Part, Row } from './ledger.ts';

/** What is used of a client, a cluster or a pool of `@redis/client` or `redis` (4 or newer). */
export interface NodeRedisClient {
  /** Tells it from ioredis; not called. */
  readonly hmGet: unknown;
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>;
}

/** What is used of a client or a cluster of `ioredis`. */
export interface IoRedisClient {
  /** Tells it from node-redis; not called. */
  readonly hmget: unknown;
  eval(script: string, numberOfKeys: number, ...args: string[]): Promise<unknown>;
}

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /** Connected by its caller, who also closes it. */
  readonly client: NodeRedisClient | IoRedisClient;
  /** Before every key. Default `neuros:`. */
  readonly prefix?: string;
}

/**
 * Keeps claims in Redis 5 or newer, a cluster too. The promise of claims() is only as good as Redis' persistence: it holds across
 * a crash of Redis' machine with `appendonly yes` and `appendfsync always`, across a crash of its process with any
 * `appendfsync`, and with the default `everysec` all but the last second of it. It needs `maxmemory-policy noeviction`. A replica
 * that takes over may lack the last writes. What Redis has lost is as if it had not been read: alerts that are read again are
 * announced again, without `mayBeRepeat`; an alert that was announced before is not withdrawn unless it is announced again first.
 */
export function redisStore({ client, prefix = 'neuros:' }: RedisStoreOptions): ClaimStore {
  const evaluate = evaluator(client);
  const keyFor = ({ reader, device, user }: LedgerOf): string =>
    `${prefix}${encodeURIComponent(reader)}:${device}:${user}`;
  return {
    async start(reader) {
      const key = `${prefix}${encodeURIComponent(reader)}:start`;
      try {
        await evaluate(readScript, key, ['x']);
        await evaluate(writeScript, key, ['0', 'x', '1 {}']);
        await evaluate(eraseScript, key, []);
      } catch (error) {
        const code = error instanceof AlertStoreUnavailable ? error.code : 'unknown';
        throw new Error(`the Redis of the alert store cannot be used (${code}): ${adviceOn(code)}`, {
          cause: error,
        });
      }
    },
    migrate: () => Promise.resolve(),
    close: () => Promise.resolve(),
    update: (ledger, touched, change) => compareAndSet(evaluate, keyFor(ledger), touched, change),
    async erase(reader, user) {
      for (const device of deviceTypes) await evaluate(eraseScript, keyFor({ reader, device, user }), []);
    },
  };
}

type Evaluate = (script: string, key: string, args: readonly string[]) => Promise<unknown>;

/** A command waits for at most so long: without a connection, clients queue commands for ever. */
const answerWithinMs = 5_000;

function evaluator(client: NodeRedisClient | IoRedisClient): Evaluate {
  const send: Evaluate =
    'hmGet' in client
      ? (script, key, args) => client.eval(script, { keys: [key], arguments: [...args] })
      : (script, key, args) => client.eval(script, 1, key, ...args);
  return async (script, key, args) => {
    try {
      return await within(send(script, key, args), answerWithinMs, 'Redis');
    } catch (error) {
      throw new AlertStoreUnavailable(codeOf(error));
    }
  };
}

// Fields: `r:` and a resource, `a:` and an alert, and `sweep`. A value begins with the time it was touched.
const readScript = `
local time = redis.call('TIME')
return { time[1], time[2], redis.call('HMGET', KEYS[1], unpack(ARGV)) }`;

// ARGV: the number of fields read, then each with its value ('' for none), then the fields to set with their values. Once a
// day, page by page with each write, the fields go that were not touched for 70 days: an active user's key never expires.
const writeScript = `
local read = tonumber(ARGV[1])
for i = 2, 2 * read, 2 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 2 * read + 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('EXPIRE', KEYS[1], ${keptDays * 86_400})
local now = tonumber(redis.call('TIME')[1])
local at, cursor = string.match(redis.call('HGET', KEYS[1], 'sweep') or '', '^(%d+) (%d+)$')
if at and tonumber(at) > now then return 1 end
if at then
  local page = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 100)
  cursor = page[1]
  for i = 1, #page[2], 2 do
    local touched = tonumber(string.match(page[2][i + 1], '^%d+'))
    if page[2][i] ~= 'sweep' and touched and touched < now - ${keptDays * 86_400} then redis.call('HDEL', KEYS[1], page[2][i]) end
  end
end
if not at or cursor == '0' then now, cursor = now + 86400, '0' end
redis.call('HSET', KEYS[1], 'sweep', string.format('%d %s', now, cursor))
return 1`;

const eraseScript = `return redis.call('DEL', KEYS[1])`;

async function compareAndSet<T>(
  evaluate: Evaluate,
  key: string,
  touched: Touched,
  change: Change<T>,
): Promise<T> {
  for (let lost = 0; lost < 100; lost++) {
    // Each loses to one that has won, so a few tries suffice for what a few readers do to one user.
    if (lost > 3) await sleep(Math.random() * 5 * lost);
    const read = new Map<string, string>();
    const rowField = `r:${touched.resource}`;
    let now = await readFields(evaluate, key, [rowField, ...touched.alerts.map((id) => `a:${id}`)], read);
    const row = parsed(read.get(rowField)) as Row | undefined;
    const more = [...(row?.names ?? []), ...(row?.dropped ?? [])].map((id) => `a:${id}`);
    const missing = [...new Set(more)].filter((field) => !read.has(field));
    if (missing.length > 0) now = await readFields(evaluate, key, missing, read);
    const part = partOf(row, read);
    const { part: next, answer } = change(part, now);
    const writes = changedFields(part, next, rowField, now);
    if (writes.length === 0) return answer;
    const args = [String(read.size), ...[...read].flat(), ...writes];
    if (Number(await evaluate(writeScript, key, args)) === 1) return answer;
  }
  throw new AlertStoreUnavailable('CONFLICT');
}

// Adds the fields to `read`, '' for those that are not there. Answers Redis' time.
async function readFields(
  evaluate: Evaluate,
  key: string,
  fields: readonly string[],
  read: Map<string, string>,
): Promise<number> {
  const [seconds, micros, values] = (await evaluate(readScript, key, fields)) as [
    unknown,
    unknown,
    unknown[],
  ];
  fields.forEach((field, i) => {
    const value = values[i];
    read.set(field, typeof value === 'string' || Buffer.isBuffer(value) ? value.toString() : '');
  });
  return Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000);
}

function partOf(row: Row | undefined, read: ReadonlyMap<string, string>): Part {
  const alerts = new Map<string, AlertState>();
  for (const [field, value] of read) {
    const state = field.startsWith('a:') ? parsed(value) : undefined;
    if (state !== undefined) alerts.set(field.slice(2), state as AlertState);
  }
  return { row, alerts };
}

function changedFields(before: Part, after: Part, rowField: string, now: number): string[] {
  const touched = Math.floor(now / 1_000);
  const writes: string[] = [];
  if (after.row !== before.row) writes.push(rowField, `${touched} ${JSON.stringify(after.row)}`);
  for (const [id, state] of after.alerts) {
    if (state !== before.alerts.get(id)) writes.push(`a:${id}`, `${touched} ${JSON.stringify(state)}`);
  }
  return writes;
}

function parsed(value: string | undefined): unknown {
  if (value === undefined || value === '') return undefined;
  try {
    return JSON.parse(value.slice(value.indexOf(' ') + 1));
  } catch {
    throw new AlertStoreUnavailable('UNREADABLE');
  }
}

/** The network's code, the first word of what Redis answered (LOADING, OOM, NOPERM), or the error's name; no value. */
function codeOf(error: unknown): string {
  for (const link of causes(error)) {
    if ('code' in link && typeof link.code === 'string') return link.code;
    const [word = ''] = /^[A-Z]{2,20}\b/.exec(link.message) ?? [];
    if (word !== '') return word;
  }
  return error instanceof Error ? error.name : 'unknown';
}

function adviceOn(code: string): string {
  if (code === 'NOPERM')
    return 'its user must be allowed EVAL, TIME, HMGET, HGET, HSET, HDEL, HSCAN, EXPIRE and DEL';
  if (code === 'NOAUTH' || code === 'WRONGPASS') return 'give the client its user and password';
  if (code === 'READONLY') return 'connect to the primary, not to a replica';
  if (code === 'ERR') return 'Redis 5 or newer is needed';
  return 'start it, or correct its address';
}

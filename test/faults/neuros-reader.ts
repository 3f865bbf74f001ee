/** A NEUROS reader as a process that is killed: each alert handed over becomes a row of the table `effects`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import pg from 'pg';
import {
  claims,
  NeurosClient,
  postgresStore,
  redisStore,
  transactional,
  type Alert,
  type AlertContext,
  type Alerts,
} from '../../consumers/neuros/index.ts';

/** How a reader is started: as JSON in its first argument. */
export interface NeurosReaderSettings {
  readonly brokers: readonly string[];
  readonly registry: string;
  readonly topicPrefix: string;
  readonly postgres: string;
  readonly redis: string;
  readonly contract: 'transactional' | 'claims in Postgres' | 'claims in Redis';
  readonly leaseMs: number;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as NeurosReaderSettings;
const { brokers, registry, topicPrefix, contract, leaseMs } = settings;
const pool = new pg.Pool({ connectionString: settings.postgres, max: 12 });
const redis = new Redis(settings.redis, { keyPrefix: '' });

const alertStores: Record<NeurosReaderSettings['contract'], () => Alerts> = {
  transactional: () => transactional({ pool }),
  'claims in Postgres': () => claims(postgresStore({ pool }), { leaseMs }),
  'claims in Redis': () => claims(redisStore({ client: redis, prefix: topicPrefix }), { leaseMs }),
};

/** The effect: in the alert's transaction where there is one, otherwise a world of its own. */
async function effect(
  kind: string,
  { alert_id }: Alert,
  { transaction = pool, mayBeRepeat, event }: AlertContext,
): Promise<void> {
  process.stdout.write(`${kind}\n`);
  await sleep(5);
  await transaction.query(
    'INSERT INTO effects (kind, alert_id, event_id, may_be_repeat) VALUES ($1, $2, $3, $4)',
    [kind, alert_id, event.event_id, mayBeRepeat],
  );
  await sleep(5);
}

const neuros = new NeurosClient({
  ...{ brokers, registry, topicPrefix, groupId: 'neuros', alerts: alertStores[contract]() },
  onAlert: (alert, context) => effect('announced', alert, context),
  onWithdrawn: (alert, context) => effect('withdrawn', alert, context),
});
process.once('SIGTERM', () => void neuros.close());
await neuros.run();
redis.disconnect();
await pool.end();

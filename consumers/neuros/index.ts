/** `biometric-bridge/neuros`: what an AI coach imports to read biometric events and their alerts. */
export type {
  BiometricEvent,
  DeviceType,
  Priority,
  RecordKind,
  Trigger,
} from '../../schemas/biometric-event.ts';
export {
  AlertStoreUnavailable,
  type Alert,
  type AlertAttempt,
  type Alerts,
  type SqlClient,
} from './alerts/alerts.ts';
export { claims, type ClaimsOptions } from './alerts/claims.ts';
export type { ClaimStore } from './alerts/claim-store.ts';
export { memory, type MemoryOptions } from './alerts/memory.ts';
export { postgresStore } from './alerts/postgres.ts';
export { redisStore, type RedisStoreOptions } from './alerts/redis.ts';
export { neurosSql, type SqlConnection, type SqlOptions, type SqlPool } from './alerts/sql.ts';
export { transactional } from './alerts/transactional.ts';
export { NeurosClient, type Health, type PriorityHealth } from './client.ts';
export { deadLetterHeader } from './dead-letters.ts';
export { HandlerTimeoutError } from './delivery.ts';
export {
  NeurosOptionsError,
  type AlertContext,
  type Erasure,
  type MetricsRegistry,
  type NeurosHandlers,
  type NeurosLog,
  type NeurosOptions,
  type RecordContext,
  type Retries,
} from './options.ts';
export { NeurosStartError, type NeurosStartErrorCode } from './start-checks.ts';
export { NeurosTestDriver, type DriverDeadLetter, type DriverOptions } from './test-driver.ts';

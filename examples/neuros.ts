/**
 * Says something for each alert, and takes it back when the measurement behind it was corrected. In a clone, next to
 * `npm start -- --no-reader`:
 *
 *     node --conditions=bridge-source --import tsx examples/neuros.ts
 *
 * Where the package is installed it runs as it was built: `node node_modules/biometric-bridge/dist/package/examples/neuros.js`.
 */
import { NeurosClient, type Alert, type BiometricEvent } from 'biometric-bridge/neuros';

const advice: Readonly<Record<string, string>> = {
  immediate_stress_protocol: 'put everything down and breathe with me for five minutes',
  breathing_exercise: 'take ten slow breaths before you go on',
  sleep_optimization: 'go to bed an hour earlier tonight',
};

const neuros = new NeurosClient({
  brokers: (process.env['KAFKA_BOOTSTRAP_SERVERS'] ?? 'localhost:19092').split(','),
  registry: process.env['SCHEMA_REGISTRY_URL'] ?? 'http://localhost:18081/apis/ccompat/v7',
  topicPrefix: process.env['TOPIC_PREFIX'] ?? '',
  groupId: 'neuros',
  onAlert: (alert, { event }) =>
    say('announced', alert, event, advice[alert.recommendation] ?? alert.recommendation),
  onWithdrawn: (alert, { event }) =>
    say('withdrawn', alert, event, 'never mind, that was a wrong measurement'),
  onErased: ({ user_id }) => console.log(`erased ${user_id}`),
});

function say(
  what: string,
  { alert_id }: Alert,
  { user_id, device_type }: BiometricEvent,
  text: string,
): void {
  console.log(`${what} ${alert_id}  to ${user_id} (${device_type}): ${text}`);
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void neuros.close());
await neuros.run();

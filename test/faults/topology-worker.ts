/**
 * An instance of a small topology as a process of its own, for tests that kill it. Takes its settings as JSON in its
 * first argument and says on standard output how it is; ends on SIGTERM.
 */
import { KafkaStreams, type CommitStep } from '../../topology/streams/index.ts';
import { traced } from '../streams/broker/traced.ts';

export interface WorkerSettings {
  readonly brokers: readonly string[];
  readonly applicationId: string;
  readonly instanceId: string;
  readonly from: readonly string[];
  readonly to: string;
  /** The process kills itself at the first commit that has come to the end of this step. */
  readonly crashAfter?: CommitStep;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings;
const say = (level: string) => (fields: object, message: string) => {
  process.stderr.write(`${level} ${settings.instanceId} ${message} ${JSON.stringify(fields)}\n`);
};
// SIGUSR2: stop (SIGSTOP) in the middle of the next transaction, to be woken by SIGCONT.
let sleepy = false;
process.on('SIGUSR2', () => {
  sleepy = true;
});
const streams = new KafkaStreams(traced(settings.from, settings.to), {
  connection: { brokers: settings.brokers },
  applicationId: settings.applicationId,
  instanceId: settings.instanceId,
  // The shortest that brokers allow: the group waits as long for a member that was killed.
  sessionTimeoutMs: 6_000,
  log: { debug: () => undefined, info: say('info'), warn: say('warn'), error: say('error') },
  afterStep: (step) => {
    if (step === settings.crashAfter) process.kill(process.pid, 'SIGKILL');
    if (sleepy && step === 'outputs') {
      sleepy = false;
      process.stdout.write('SLEEPING\n');
      process.kill(process.pid, 'SIGSTOP');
    }
  },
});
streams.onState((state) => process.stdout.write(`${state}\n`));
process.once('SIGTERM', () => void streams.close());
streams.failed.catch((error: unknown) => {
  process.stderr.write(`failed ${String(error)}\n`);
  process.exitCode = 1;
  void streams.close();
});
await streams.start();

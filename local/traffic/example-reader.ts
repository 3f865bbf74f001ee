/** The example of a NEUROS reader as a child process. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { settlesWithin } from '../../process/deadline.ts';
import { projectRoot } from '../../process/root.ts';

/** What the example says. */
export interface ReaderListener {
  onAnnounced(alertId: string): void;
  onWithdrawn(alertId: string): void;
  /** A line of its output, as people read it. */
  onLine(line: string): void;
}

/** The running example. */
export interface ExampleReader {
  /** Whether it has ended without having been stopped. */
  hasEnded(): boolean;
  stop(): Promise<void>;
}

const stopMs = 15_000;

/** Starts `examples/neuros.ts`. */
export function startExampleReader(env: NodeJS.ProcessEnv, listener: ReaderListener): ExampleReader {
  // A process group of its own: the SIGINT of a terminal is for the run, which stops it in its turn.
  const child = spawn(
    process.execPath,
    ['--conditions=bridge-source', '--import', 'tsx', join('examples', 'neuros.ts')],
    { cwd: projectRoot(), env, stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  let isStopping = false;
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [, what, alert = '', text = ''] = /^(announced|withdrawn) (\S+) {2}(.*)$/.exec(line) ?? [];
    if (what === 'announced') listener.onAnnounced(alert);
    else if (what === 'withdrawn') listener.onWithdrawn(alert);
    listener.onLine(what === undefined ? line : `${what.padEnd(9)} ${text}`);
  });
  createInterface({ input: child.stderr }).on('line', (line) => listener.onLine(line));
  const exited = once(child, 'exit');
  exited.catch(() => undefined);
  return {
    hasEnded: () => !isStopping && (child.exitCode !== null || child.signalCode !== null),
    async stop() {
      isStopping = true;
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      if (!(await settlesWithin(exited, stopMs))) child.kill('SIGKILL');
    },
  };
}

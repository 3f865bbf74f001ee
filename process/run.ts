import { ConfigError } from './config.ts';
import type { Running } from './lifecycle.ts';
import type { Logger } from './log.ts';

/** How long an open handle may keep a stopped process alive. */
const heldMs = 2_000;

/**
 * Runs a process until SIGTERM or SIGINT (drain, exit code 0) or until it fails (the reason logged; exit code 2 for a fault
 * of its configuration, else 1).
 * A second signal, a second or more later, ends it at once with exit code 130. SIGHUP only makes parts read files again.
 * @returns the exit code; the caller sets it, so that pending output is still written.
 */
export async function runUntilSignal(log: Logger, start: () => Promise<Running>): Promise<number> {
  let signalled = (): void => undefined;
  const signal = new Promise<'signal'>((resolve) => {
    signalled = () => resolve('signal');
  });
  let firstAt: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    // npm forwards the SIGINT that the terminal has also sent to us: count the two as one.
    if (firstAt !== undefined && performance.now() - firstAt < 1_000) return;
    log.info({ signal: name }, firstAt === undefined ? 'stopping' : 'stopping at once');
    if (firstAt !== undefined) process.exit(130);
    firstAt = performance.now();
    signalled();
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // Without a listener it ends the process. The parts that read a file again add their own.
  process.on('SIGHUP', ignore);
  try {
    const running = await start();
    let code = 0;
    try {
      await Promise.race([signal, running.failed]);
    } catch (error) {
      code = exitCode(error);
      log.fatal(reason(error), 'failed');
    }
    await running.stop();
    log.info('stopped');
    exitIfHeld(log, code);
    return code;
  } catch (error) {
    log.fatal(reason(error), 'failed');
    exitIfHeld(log, exitCode(error));
    return exitCode(error);
  } finally {
    process.off('SIGTERM', onSignal);
    process.off('SIGINT', onSignal);
    process.off('SIGHUP', ignore);
  }
}

function exitCode(error: unknown): number {
  return error instanceof ConfigError ? 2 : 1;
}

function ignore(): void {
  // Nothing to do.
}

/**
 * A process whose parts are stopped ends by itself. If a forgotten connection keeps it alive, end it, so that nothing has
 * to wait for that connection.
 */
function exitIfHeld(log: Logger, code: number): void {
  const timer = setTimeout(() => {
    const held = [...new Set(process.getActiveResourcesInfo())];
    log.warn({ held }, 'stopped, but something holds the process: ending it');
    process.exit(code);
  }, heldMs);
  // The timer must not keep the process alive itself.
  timer.unref();
}

// Messages of our own errors and of Kafka are safe to show; they never quote a record.
function reason(error: unknown): { error: string; reason: string } {
  return error instanceof Error
    ? { error: error.name, reason: error.message }
    : { error: 'unknown', reason: 'a value that is not an error was thrown' };
}

import { CommanderError } from 'commander';
import { run } from './program.ts';

// `bridge topics | head` closes our output early, which is not a failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

run(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
    return;
  }
  const failed = error instanceof Error ? `${error.name}: ${error.message}` : 'unknown failure';
  process.stderr.write(`bridge: ${failed}\n`);
  process.exitCode = 1;
});

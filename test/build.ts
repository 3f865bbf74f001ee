import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../process/root.ts';

/**
 * Builds the product for the processes that tests start, and the programs of the fault tests for that suite; types are checked
 * elsewhere. Answers the built `bridge`.
 */
export function build(suite: string): string {
  const folder = join(projectRoot(), '.local', `${suite}-build`);
  const compiler = join(projectRoot(), 'node_modules', 'typescript', 'bin', 'tsc');
  const args = [
    compiler,
    '-p',
    suite === 'faults' ? 'tsconfig.faults.json' : 'tsconfig.build.json',
    '--outDir',
    folder,
    '--noCheck',
    '--sourceMap',
    'false',
  ];
  rmSync(folder, { recursive: true, force: true });
  execFileSync(process.execPath, args, { cwd: projectRoot(), stdio: 'inherit' });
  return join(folder, 'cli', 'main.js');
}

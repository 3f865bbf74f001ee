import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bridgeScript, projectRoot } from '../process/root.ts';

/**
 * The script that runs `bridge` in a test's child process: the build that `npm test` makes of the sources first, because it
 * starts in a third of the time, or the sources themselves when a test file is run on its own.
 */
export const bridgeProgram = process.env['TEST_BRIDGE'] ?? bridgeScript();

/**
 * The arguments with which Node.js runs a program of the tests themselves: the build, if the suite has built it, or the source.
 * @param name - its path in test/, without its ending.
 * @param folder - the checkout whose program it is. Default: this one. Another one is not built.
 */
export function testProgram(name: string, folder = projectRoot()): string[] {
  const built = join(dirname(dirname(bridgeProgram)), 'test', `${name}.js`);
  if (folder === projectRoot() && existsSync(built)) return [built];
  return ['--import', 'tsx', join(folder, 'test', `${name}.ts`)];
}

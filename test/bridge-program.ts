import { bridgeScript } from '../process/root.ts';

/**
 * The script that runs `bridge` in a test's child process: the build that `npm test` makes of the sources first, because it
 * starts in a third of the time, or the sources themselves when a test file is run on its own.
 */
export const bridgeProgram = process.env['TEST_BRIDGE'] ?? bridgeScript();

import type { TestContext } from 'node:test';
import { startStack, type Stack } from '../../local/stack.ts';
import { separateStack } from '../local/support.ts';

/** A stack that only this test breaks. */
export async function stackOf(t: TestContext, brokers: 1 | 3): Promise<Stack> {
  const { directory, env } = await separateStack(t, { brokers });
  const stack = await startStack({ directory, env, brokers, ports: 'free', fresh: true });
  // Topics, workers and the auditor look there for their brokers and their registry.
  Object.assign(process.env, stack.env);
  return stack;
}

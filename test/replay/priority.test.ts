import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { constants, getPriority } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { yieldToOthers } from '../../replay/priority.ts';

const { PRIORITY_BELOW_NORMAL: low } = constants.priority;

test('every thread of the process yields to others, the engine’s among them', async (t) => {
  if (process.platform !== 'linux') return t.skip('a process has one priority here');
  yieldToOthers();
  const worker = new Worker('require("node:worker_threads").parentPort.once("message", () => undefined)', {
    eval: true,
  });
  await once(worker, 'online');
  const priorities = readdirSync('/proc/self/task').map((id) => getPriority(Number(id)));
  worker.postMessage('end');
  await once(worker, 'exit');
  assert.ok(priorities.length > 2, 'the engine has threads of its own');
  assert.deepEqual(new Set(priorities), new Set([low]));
});

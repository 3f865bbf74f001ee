import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockOwner, takeLock } from '../../local/lock.ts';
import { livePid } from '../../local/processes.ts';
import { projectRoot } from '../../process/root.ts';
import { temporaryDirectory } from './support.ts';

test('a second taker gets an error that names the holder', (t) => {
  const directory = temporaryDirectory(t);
  const lock = takeLock(directory, 'npm start');
  assert.throws(() => takeLock(directory, 'npm start'), {
    code: 'STACK_RUNNING',
    message: new RegExp(`npm start \\(pid ${process.pid}\\)`),
  });
  lock.release();
  assert.equal(lockOwner(directory), undefined);
  takeLock(directory, 'npm test').release();
  assert.deepEqual(readdirSync(directory), []);
});

test('the lock of a process that was killed is taken over', async (t) => {
  const directory = temporaryDirectory(t);
  const module = JSON.stringify(join(projectRoot(), 'local', 'lock.ts'));
  const script = `const { takeLock } = await import(${module}); takeLock(${JSON.stringify(directory)}, 'npm start');
    console.log('taken'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: projectRoot(),
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  assert.equal(livePid(join(directory, 'lock')), child.pid);
  assert.throws(() => takeLock(directory, 'npm start'), { code: 'STACK_RUNNING' });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const lock = takeLock(directory, 'npm test');
  assert.equal(lockOwner(directory), `npm test (pid ${process.pid})`);
  lock.release();
  assert.ok(!existsSync(join(directory, 'lock')));
});

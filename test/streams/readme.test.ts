import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

test('the example of the README prints what it says', (t) => {
  const readme = new URL('../../streams/README.md', import.meta.url);
  const [, code = '', printed = ''] =
    /```ts\n(.*?)```\n\nprints\n\n```\n(.*?)```/s.exec(readFileSync(readme, 'utf8')) ?? [];
  assert.ok(code.includes('processValues'));
  const directory = mkdtempSync(join(tmpdir(), 'streams-readme-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'example.mts');
  writeFileSync(file, code.replace("'./index.ts'", JSON.stringify(new URL('./index.ts', readme).href)));
  const output = execFileSync(process.execPath, ['--import', 'tsx', file], { encoding: 'utf8' });
  assert.equal(output, printed);
});

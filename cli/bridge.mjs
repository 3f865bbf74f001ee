#!/usr/bin/env node
// Runs the command line from dist/ when that is at least as new as every source file, else from source:
// a stale build that silently runs old code would be worse than the half second that tsx takes.
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folders = [
  'cli',
  'consumers',
  'ingress',
  'kafka',
  'local',
  'postgres',
  'process',
  'schemas',
  'streams',
  'topology',
  'vendors',
];

function newestSource(folder) {
  let newest = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) newest = Math.max(newest, newestSource(path));
    else if (entry.name.endsWith('.ts')) newest = Math.max(newest, statSync(path).mtimeMs);
  }
  return newest;
}

const built = join(root, 'dist/cli/main.js');
const source = join(root, 'cli/main.ts');
const current =
  existsSync(built) &&
  (!existsSync(source) ||
    statSync(built).mtimeMs >= Math.max(...folders.map((folder) => newestSource(join(root, folder)))));

if (current) {
  await import(new URL('../dist/cli/main.js', import.meta.url).href);
} else {
  const { register } = await import('tsx/esm/api');
  register();
  await import(new URL('./main.ts', import.meta.url).href);
}

#!/usr/bin/env node
// `bridge` in a clone runs the sources, built or not, so that what runs is what is written. Where the development
// packages are not installed (`npm prune --omit=dev`, or the bridge as a package of another project), it runs the build.
import { existsSync } from 'node:fs';

if (existsSync(new URL('../node_modules/tsx', import.meta.url))) {
  const { register } = await import('tsx/esm/api');
  register();
  await import(new URL('./main.ts', import.meta.url).href);
} else if (existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  await import(new URL('../dist/cli/main.js', import.meta.url).href);
} else {
  console.error('bridge: run npm ci first; for a deployment then npm run build && npm prune --omit=dev');
  process.exit(1);
}

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Finds the folder of package.json, from source and from dist/ alike: schemas and SQL files are not copied into the
 * build.
 * @throws Error when no folder above this file holds one.
 */
export function projectRoot(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (dirname(folder) === folder) {
      throw new Error(`no package.json above ${import.meta.dirname}: run the bridge from a complete clone`);
    }
  }
}

/** The script that runs a `bridge` command in a child process: the sources run sources, a build runs itself. */
export function bridgeScript(): string {
  const script = import.meta.url.endsWith('.ts') ? 'bridge.mjs' : 'main.js';
  return join(dirname(import.meta.dirname), 'cli', script);
}

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

/** The script that runs a `bridge` command in a child process: from source for the sources, from dist/ for the build. */
export function bridgeScript(): string {
  const isSource = import.meta.url.endsWith('.ts');
  return join(projectRoot(), isSource ? 'cli/bridge.mjs' : 'dist/cli/main.js');
}

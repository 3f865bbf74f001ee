// `npm audit` of what is deployed, from level high. A registry that has no audit, or no network, fails nothing, but what
// it finds does. The last line says which happened.
import { spawnSync } from 'node:child_process';

const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
const args = [
  'audit',
  '--omit=dev',
  '--audit-level=high',
  '--json',
  '--fetch-retries=0',
  '--fetch-timeout=30000',
];
const { stdout, error } = spawnSync(npm, args, { encoding: 'utf8', timeout: 60_000 });

/** What npm found, by level; undefined when it could not ask. */
function found() {
  try {
    return JSON.parse(stdout ?? '').metadata?.vulnerabilities;
  } catch {
    return undefined;
  }
}

const levels = found();
if (levels === undefined) {
  console.log(
    `audit: not available here (${error?.code ?? 'the registry does not answer it'}), nothing was checked`,
  );
} else if (levels.high + levels.critical > 0) {
  console.log(
    `audit: ${levels.high} high and ${levels.critical} critical vulnerabilities; npm audit --omit=dev names them`,
  );
  process.exitCode = 1;
} else {
  console.log(
    `audit: nothing of level high or above (below: ${levels.moderate} moderate, ${levels.low} low)`,
  );
}

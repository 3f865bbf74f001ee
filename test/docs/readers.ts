/** The readers of examples/ as processes, each in its language. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fetchSoftware } from '../../local/maven.ts';
import { projectRoot } from '../../process/root.ts';
import { run } from '../package/pack.ts';

/** How a reader is started, from the root of the project. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A running reader. */
export interface RunningReader {
  /** Lines of its standard output. */
  readonly lines: readonly string[];
  /** What it has said on standard error. */
  errors(): string;
  hasEnded(): boolean;
  /** Its exit code, once it has ended. */
  ended(): Promise<number | null>;
  /** With SIGTERM. */
  stop(): Promise<void>;
}

export function startReader({ command, args, env }: Program, stack: Record<string, string>): RunningReader {
  const child: ChildProcess = spawn(command, args, {
    cwd: projectRoot(),
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...env, ...stack },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const lines: string[] = [];
  let errors = '';
  const ended = once(child, 'close').catch((error: unknown) => (errors += String(error)));
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (errors += text));
  return {
    lines,
    errors: () => errors,
    hasEnded: () => child.exitCode !== null || child.signalCode !== null,
    ended: async () => {
      await ended;
      return child.exitCode;
    },
    async stop() {
      const limit = setTimeout(() => child.kill('SIGKILL'), 15_000);
      child.kill('SIGTERM');
      await ended;
      clearTimeout(limit);
    },
  };
}

export const nodeReader: Program = {
  command: process.execPath,
  args: ['--conditions=bridge-source', '--import', 'tsx', join('examples', 'neuros.ts')],
  env: {},
};

/** Runs on Kafka's class path, and on the avro that the local registry brings along. */
export async function javaReader(): Promise<Program> {
  const { java, classpath, registryJar } = await fetchSoftware({
    env: process.env,
    onProgress: () => undefined,
  });
  const libraries = join(dirname(registryJar), 'lib');
  const avro = readdirSync(libraries).filter((name) => /^org\.apache\.avro\.avro-[\d.]+\.jar$/.test(name));
  const path = [classpath, ...avro.map((name) => join(libraries, name))].join(delimiter);
  return { command: java, args: ['-cp', path, join('examples', 'NeurosReader.java')], env: {} };
}

/**
 * Installs the packages that the example names, once for each version of them and of Python.
 * @returns undefined where there is no python3.
 */
export async function pythonReader(): Promise<Program | undefined> {
  const version = await run('python3', ['--version'], projectRoot()).catch(() => undefined);
  if (version === undefined) return undefined;
  const example = join('examples', 'neuros.py');
  const packages =
    /^ +pip install (.+)$/m.exec(readFileSync(join(projectRoot(), example), 'utf8'))?.[1] ?? '';
  const name = createHash('sha256').update(`${version} ${packages}`).digest('hex').slice(0, 12);
  const folder = join(projectRoot(), '.local', 'python', name);
  if (!existsSync(folder)) {
    mkdirSync(dirname(folder), { recursive: true });
    // Renamed when it is whole: a run that is killed here leaves nothing half done.
    const aside = `${folder}.${randomUUID()}`;
    const options = ['--quiet', '--disable-pip-version-check', '--target', aside];
    await run('python3', ['-m', 'pip', 'install', ...options, ...packages.split(' ')], projectRoot());
    renameSync(aside, folder);
  }
  return { command: 'python3', args: [example], env: { PYTHONPATH: folder } };
}

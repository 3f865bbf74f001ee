import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { stripVTControlCharacters } from 'node:util';
import { projectRoot } from '../process/root.ts';
import { StackError } from './errors.ts';
import { runProgram } from './processes.ts';

/** The Java software of the embedded stack, on this machine's disk. */
export interface Software {
  /** The java program: JAVA_HOME's, else the PATH's. */
  readonly java: string;
  /** Kafka's class path. */
  readonly classpath: string;
  /** The registry's runnable jar, next to the `lib` folder it needs. */
  readonly registryJar: string;
}

/** Whether the embedded stack can run: a Java of 17 or newer, and Maven unless everything is fetched already. */
export interface JavaCheck {
  readonly usable: boolean;
  /** What was found, for people: `Java 17`, or what is missing. */
  readonly found: string;
}

const oldestJava = 17;

/** Looks for Java and Maven. Takes about 0.1 s, or 0.5 s when Maven has to be asked too. */
export async function checkJava(env: NodeJS.ProcessEnv): Promise<JavaCheck> {
  const text = await output(javaCommand(env), ['-version'], env);
  if (text === undefined) return { usable: false, found: 'Java is not installed' };
  const [, first = '0', second = '0'] = /version "(\d+)(?:\.(\d+))?/.exec(text) ?? [];
  const version = Number(first === '1' ? second : first);
  if (version < oldestJava) {
    return { usable: false, found: `Java ${version} is too old (${oldestJava} or newer is needed)` };
  }
  const maven = fetched() !== undefined || (await output('mvn', ['-v'], env)) !== undefined;
  return maven
    ? { usable: true, found: `Java ${version}` }
    : { usable: false, found: `Java ${version} is installed, but Maven (mvn) is not` };
}

/**
 * Answers where the software is; Maven fetches what is missing into its own repository (~/.m2).
 * Done once per version of local/pom.xml: later starts need no Maven and no network.
 * @throws StackError FETCH_FAILED with Maven's own words; ABORTED when the signal ends it.
 */
export async function fetchSoftware(options: {
  readonly env: NodeJS.ProcessEnv;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}): Promise<Software> {
  const java = javaCommand(options.env);
  const there = fetched();
  if (there !== undefined) return { java, ...there };
  const { final } = places();
  // Built aside and renamed: a start that is killed here, or runs next to another one, leaves nothing half done.
  const aside = `${final}.${randomUUID()}`;
  try {
    await runMaven(aside, options);
    rmSync(final, { recursive: true, force: true });
    try {
      renameSync(aside, final);
    } catch (error) {
      if (fetched() === undefined) throw error;
    }
  } finally {
    rmSync(aside, { recursive: true, force: true });
  }
  const now = fetched();
  if (now === undefined) {
    throw new StackError('FETCH_FAILED', `Maven ended well, but ${final} lacks files: see ${mavenLog()}`);
  }
  return { java, ...now };
}

async function runMaven(
  out: string,
  options: {
    env: NodeJS.ProcessEnv;
    onProgress: (line: string) => void;
    signal?: AbortSignal | undefined;
  },
): Promise<void> {
  const { pom } = places();
  const logFile = mavenLog();
  mkdirSync(join(projectRoot(), '.local', 'java'), { recursive: true });
  options.onProgress('fetching Kafka and the schema registry with Maven (about 260 MB the first time)');
  const log = createWriteStream(logFile);
  const child = spawn('mvn', ['-B', '-f', pom, 'initialize', `-Dout=${out}`], {
    env: options.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    // Out of the terminal's process group, like the rest of the stack: ended by the signal below, not by Ctrl-C.
    detached: true,
  });
  const end = (): void => {
    child.kill('SIGTERM');
  };
  options.signal?.addEventListener('abort', end, { once: true });
  const errors: string[] = [];
  const read = (coloured: string): void => {
    const line = stripVTControlCharacters(coloured);
    log.write(`${line}\n`);
    const file = /Downloaded from \S+: \S*\/(\S+\.(?:jar|gz)) \((\S+ \S+)/.exec(line);
    if (file !== null) options.onProgress(`fetched ${file[1] ?? ''} (${file[2] ?? ''})`);
    if (line.startsWith('[ERROR]') && errors.length < 5) errors.push(line);
  };
  createInterface({ input: child.stdout }).on('line', read);
  createInterface({ input: child.stderr }).on('line', read);
  const code = await new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      errors.push(error.message);
      resolve(null);
    });
    child.once('close', resolve);
  });
  options.signal?.removeEventListener('abort', end);
  log.end();
  if (options.signal?.aborted === true) throw new StackError('ABORTED', 'fetching with Maven was ended');
  if (code !== 0) {
    throw new StackError(
      'FETCH_FAILED',
      `Maven could not fetch the local stack (exit code ${code ?? 'none'}); the whole log is ${logFile}. ` +
        `Check the network and Maven's settings (~/.m2/settings.xml), then start again.\n${errors.join('\n')}`,
    );
  }
}

function fetched(): { classpath: string; registryJar: string } | undefined {
  const { final } = places();
  try {
    const classpath = readFileSync(join(final, 'classpath'), 'utf8').trim();
    const registry = join(final, 'registry');
    const jar = readdirSync(registry).find((name) => name.endsWith('-runner.jar'));
    // Maven's repository may have been emptied since.
    if (jar === undefined || !classpath.split(delimiter).every((path) => existsSync(path))) return undefined;
    return { classpath, registryJar: join(registry, jar) };
  } catch {
    return undefined;
  }
}

function places(): { pom: string; final: string } {
  const pom = join(projectRoot(), 'local', 'pom.xml');
  const version = createHash('sha256').update(readFileSync(pom)).digest('hex').slice(0, 12);
  return { pom, final: join(projectRoot(), '.local', 'java', version) };
}

function mavenLog(): string {
  return join(projectRoot(), '.local', 'java', 'maven.log');
}

function javaCommand(env: NodeJS.ProcessEnv): string {
  const home = env['JAVA_HOME'];
  return home === undefined || home === '' ? 'java' : join(home, 'bin', 'java');
}

/** What a program writes; undefined when it cannot be run or fails. */
function output(command: string, args: string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return runProgram(command, command, args, { env, timeout: 20_000 }).catch(() => undefined);
}

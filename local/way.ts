import { projectRoot } from '../process/root.ts';
import { dockerAnswers } from './docker.ts';
import { StackError } from './errors.ts';
import { checkJava } from './maven.ts';

/** How the stack can run on this machine. */
export interface Way {
  readonly path: 'embedded' | 'docker';
  readonly description: string;
}

/**
 * Java and Maven before Docker: the embedded stack is up sooner, and its brokers can be stopped and killed one by one.
 * LOCAL_STACK in `env` decides by hand.
 * @throws StackError NO_STACK, telling what was looked for and what would do.
 */
export async function chooseWay(env: NodeJS.ProcessEnv): Promise<Way> {
  const forced = env['LOCAL_STACK'] ?? '';
  if (!['', 'embedded', 'docker'].includes(forced)) {
    throw new StackError(
      'NO_STACK',
      'LOCAL_STACK must be embedded or docker, or unset to let the machine decide',
    );
  }
  const java =
    forced === 'docker'
      ? { usable: false, found: 'Java was not looked for' }
      : await checkJava(projectRoot(), env);
  if (java.usable)
    return { path: 'embedded', description: `embedded (${java.found}, processes of this machine)` };
  const engine = forced === 'embedded' ? 'Docker was not looked for' : await dockerAnswers(env);
  if (engine === true) return { path: 'docker', description: 'docker (docker-compose.kafka.yml)' };
  throw new StackError(
    'NO_STACK',
    `there is no way to run Kafka here: ${java.found}; ${engine}${forced === '' ? '' : ` (LOCAL_STACK=${forced})`}. One of these is needed:\n` +
      '  1. Java 17 or newer and Maven: Kafka, registry and Postgres then run as processes of this machine;\n' +
      '  2. a Docker engine that answers, with docker compose: they then run as containers;\n' +
      '  3. KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and POSTGRES_URL of ones that run already.',
  );
}

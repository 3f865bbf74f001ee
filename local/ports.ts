import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { StackError } from './errors.ts';

/** The ports of a stack, all on the loopback address. */
export interface Ports {
  /** One per broker, for clients. Its controller listens on the next one. */
  readonly kafka: readonly number[];
  readonly registry: number;
  readonly postgres: number;
  readonly redis: number;
}

/** The variables that change a port, with their defaults. */
export const portVariables = {
  LOCAL_KAFKA_PORT: 19092,
  LOCAL_REGISTRY_PORT: 18081,
  LOCAL_POSTGRES_PORT: 15432,
  LOCAL_REDIS_PORT: 16379,
} as const;

export type PortVariable = keyof typeof portVariables;

/**
 * The ports that the environment asks for. A broker takes two, one for clients and the next for its controller,
 * so three brokers take LOCAL_KAFKA_PORT and the five that follow.
 * @throws StackError PORT_TAKEN when a variable is no port, or two parts would share one.
 */
export function fixedPorts(env: NodeJS.ProcessEnv, brokers: number): Ports {
  const first = port('LOCAL_KAFKA_PORT', env);
  const ports: Ports = {
    kafka: Array.from({ length: brokers }, (_, index) => first + 2 * index),
    registry: port('LOCAL_REGISTRY_PORT', env),
    postgres: port('LOCAL_POSTGRES_PORT', env),
    redis: port('LOCAL_REDIS_PORT', env),
  };
  const all = [
    ...ports.kafka.flatMap((each) => [each, each + 1]),
    ports.registry,
    ports.postgres,
    ports.redis,
  ];
  const twice = all.find((each, index) => all.indexOf(each) !== index);
  if (twice !== undefined) {
    throw new StackError(
      'PORT_TAKEN',
      `port ${twice} would be used twice: LOCAL_KAFKA_PORT ${first} takes ${first} to ${first + 2 * brokers - 1}; ` +
        `set ${Object.keys(portVariables).join(', ')} apart from each other`,
    );
  }
  return ports;
}

/**
 * Ports on which no program listens now, for runs that must not meet others.
 * They lie below the range from which systems give ports to outgoing connections (32768 and up): a broker that is
 * down for a moment would otherwise lose its port to such a connection, even to a client's own attempt to reach it.
 */
export async function freePorts(brokers: number): Promise<Ports> {
  const taken = new Set<number>();
  const run = async (length: number): Promise<number> => {
    for (let attempt = 0; attempt < 1000; attempt += 1) {
      const first = 20_000 + Math.floor(Math.random() * 12_000);
      const wanted = Array.from({ length }, (_, index) => first + index);
      if (wanted.some((each) => taken.has(each))) continue;
      if ((await Promise.all(wanted.map(isFree))).every(Boolean)) {
        for (const each of wanted) taken.add(each);
        return first;
      }
    }
    throw new StackError('PORT_TAKEN', 'no free ports were found between 20000 and 32000 on 127.0.0.1');
  };
  const kafka: number[] = [];
  for (let index = 0; index < brokers; index += 1) kafka.push(await run(2));
  return { kafka, registry: await run(1), postgres: await run(1), redis: await run(1) };
}

/** @throws StackError PORT_TAKEN naming the port and the variable that changes it, when another program listens there. */
export async function assertFree(
  ports: readonly number[],
  what: string,
  variable: PortVariable,
): Promise<void> {
  for (const each of ports) {
    if (await becomesFree(each)) continue;
    throw new StackError(
      'PORT_TAKEN',
      `port ${each} on 127.0.0.1, wanted for ${what}, is in use by another program. ` +
        `End that program, or set ${variable} to another port (it is ${portVariables[variable]} by default).`,
    );
  }
}

// The threads of a killed process can hold its port for a moment after the process counts as gone.
async function becomesFree(each: number): Promise<boolean> {
  const deadline = performance.now() + 2_000;
  while (!(await isFree(each))) {
    if (performance.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

async function isFree(each: number): Promise<boolean> {
  // Listening alone is not enough: some systems let 127.0.0.1 be bound while another program holds 0.0.0.0.
  return !(await isAnswered(each)) && (await canListen(each));
}

function canListen(each: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(each, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function isAnswered(each: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port: each, host: '127.0.0.1', timeout: 1_000 });
    const settle = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', settle(true));
    socket.once('error', settle(false));
    socket.once('timeout', settle(false));
  });
}

function port(variable: PortVariable, env: NodeJS.ProcessEnv): number {
  const text = env[variable];
  if (text === undefined || text === '') return portVariables[variable];
  const value = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > 65_529) {
    throw new StackError('PORT_TAKEN', `${variable} must be a port between 1 and 65529`);
  }
  return value;
}

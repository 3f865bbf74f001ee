import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { kafkaClient } from '../kafka/client.ts';
import { createLog } from '../process/log.ts';
import { projectRoot } from '../process/root.ts';
import type { Software } from './maven.ts';
import { processPart, type Part } from './part.ts';
import { runProgram, type Program } from './processes.ts';
import { assertFree, type Ports } from './ports.ts';

interface BrokerOptions {
  /** The directory of the stack. */
  readonly directory: string;
  /** 0 for the first; its node id and name count from 1. */
  readonly index: number;
  readonly ports: Ports;
  /** The same for all brokers of a stack; written into the data when it is formatted. */
  readonly clusterId: string;
  readonly software: () => Promise<Software>;
  /**
   * False for a stack that lives for minutes: it is compiled less thoroughly, which halves its start. What it has
   * acknowledged survives a kill either way: a broker hands every record to the operating system before it answers.
   */
  readonly durable: boolean;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** One Kafka broker of the local stack: broker and controller in one process (KRaft combined mode). */
export function broker(options: BrokerOptions): Part {
  const { index, ports } = options;
  const name = nameOf(index);
  const port = portOf(options);
  const home = join(options.directory, name);
  const data = join(home, 'data');
  const properties = join(home, 'server.properties');
  const fencing = fencingController(options, home);
  return processPart({
    name,
    directory: options.directory,
    startDeadlineMs: 60_000,
    // A controlled shutdown moves the leaders first; of three brokers that stop together the last finds no other.
    stopDeadlineMs: 15_000,
    onProgress: options.onProgress,
    signal: options.signal,
    async require() {
      await assertFree([port, port + 1], `broker ${name} (clients and controller)`, 'LOCAL_KAFKA_PORT');
      await options.software();
    },
    async prepare() {
      mkdirSync(home, { recursive: true });
      writeFileSync(properties, toProperties(brokerSettings({ index, ports, dataDirectory: data })));
      if (existsSync(join(data, 'bootstrap.checkpoint'))) {
        if (ports.kafka.length === 1 && !existsSync(join(data, '.kafka_cleanshutdown'))) {
          await fencing.start();
          await fencing.stop();
        }
        return;
      }
      const { java, classpath } = await options.software();
      const format = ['format', '--ignore-formatted', '-t', options.clusterId, '-c', properties];
      const args = ['-cp', classpath, ...quickStart, logging(), 'kafka.tools.StorageTool', ...format];
      await runProgram("formatting the broker's data directory", java, args);
    },
    program: () => kafka(options, properties, home),
    // It answers, and the controller counts it among the live ones, so it gets replicas and leaders.
    healthy: async () => (await liveBrokers(port)).includes(index + 1),
  });
}

/**
 * A single broker that was killed is restarted only after its controller, alone, has fenced the run before. Otherwise
 * its coordinators begin with what the killed run led, and some seconds later the old session ends and for a moment no
 * partition has a leader. A transaction whose markers are due in that moment is ended without them (Kafka 4.3.1 takes
 * such a partition for deleted, where older versions waited): its readers then wait for ever, or read what was
 * aborted. It is no slower: a broker is not let in before the session of its last run has ended in any case.
 */
function fencingController(options: BrokerOptions, home: string): Part {
  const { directory, index, ports } = options;
  const port = portOf(options);
  const name = `${nameOf(index)}-fencing`;
  const log = join(directory, 'logs', `${name}.log`);
  const properties = join(home, 'fencing.properties');
  return processPart({
    name,
    directory,
    startDeadlineMs: 60_000,
    stopDeadlineMs: 15_000,
    onProgress: () => undefined,
    signal: options.signal,
    prepare() {
      // Its health is read from its log, which must not be that of an earlier run.
      rmSync(log, { force: true });
      const settings = {
        ...brokerSettings({ index, ports, dataDirectory: join(home, 'data') }),
        'process.roles': 'controller',
        listeners: `CONTROLLER://127.0.0.1:${port + 1}`,
        'advertised.listeners': `CONTROLLER://127.0.0.1:${port + 1}`,
        'broker.session.timeout.ms': String(fencingSessionMs),
      };
      writeFileSync(properties, toProperties(settings));
    },
    program: () => kafka(options, properties, home),
    healthy: () => Promise.resolve(hasFenced(readFileSync(log, 'utf8'))),
  });
}

/** How long the controller that fences an earlier run waits for it. */
const fencingSessionMs = 1_000;

/** Whether a controller's log shows that nothing is left of an earlier run: it was fenced now, or had been before. */
function hasFenced(log: string): boolean {
  if (log.includes('Fencing broker')) return true;
  const activated = /^(\S+),\d+ WARN .*Performing controller activation/m.exec(log)?.[1];
  return activated !== undefined && Date.now() - new Date(activated).getTime() > 3 * fencingSessionMs + 1_000;
}

async function kafka(options: BrokerOptions, properties: string, home: string): Promise<Program> {
  const { java, classpath } = await options.software();
  // Three brokers share the machine with everything else; one may take more.
  const heap = options.ports.kafka.length > 1 ? '-Xmx256m' : '-Xmx512m';
  const compiler = options.durable ? [] : quickStart;
  return {
    command: java,
    args: ['-cp', classpath, heap, ...compiler, logging(), 'kafka.Kafka', properties],
    cwd: home,
  };
}

// Asked many times while a broker starts: whatever the client would log then is normal.
const silent = createLog({ name: 'local', level: 'silent' });
const liveDeadlineMs = 2_000;

/**
 * Asks the broker on a port of this machine which brokers are live: proof that it serves requests.
 * @returns the node ids of the live brokers, as this broker, or one that it names, sees them.
 * @throws Error when there is no answer within 2 s.
 */
export async function liveBrokers(port: number): Promise<number[]> {
  const connection = { brokers: [`127.0.0.1:${port}`] };
  const admin = kafkaClient(connection, {
    clientId: 'local-stack',
    log: silent,
    retry: { retries: 0 },
  }).admin();
  const ask = async (): Promise<number[]> => {
    try {
      await admin.connect();
      return (await admin.describeCluster()).brokers.map(({ nodeId }) => nodeId);
    } finally {
      await admin.disconnect();
    }
  };
  const late = new AbortController();
  // The client's own deadline, 10 s, is for brokers that work; a suspended one accepts connections and never answers.
  const deadline = sleep(liveDeadlineMs, undefined, { signal: late.signal }).then(() => {
    throw new Error(`the broker on port ${port} did not answer within ${liveDeadlineMs} ms`);
  });
  try {
    return await Promise.race([ask(), deadline]);
  } finally {
    late.abort();
  }
}

/**
 * The settings of one broker. docker-compose.kafka.yml gives its broker the same (a test compares them).
 * Unless said otherwise a default is left alone, so that what works here works on other clusters.
 */
export function brokerSettings(options: {
  readonly index: number;
  readonly ports: Ports;
  readonly dataDirectory: string;
}): Record<string, string> {
  const { index, ports } = options;
  const id = index + 1;
  const port = ports.kafka[index] ?? 0;
  const voters = ports.kafka.map((each, other) => `${other + 1}@127.0.0.1:${each + 1}`);
  return {
    'process.roles': 'broker,controller',
    'node.id': String(id),
    listeners: `CLIENTS://127.0.0.1:${port},CONTROLLER://127.0.0.1:${port + 1}`,
    'advertised.listeners': `CLIENTS://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'CLIENTS',
    'controller.listener.names': 'CONTROLLER',
    'controller.quorum.voters': voters.join(','),
    'log.dirs': options.dataDirectory,
    ...commonSettings(ports.kafka.length),
    ...(ports.kafka.length === 1 ? singleSettings : replicatedSettings),
  };
}

// A single broker that was suspended, or had no processor for a while, has no other to hand its partitions to.
const singleSettings = { 'broker.session.timeout.ms': '30000' };

/**
 * A record is acknowledged when all replicas in sync have it, and a dead one is in sync until it is taken out: after 30 s by
 * default, or when its session has ended. So long nothing at all would be acknowledged where every broker has a replica of
 * everything. The controller takes it out, and the dead broker may have been the controller.
 */
const replicatedSettings = {
  'replica.lag.time.max.ms': '500',
  // A follower that waits longer than that for records is taken for one that lags.
  'replica.fetch.wait.max.ms': '100',
  'controller.quorum.fetch.timeout.ms': '600',
  'controller.quorum.election.timeout.ms': '300',
  'controller.quorum.election.backoff.max.ms': '100',
  // How long what it led has no leader; 9 s by default.
  'broker.session.timeout.ms': '6000',
  'broker.heartbeat.interval.ms': '1000',
};

/** The settings that do not depend on where the broker runs. */
export function commonSettings(brokers: number): Record<string, string> {
  const replicas = String(brokers > 1 ? 3 : 1);
  const inSync = String(brokers > 1 ? 2 : 1);
  return {
    // Topics are created explicitly: a misspelt name must be an error, not a topic with the wrong partition count.
    'auto.create.topics.enable': 'false',
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    // With their default of 3 the coordinators of a single broker never become available.
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    // 50 by default, for clusters with thousands of groups; fewer are created and loaded faster.
    'offsets.topic.num.partitions': '12',
    'transaction.state.log.num.partitions': '12',
    'share.coordinator.state.topic.num.partitions': '12',
    // Saves 3 s at the first join of every group.
    'group.initial.rebalance.delay.ms': '0',
    // How often timed out transactions are looked for; the default of 10 s is added to a dead process's timeout
    // for every reader of committed records.
    'transaction.abort.timed.out.transaction.cleanup.interval.ms': '1000',
    // 60 days: raw topics keep 28, and the offsets of a group that was idle for 7 days would be forgotten.
    'offsets.retention.minutes': '86400',
    // Dead letters may have 16 MiB. Topics set their own max.message.bytes; followers must be able to fetch it.
    'replica.fetch.max.bytes': String(17 * 1024 * 1024),
    'replica.fetch.response.max.bytes': String(34 * 1024 * 1024),
    // 128 MB of heap by default, for compacted topics of a size that no local stack has.
    'log.cleaner.dedupe.buffer.size': String(16 * 1024 * 1024),
  };
}

// The quick compiler and the simple collector: 40 % less processor time until a broker is up, and less memory.
const quickStart = ['-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC'];

function logging(): string {
  return `-Dlog4j2.configurationFile=${join(projectRoot(), 'local', 'log4j2.properties')}`;
}

function nameOf(index: number): string {
  return `kafka-${index + 1}`;
}

function portOf({ index, ports }: BrokerOptions): number {
  const port = ports.kafka[index];
  if (port === undefined) throw new RangeError(`there is no port for ${nameOf(index)}`);
  return port;
}

/** Java reads properties files as Latin-1 with escapes. */
function toProperties(settings: Record<string, string>): string {
  const escaped = (text: string): string =>
    text
      .replaceAll('\\', '\\\\')
      .replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return Object.entries(settings)
    .map(([key, value]) => `${key}=${escaped(value)}\n`)
    .join('');
}

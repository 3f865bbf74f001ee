import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StackError } from './errors.ts';
import type { Software } from './maven.ts';
import { liveBrokers } from './metadata-request.ts';
import { processPart, type Part } from './part.ts';
import type { Program } from './processes.ts';
import { assertFree, type Ports } from './ports.ts';

/**
 * One Kafka broker of the local stack: broker and controller in one process (KRaft combined mode).
 * @param options.index - 0 for the first; its node id and name count from 1.
 * @param options.clusterId - the same for all brokers of a stack; written into the data when it is formatted.
 */
export function broker(options: {
  readonly directory: string;
  readonly root: string;
  readonly index: number;
  readonly ports: Ports;
  readonly clusterId: string;
  readonly software: () => Promise<Software>;
  /** False for a stack that lives for minutes: it is compiled less thoroughly, which halves its start. */
  readonly durable: boolean;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}): Part {
  const { directory, index, ports } = options;
  const name = `kafka-${index + 1}`;
  const port = ports.kafka[index];
  if (port === undefined) throw new RangeError(`there is no port for ${name}`);
  const home = join(directory, name);
  const data = join(home, 'data');
  const properties = join(home, 'server.properties');
  const logging = `-Dlog4j2.configurationFile=${join(options.root, 'local', 'log4j2.properties')}`;

  const program = async (file: string): Promise<Program> => {
    const { java, classpath } = await options.software();
    // Three brokers share the machine with everything else; one may have a little more air.
    const heap = ports.kafka.length > 1 ? '256m' : '512m';
    return {
      command: java,
      args: [
        ...['-cp', classpath, `-Xmx${heap}`, ...(options.durable ? [] : quickStart)],
        ...[logging, 'kafka.Kafka', file],
      ],
      cwd: home,
    };
  };

  /*
   * A single broker that was killed is restarted only after its controller, alone, has fenced the run before. Otherwise
   * its coordinators begin with what the killed run led, and some seconds later the old session ends and for a moment no
   * partition has a leader. A transaction whose markers are due in that moment is ended without them (Kafka 4.3.1 takes
   * such a partition for deleted, where older versions waited): its readers then wait for ever, or are given what was
   * aborted. It is no slower: a broker is not let in before the session of its last run has ended in any case.
   */
  const fencingLog = join(directory, 'logs', `${name}-fencing.log`);
  const fencing = processPart({
    name: `${name}-fencing`,
    directory,
    startDeadlineMs: 60_000,
    stopDeadlineMs: 15_000,
    onProgress: () => undefined,
    signal: options.signal,
    prepare() {
      // What it tells is read from its log: that of an earlier time must not speak for it.
      rmSync(fencingLog, { force: true });
      const settings = {
        ...brokerSettings({ index, ports, dataDirectory: data }),
        'process.roles': 'controller',
        listeners: `CONTROLLER://127.0.0.1:${port + 1}`,
        'advertised.listeners': `CONTROLLER://127.0.0.1:${port + 1}`,
        'broker.session.timeout.ms': String(fencingSessionMs),
      };
      writeFileSync(join(home, 'fencing.properties'), toProperties(settings));
    },
    program: () => program(join(home, 'fencing.properties')),
    healthy: () => Promise.resolve(hasFenced(readFileSync(fencingLog, 'utf8'))),
  });

  return processPart({
    name,
    directory,
    startDeadlineMs: 60_000,
    // A controlled shutdown hands the leaders over first; of three brokers that stop together the last has nobody left.
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
      await runJava(java, ['-cp', classpath, ...quickStart, logging, 'kafka.tools.StorageTool', ...format]);
    },
    program: () => program(properties),
    // It answers, and the controller counts it among the living, so it gets replicas and leaders.
    healthy: async () => (await liveBrokers(port)).includes(index + 1),
  });
}

/** How long the controller that fences an earlier run waits for it. */
const fencingSessionMs = 1_000;

/** Whether the log of a controller tells that nothing is left of an earlier run: it was fenced, or had been before. */
function hasFenced(log: string): boolean {
  if (log.includes('Fencing broker')) return true;
  const activated = /^(\S+),\d+ WARN .*Performing controller activation/m.exec(log)?.[1];
  return activated !== undefined && Date.now() - new Date(activated).getTime() > 3 * fencingSessionMs + 1_000;
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
    // A single broker that was suspended, or had no processor for a while, has nobody to hand its partitions to.
    ...(ports.kafka.length === 1 ? { 'broker.session.timeout.ms': '30000' } : {}),
  };
}

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
    // for everybody who reads committed records only.
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

function runJava(java: string, args: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(java, args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error === null) return resolve();
      const words = `${stdout}\n${stderr}`.trim().split('\n').slice(-5).join('\n');
      reject(
        new StackError('PART_FAILED', `formatting the broker's data directory failed:\n${words}`, {
          cause: error,
        }),
      );
    });
  });
}

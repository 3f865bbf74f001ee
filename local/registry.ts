import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Software } from './maven.ts';
import { isOk, processPart, type Part } from './part.ts';
import { assertFree, type Ports } from './ports.ts';

/**
 * Apicurio Registry with its Confluent API. Its data is an H2 file database in the stack's directory, so that
 * schema ids, which are part of every record in Kafka, survive a restart as the records do.
 */
export function registry(options: {
  readonly directory: string;
  readonly ports: Ports;
  readonly software: () => Promise<Software>;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}): Part {
  const { directory, ports } = options;
  const home = join(directory, 'registry');
  return processPart({
    name: 'registry',
    directory,
    startDeadlineMs: 60_000,
    stopDeadlineMs: 10_000,
    onProgress: options.onProgress,
    signal: options.signal,
    async require() {
      await assertFree([ports.registry], 'the schema registry', 'LOCAL_REGISTRY_PORT');
      await options.software();
    },
    prepare() {
      mkdirSync(home, { recursive: true });
    },
    async program() {
      const { java, registryJar } = await options.software();
      return {
        command: java,
        args: [
          '-Xmx256m',
          '-XX:+UseSerialGC',
          // It serves a few requests a minute: starting fast matters more than running fast.
          '-XX:TieredStopAtLevel=1',
          '-Dquarkus.http.host=127.0.0.1',
          `-Dquarkus.http.port=${ports.registry}`,
          // Without WRITE_DELAY=0, H2 writes up to 500 ms after the registry has answered: a kill would lose the id.
          `-Dquarkus.datasource.jdbc.url=jdbc:h2:file:${join(home, 'registry')};WRITE_DELAY=0`,
          '-jar',
          registryJar,
        ],
        cwd: home,
      };
    },
    healthy: () => registryAnswers(registryUrl(ports)),
  });
}

/** The base of the Confluent API, as clients want it. */
export function registryUrl(ports: Ports): string {
  return `http://127.0.0.1:${ports.registry}/apis/ccompat/v7`;
}

/** Whether the registry lists its subjects. */
export function registryAnswers(url: string): Promise<boolean> {
  return isOk(`${url}/subjects`);
}

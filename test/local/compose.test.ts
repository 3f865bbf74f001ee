import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { commonSettings } from '../../local/broker.ts';
import { portVariables } from '../../local/ports.ts';
import { projectRoot } from '../../process/root.ts';

interface Service {
  image: string;
  ports: string[];
  environment?: Record<string, string>;
  volumes?: string[];
  healthcheck: { test: string[] };
}

const file = parse(readFileSync(join(projectRoot(), 'docker-compose.kafka.yml'), 'utf8')) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
};
const services = Object.values(file.services);

test('the containers are those of the embedded stack', () => {
  assert.deepEqual(Object.keys(file.services).sort(), ['kafka', 'postgres', 'redis', 'registry']);
});

test('the broker in a container has the settings of the embedded one', () => {
  const environment = file.services['kafka']!.environment!;
  for (const [name, value] of Object.entries(commonSettings(1))) {
    assert.equal(environment[`KAFKA_${name.toUpperCase().replaceAll('.', '_')}`], value, name);
  }
});

test('Kafka, registry and Postgres are of the same version in both', () => {
  const pom = readFileSync(join(projectRoot(), 'local', 'pom.xml'), 'utf8');
  const version = (artifact: string): string =>
    new RegExp(`<artifactId>${artifact}</artifactId>\\s*<version>([^<]+)`).exec(pom)![1]!;
  assert.equal(file.services['kafka']!.image, `apache/kafka:${version('kafka_2.13')}`);
  assert.equal(
    file.services['registry']!.image,
    `apicurio/apicurio-registry-sql:${version('apicurio-registry-app')}`,
  );
  assert.match(file.services['postgres']!.image, /^postgres:18\.\d+$/);
});

test('every image is pinned to a version, and every container has a health check', () => {
  for (const { image, healthcheck } of services) {
    assert.match(image, /:\d+\.\d+\.?\w*/);
    assert.ok(healthcheck.test.length > 1);
  }
});

test('every port is published on the loopback address only, under the variable and default of the embedded stack', () => {
  const published = services.flatMap(({ ports }) => ports);
  for (const [name, port] of Object.entries(portVariables)) {
    const start = `127.0.0.1:\${${name}:-${port}}:`;
    assert.equal(published.filter((each) => each.startsWith(start)).length, 1, name);
  }
  assert.equal(published.length, Object.keys(portVariables).length);
});

test('all data is in named volumes', () => {
  const named = services.flatMap(({ volumes = [] }) => volumes.map((volume) => volume.split(':')[0]));
  assert.deepEqual(named.sort(), Object.keys(file.volumes).sort());
});

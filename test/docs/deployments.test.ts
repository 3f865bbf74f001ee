import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { projectRoot } from '../../process/root.ts';
import { readConfig } from '../../process/config.ts';
import { topologyVariables } from '../../topology/config.ts';
import { generationId } from '../../topology/generation.ts';

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly replicas: number;
    readonly selector: { readonly matchLabels: Readonly<Record<string, string>> };
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>> };
      readonly spec: {
        readonly terminationGracePeriodSeconds: number;
        readonly containers: readonly Container[];
      };
    };
  };
}

interface Container {
  readonly image: string;
  readonly command: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string }[];
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly livenessProbe: { readonly httpGet: { readonly path: string; readonly port: string } };
  readonly readinessProbe: { readonly httpGet: { readonly path: string; readonly port: string } };
}

const page = readFileSync(join(projectRoot(), 'docs', 'reprocessing-deployments.md'), 'utf8');
const manifests = [...page.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].flatMap(([, yaml]) =>
  parseAllDocuments(yaml ?? '').map((document) => {
    assert.deepEqual(document.errors, []);
    return document.toJS() as Manifest;
  }),
);

test('the page has the live generation and its candidate, which differ in generation, image and names only', () => {
  assert.equal(manifests.length, 2);
  const generations = manifests.map(generationOf);
  assert.deepEqual(generations, [0, 1]);
  const [live, candidate] = manifests.map((manifest) =>
    JSON.stringify(manifest)
      .replaceAll(`topology-g${generationOf(manifest)}`, 'NAME')
      .replaceAll(`"${generationOf(manifest)}"`, '"N"')
      .replace(/biometric-bridge:[\d.]+/, 'IMAGE'),
  );
  assert.equal(live, candidate);
});

for (const manifest of manifests)
  test(`the manifest of ${manifest.metadata.name} runs a topology that accepts its environment`, () => {
    const { template, selector } = manifest.spec;
    assert.deepEqual(selector.matchLabels, template.metadata.labels);
    const [container] = template.spec.containers;
    assert.ok(container !== undefined);
    const [node, script, command] = container.command;
    assert.deepEqual([node, command], ['node', 'topology']);
    assert.ok(existsSync(join(projectRoot(), script ?? '')));
    const set = Object.fromEntries(container.env.map(({ name, value = 'from-the-pod' }) => [name, value]));
    for (const name of Object.keys(set)) assert.ok(name in topologyVariables, name);
    const config = readConfig(topologyVariables, {
      KAFKA_BOOTSTRAP_SERVERS: 'kafka:9092',
      SCHEMA_REGISTRY_URL: 'http://registry:8081',
      ...set,
    });
    assert.equal(config.GENERATION, generationOf(manifest));
    assert.equal(container.ports[0]?.containerPort, config.ADMIN_PORT);
    assert.equal(container.livenessProbe.httpGet.path, '/livez');
    assert.equal(container.readinessProbe.httpGet.path, '/readyz');
    assert.ok(generationId(config.APPLICATION_ID, config.GENERATION).startsWith('biometric-bridge'));
  });

function generationOf({ spec }: Manifest): number {
  const value = spec.template.spec.containers[0]?.env.find(({ name }) => name === 'GENERATION')?.value;
  return Number(value);
}

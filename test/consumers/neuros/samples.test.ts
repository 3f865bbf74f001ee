import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { sample, samples } from '../../../consumers/neuros/samples/index.ts';
import { projectRoot } from '../../../process/root.ts';
import { avroType } from '../../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../../schemas/biometric-event.ts';
import { createDecoder, schemaIdOf } from '../../../schemas/codec.ts';
import { defaultRules } from '../../../topology/triggers.ts';
import { vendorNames } from '../../../vendors/index.ts';
import { sampleFile, samplesText } from './samples.ts';

const { decode, prepare } = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));

test('the samples are what the bridge makes of the golden cases: npm run generate writes them', async () => {
  assert.equal(
    readFileSync(join(projectRoot(), sampleFile), 'utf8'),
    await samplesText(),
    `${sampleFile} is stale: run npm run generate`,
  );
});

test('the value of a sample decodes to its event, under the schema id that is asked for', async () => {
  await prepare(1);
  await prepare(70_000);
  for (const { event, value } of samples) {
    assert.deepEqual(decode(value()), event);
    assert.equal(schemaIdOf(value()), 1);
    assert.equal(schemaIdOf(value(70_000)), 70_000);
    assert.deepEqual(decode(value(70_000)), event);
  }
});

test('a sample is found by its name, and a name that does not exist is answered with those that do', () => {
  for (const one of samples) assert.equal(sample(one.name), one);
  assert.throws(() => sample('oura-nap'), /^Error: no sample is named oura-nap, only oura-/);
});

test('the samples have what a reader has to handle', () => {
  const events = samples.map(({ event }) => event);
  const all = (what: (event: BiometricEvent) => string | readonly string[]): Set<string> =>
    new Set(events.flatMap(what));
  assert.deepEqual(
    all(({ device_type }) => device_type),
    new Set(vendorNames),
  );
  assert.deepEqual(
    all(({ kind }) => kind),
    new Set(['reading', 'sleep', 'recovery', 'daily', 'activity']),
  );
  assert.deepEqual(
    all(({ priority }) => priority),
    new Set(['HIGH', 'MEDIUM', 'NORMAL']),
  );
  assert.deepEqual(
    all(({ triggers }) => triggers.map(({ type }) => type)),
    new Set(defaultRules.map(({ type }) => type)),
  );
  const has: Readonly<Record<string, (event: BiometricEvent) => boolean>> = {
    'two alerts': ({ triggers }) => triggers.length > 1,
    'a baseline': ({ baseline }) => baseline !== null,
    'a deletion': ({ deleted }) => deleted,
    'an alert that was raised before': ({ triggers }) => triggers.some(({ first }) => !first),
    'an alert of a stale event': ({ flags, triggers }) => flags.includes('stale') && triggers.length > 0,
    'a version of a lower priority that takes back the alerts of the one before': ({
      supersedes,
      priority,
      deleted,
    }) => supersedes?.priority === 'MEDIUM' && priority === 'NORMAL' && takesBack(supersedes) && !deleted,
    'a deletion that takes back an alert of HIGH': ({ supersedes, deleted }) =>
      deleted && supersedes?.priority === 'HIGH' && takesBack(supersedes),
  };
  for (const [what, holds] of Object.entries(has)) assert.ok(events.some(holds), `no sample has ${what}`);
});

function takesBack(supersedes: NonNullable<BiometricEvent['supersedes']>): boolean {
  const raised = samples.flatMap(({ event }) => event.triggers.map(({ alert_id }) => alert_id));
  return supersedes.alert_ids.length > 0 && supersedes.alert_ids.every((id) => raised.includes(id));
}

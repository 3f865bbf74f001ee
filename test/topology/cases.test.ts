import { test } from 'node:test';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { TopologyTestDriver, writeOnly } from '../../streams/index.ts';
import { topicNames, topicSpecs } from '../../schemas/topics.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { rawRecord, receivedAt, webhookCases } from './cases.ts';
import { expectCases } from './expect-cases.ts';
import { vendorNames } from '../../vendors/index.ts';

test('each webhook of the table has the expected outcome in the test driver', async () => {
  const names = topicNames('driver.', vendorNames);
  const { decode, prepare } = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
  await prepare(7);
  const topology = biometrics({
    topics: names,
    rules: defaultRules,
    biometricEvent: writeOnly(createEncoder(7)),
    build: '0123456789abcdef',
  });
  const driver = new TopologyTestDriver(topology, {
    partitions: 4,
    nowMs: receivedAt,
    deadLetterTopic: names.deadLetters,
    topics: topicSpecs(names),
  });
  driver.append(...webhookCases.map((webhook) => rawRecord(webhook, (device) => names.raw[device])));
  await driver.process();
  const topics = [...Object.values(names.priority), names.deadLetters];
  expectCases(
    topics.flatMap((topic) => driver.output(topic)),
    names,
    decode,
  );
});

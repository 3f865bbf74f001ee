/** The bridge's topology, run again over raw records in the test driver. */
import { version } from '../../process/version.ts';
import { createEncoder } from '../../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import type { SchemaRegistry } from '../../schemas/registry.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { buildId } from '../../topology/headers.ts';
import type { TopicSpec } from '../../kafka/topics.ts';
import {
  SerdeError,
  TopologyTestDriver,
  writeOnly,
  type InputRecord,
  type Topology,
} from '../../streams/index.ts';
import type { TopicNames } from '../../schemas/topics.ts';
import { defaultRules } from '../../topology/triggers.ts';
import type { Place } from './audit-compare.ts';
import type { VendorName } from '../../vendors/index.ts';

/**
 * The topology of a deployment with the built-in rules, made as its process makes it.
 * @param isRefused - raw records whose output the broker has refused, which only the deployment's own topics can tell:
 *   they are dead-lettered here as well.
 */
export async function deployedTopology(
  registry: SchemaRegistry,
  topics: TopicNames<VendorName>,
  isRefused: (origin: Place) => boolean,
): Promise<Topology> {
  const idOf = (topic: string): Promise<number> => lookupSchemaId(registry, subjectOf(topic));
  const { priority } = topics;
  const ids = {
    HIGH: await idOf(priority.HIGH),
    MEDIUM: await idOf(priority.MEDIUM),
    NORMAL: await idOf(priority.NORMAL),
  };
  const encode = {
    HIGH: createEncoder(ids.HIGH),
    MEDIUM: createEncoder(ids.MEDIUM),
    NORMAL: createEncoder(ids.NORMAL),
  };
  return biometrics({
    topics,
    rules: defaultRules,
    biometricEvent: writeOnly((event) => {
      if (isRefused(event.raw)) throw new SerdeError('NOT_ENCODABLE', 'the broker has refused it');
      return encode[event.priority](event);
    }),
    build: buildId({ version: version(), rules: defaultRules, schemaId: ids.HIGH }),
  });
}

/**
 * Processes raw records in a driver.
 * @throws Error when they do not begin at offset 0 without gaps: the driver counts offsets itself.
 */
export async function recompute(
  topology: Topology,
  raw: readonly InputRecord[],
  options: { partitions: number; deadLetterTopic: string; topics: readonly TopicSpec[] },
): Promise<TopologyTestDriver> {
  const driver = new TopologyTestDriver(topology, options);
  for (const record of raw) {
    const [offset] = driver.append(record);
    if (offset !== record.offset)
      throw new Error(
        `${record.topic}-${record.partition} has offset ${record.offset} where ${String(offset)} should be: only complete raw partitions can be audited`,
      );
  }
  await driver.process();
  return driver;
}

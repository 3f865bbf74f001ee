/**
 * Audits a topology that has nothing left to do, as a process that knows nothing but its topics: reads what is
 * committed, computes from the raw records what has to be there, and prints one JSON line of figures, with examples of
 * each kind of fault. Takes its settings as JSON in its first argument. Exit code 1 on any fault.
 *
 * It reads with the fetching of the product, whose decoder is compared with what librdkafka and Java write. The consumer of
 * kafkajs would be independent, but hands aborted records over when several transactions were aborted, and records that it
 * does not know to decode end it.
 */
import { createDecoder } from '../../schemas/codec.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { changelogTopic } from '../../streams/changelogs.ts';
import { errorHeader } from '../../streams/errors.ts';
import { type InputRecord, type OutputRecord } from '../../streams/index.ts';
import { topicNames, topicSpecs } from '../../schemas/topics.ts';
import {
  compacted,
  compareEntries,
  compareOutputs,
  Findings,
  placeName,
  traced,
  type Place,
  type Traced,
} from './audit-compare.ts';
import { unlinkedEvents } from './audit-versions.ts';
import { deployedTopology, recompute } from './audit-expected.ts';
import { account } from './audit-rule.ts';
import { readCommitted } from '../kafka/read.ts';
import { vendorNames } from '../../vendors/index.ts';
import { headerText } from '../../schemas/raw-record.ts';

export interface AuditorSettings {
  readonly brokers: readonly string[];
  readonly registryUrl: string;
  readonly prefix: string;
  readonly applicationId: string;
  readonly partitions: number;
}

/** What an audit found. All but the first four, `refused` and `state_entries` are faults. */
export interface AuditFigures {
  readonly raw: number;
  readonly events: number;
  readonly dead_letters: number;
  /** Raw records that had to lead to nothing. */
  readonly dropped: number;
  /** Dead letters of records whose output the broker refused. */
  readonly refused: number;
  /** By the independent rule: raw records without the output they should have. */
  readonly missing: number;
  /** By the independent rule: outputs that should not be there. */
  readonly duplicates: number;
  /** By an independent rule: events that do not name the version before them, or not all of its alerts. */
  readonly unlinked: number;
  /** Outputs whose bytes or order are not those of a recomputation, that are missing in it or here. */
  readonly different: number;
  readonly state_entries: number;
  /** Entries of changelogs that are not those of a recomputation. */
  readonly state_different: number;
  /** `topic-partition@offset` of some faults. */
  readonly examples: readonly string[];
}

async function audit(settings: AuditorSettings): Promise<AuditFigures> {
  const { prefix, applicationId, partitions } = settings;
  const connection = { brokers: settings.brokers };
  const names = topicNames(prefix, vendorNames);
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: settings.registryUrl });
  // A release before may have written under its own version of the contract.
  const decoder = createDecoder((id) => registry.typeById(id));
  const unreadable = new Findings();
  const trace = async (outputs: readonly OutputRecord[]): Promise<Traced[]> => {
    const all: Traced[] = [];
    for (const output of outputs) {
      const one = await traced(output, names.deadLetters, decoder);
      if (one === undefined) unreadable.add(`${output.topic}-${output.partition}: tells no origin`);
      else all.push(one);
    }
    return all;
  };
  const readAll = async (topics: readonly string[]): Promise<InputRecord[]> => {
    const records: InputRecord[] = [];
    // One after the other: memory and sockets of the auditor are not what is tested.
    for (const topic of topics)
      for (const record of await readCommitted(connection, [topic])) records.push(record);
    return records;
  };

  const outputTopics = [...Object.values(names.priority), names.deadLetters];
  const raw = await readAll(Object.values(names.raw));
  const outputs = await readAll(outputTopics);
  const actual = await trace(outputs);
  const refused = new Set(
    actual.filter(({ output }) => wasRefused(output)).map(({ origin }) => placeName(origin)),
  );
  const isRefused = (origin: Place): boolean => refused.has(placeName(origin));

  const topology = await deployedTopology(registry, names, isRefused);
  const driver = await recompute(topology, raw, {
    partitions,
    deadLetterTopic: names.deadLetters,
    topics: topicSpecs(names),
  });
  const expected = await trace(outputTopics.flatMap((topic) => driver.output(topic)));
  const different = compareOutputs(expected, actual, isRefused);
  const state = new Findings();
  let entries = 0;
  for (const { name } of topology.stores) {
    const changelog = await readCommitted(connection, [changelogTopic(applicationId, name)]);
    for (let partition = 0; partition < partitions; partition += 1) {
      const found = compacted(changelog.filter((record) => record.partition === partition));
      entries += found.length;
      compareEntries(`${name}-${partition}`, driver.storeEntries(name, partition), found, state);
    }
  }
  const accounts = account(
    raw,
    actual.map(({ origin }) => origin),
  );
  const unlinked = unlinkedEvents(actual.flatMap(({ event }) => event ?? []));
  const deadLetters = outputs.filter(({ topic }) => topic === names.deadLetters).length;
  return {
    raw: raw.length,
    events: outputs.length - deadLetters,
    dead_letters: deadLetters,
    dropped: accounts.dropped,
    refused: refused.size,
    missing: accounts.missing.count,
    duplicates: accounts.duplicates.count,
    unlinked: unlinked.count,
    different: different.count + unreadable.count,
    state_entries: entries,
    state_different: state.count,
    examples: [accounts.missing, accounts.duplicates, unlinked, different, unreadable, state].flatMap(
      ({ examples }) => examples,
    ),
  };
}

function wasRefused({ headers }: OutputRecord): boolean {
  return headerText(headers, errorHeader.message)?.startsWith('the broker refused') ?? false;
}

const settings = JSON.parse(process.argv[2] ?? '{}') as AuditorSettings;
const figures = await audit(settings);
process.stdout.write(`${JSON.stringify(figures)}\n`);
const { missing, duplicates, unlinked, different, state_different } = figures;
if (missing + duplicates + unlinked + different + state_different > 0) process.exitCode = 1;

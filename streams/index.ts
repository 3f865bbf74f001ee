/** A small Kafka Streams for Node: what applications and their tests import. */
export { readMemberData } from './assignor.ts';
export { StreamsBuilder, type KStream } from './builder.ts';
export { changelogSpecs, changelogTopic } from './changelogs.ts';
export type { CommitStep } from './commit.ts';
export type { StreamsLog, StreamsOptions } from './config.ts';
export { describe } from './describe.ts';
export { errorHeader, StreamsError, type ErrorHandlers, type RecordFailure } from './errors.ts';
export { KafkaStreams } from './kafka-streams.ts';
export { promMetrics, type State, type StreamsMetrics } from './metrics.ts';
export { drop, Dropped, partly, Partly, reject, Rejected } from './outcome.ts';
export { Recomputation, type Recomputed } from './recomputation.ts';
export type { CreatePunctuator, PunctuatedTask, Punctuator, PunctuatorContext } from './punctuator.ts';
export type { Headers, InputRecord, OutputHeaders, OutputRecord, RecordContext } from './record.ts';
export { seededRandom } from './random.ts';
export { SerdeError, serdes, writeOnly, type Serde } from './serdes.ts';
export type { KeyValueStore, StateStore } from './store.ts';

export { SimulatedCrash, TopologyTestDriver, type DriverInput } from './test-driver.ts';
export type { Topology } from './topology.ts';

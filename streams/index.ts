/** A small Kafka Streams for Node: what applications import. */
export { StreamsBuilder, KStream, type Produced } from './builder.ts';
export type { CommitStep } from './commit.ts';
export type { StreamsLog, StreamsOptions } from './config.ts';
export { describe, describeNodes, type TopologyDescription } from './describe.ts';
export {
  deadLetterAlways,
  errorHeader,
  StreamsError,
  type ErrorHandler,
  type ErrorHandlers,
  type ErrorResponse,
  type RecordFailure,
  type StreamsErrorCode,
} from './errors.ts';
export { KafkaStreams } from './kafka-streams.ts';
export { noMetrics, promMetrics, type State, type StreamsMetrics } from './metrics.ts';
export { drop, Dropped, reject, Rejected } from './outcome.ts';
export {
  headerText,
  type Headers,
  type InputRecord,
  type OutputHeaders,
  type OutputRecord,
  type RecordContext,
} from './record.ts';
export { seededRandom } from './random.ts';
export { SerdeError, serdes, writeOnly, type Serde } from './serdes.ts';
export { serveStreamWorker, StreamWorkers, type ServedStreams } from './stream-workers.ts';
export { changelogConfig, changelogTopic, type KeyValueStore, type StoreOptions } from './store.ts';
export { SimulatedCrash, TopologyTestDriver, type DriverInput, type ProcessOptions } from './test-driver.ts';
export type { Topology } from './topology.ts';

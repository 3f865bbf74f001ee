/**
 * `biometric-bridge/schemas`: what a reader of the priority topics needs when it brings its own Kafka client. The types of
 * the contract, the codec, the registry, and the names of topics and subjects.
 */
export {
  biometricEventAvsc,
  type Baseline,
  type BiometricEvent,
  type DeviceType,
  type Priority,
  type RawRef,
  type RecordKind,
  type Superseded,
  type Trigger,
} from './biometric-event.ts';
export {
  createDecoder,
  createEncoder,
  DecodeError,
  EncodeError,
  schemaIdOf,
  UnknownSchemaId,
  type DecodeErrorCode,
  type Decoder,
  type Encode,
} from './codec.ts';
export { lookupSchemaId, registerSchemas, subjectOf, subjects, type Registered } from './contract.ts';
export {
  RegistryError,
  schemaRegistry,
  type RegistryConfig,
  type RegistryErrorCode,
  type SchemaRegistry,
} from './registry.ts';
export { priorityTopics } from './topics.ts';
export type { AvroType } from './avro.ts';

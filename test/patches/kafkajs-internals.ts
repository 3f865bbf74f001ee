/** The parts of kafkajs that its patch changes and that no public export reaches, with the types the tests need. */
import { createRequire } from 'node:module';
import type { Message } from 'kafkajs';

const require = createRequire(import.meta.url);

/** What one produce request carries for one partition. */
export interface PartitionData {
  readonly partition: number;
  readonly messages: readonly Message[];
  readonly firstSequence: number;
}

export interface ProduceRequest {
  readonly producerId: number;
  readonly topicData: readonly { readonly topic: string; readonly partitions: readonly PartitionData[] }[];
}

export interface ProduceResponse {
  readonly topics: readonly {
    readonly topicName: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly errorCode: number;
      readonly baseOffset: string;
    }[];
  }[];
}

export interface Logger {
  readonly namespace: () => Logger;
  readonly debug: (message: string) => void;
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  readonly error: (message: string) => void;
}

export interface OffsetsOfGroup {
  readonly consumerGroupId: string;
  readonly memberId?: string;
  readonly generationId?: number;
  readonly topics: readonly {
    readonly topic: string;
    readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
  }[];
}

export interface EosManager {
  initProducerId(): Promise<void>;
  getProducerId(): number;
  getSequence(topic: string, partition: number): number;
  updateSequence(topic: string, partition: number, increment: number): void;
  beginTransaction(): void;
  addPartitionsToTransaction(
    topics: readonly { topic: string; partitions: readonly { partition: number }[] }[],
  ): Promise<void>;
  addOffsetsToTransaction(consumerGroupId: string): Promise<void>;
  sendOffsets(offsets: OffsetsOfGroup): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export type SendMessages = (send: {
  readonly acks: number;
  readonly topicMessages: readonly { readonly topic: string; readonly messages: readonly Message[] }[];
}) => Promise<unknown>;

type Retrier = (attempt: unknown) => Promise<unknown>;

export interface PartitionerArguments {
  readonly message: Message;
}

export const createEosManager = require('kafkajs/src/producer/eosManager') as (options: {
  readonly logger: Logger;
  readonly cluster: unknown;
  readonly transactional: boolean;
  readonly transactionalId?: string;
  readonly transactionTimeout?: number;
  readonly isDisconnected?: () => boolean;
}) => EosManager;

export const createSendMessages = require('kafkajs/src/producer/sendMessages') as (options: {
  readonly logger: Logger;
  readonly cluster: unknown;
  readonly partitioner: (message: PartitionerArguments) => number;
  readonly eosManager: EosManager;
  readonly retrier: Retrier;
  readonly isDisconnected?: () => boolean;
}) => SendMessages;

export const createRetrier = require('kafkajs/src/retry') as (options: {
  readonly initialRetryTime: number;
  readonly maxRetryTime: number;
  readonly retries: number;
}) => Retrier;

/** The requests of one connection. */
export const RequestQueue = require('kafkajs/src/network/requestQueue') as new (options: {
  readonly maxInFlightRequests: number | null;
  readonly requestTimeout: number;
  readonly enforceRequestTimeout: boolean;
  readonly clientId: string;
  readonly broker: string;
  readonly logger: Logger;
}) => {
  push(request: {
    readonly entry: {
      readonly correlationId: number;
      readonly resolve: () => void;
      readonly reject: (error: Error) => void;
    };
    readonly expectResponse: boolean;
    readonly sendRequest: () => void;
  }): void;
  fulfillRequest(response: { correlationId: number; payload: Buffer; size: number }): void;
  maybeThrottle(ms: number): void;
  scheduleRequestTimeoutCheck(): void;
  destroy(): void;
};

/** The brokers that a client knows. */
export const BrokerPool = require('kafkajs/src/cluster/brokerPool') as new (options: {
  readonly logger: Logger;
  readonly connectionPoolBuilder: object;
  readonly retry: object;
}) => {
  brokers: Record<string, object>;
  withBroker<T>(ask: (of: { nodeId: string }) => Promise<T>): Promise<T | null>;
};

/** Throws the error of a response as the client does when it has decoded one. */
export const parseProduceResponse = (
  require('kafkajs/src/protocol/requests/produce/v3/response') as {
    readonly parse: (response: ProduceResponse) => Promise<ProduceResponse>;
  }
).parse;

/** An error of the broker, by its number in the protocol. */
export const brokerError = (
  require('kafkajs/src/protocol/error') as { readonly createErrorFromCode: (code: number) => Error }
).createErrorFromCode;

export const { KafkaJSConnectionClosedError } = require('kafkajs/src/errors') as {
  readonly KafkaJSConnectionClosedError: new (
    message: string,
    where: { host: string; port: number },
  ) => Error;
};

interface ProtocolEncoder {
  readonly buffer: Buffer;
}

/** A produce request as the producer asks for it. */
export interface Produce {
  readonly acks: number;
  readonly timeout: number;
  readonly compression: number;
  readonly transactionalId: string | null;
  readonly producerId: string;
  readonly producerEpoch: number;
  readonly topicData: readonly { readonly topic: string; readonly partitions: readonly PartitionData[] }[];
}

const produceRequest = (
  require('kafkajs/src/protocol/requests/produce') as {
    readonly protocol: (of: { version: number }) => (produce: Produce) => { readonly request: object };
  }
).protocol({ version: 7 });

const produceProtocol = require('kafkajs/src/protocol/requests/produce') as {
  readonly versions: readonly string[];
  readonly protocol: (of: { version: number }) => (produce: object) => {
    readonly response: { readonly decode: (bytes: Buffer) => Promise<ProduceResponse> };
  };
};

/** The versions of a produce request that the client can speak. */
export function produceRequestVersions(): readonly string[] {
  return produceProtocol.versions;
}

/** Decodes what a broker has answered to a produce request of that version. */
export function decodeProduceResponse(version: number, bytes: Buffer): Promise<ProduceResponse> {
  return produceProtocol.protocol({ version })({}).response.decode(bytes);
}

const createRequest = require('kafkajs/src/protocol/request') as (request: {
  readonly correlationId: number;
  readonly clientId: string;
  readonly request: object;
}) => Promise<ProtocolEncoder>;

/** What the client writes to its socket, of version 7 and with correlation id 42. */
export async function encodeProduce(produce: Produce): Promise<Buffer> {
  const { request } = produceRequest(produce);
  return (await createRequest({ correlationId: 42, clientId: 'patch-test', request })).buffer;
}

export const kafkajsCrc32c = require('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number;

export const murmur2 = require('kafkajs/src/producer/partitioners/default/murmur2') as (
  key: Buffer | string,
) => number;

/** A logger that keeps what is logged at ERROR. */
export function collectingLogger(errors: string[] = []): Logger {
  const ignore = (): void => undefined;
  const logger: Logger = {
    namespace: () => logger,
    debug: ignore,
    info: ignore,
    warn: ignore,
    error: (message) => errors.push(message),
  };
  return logger;
}

/** The client's real sendMessages and eosManager on a fake cluster. */
import type { FakeCluster } from './fake-cluster.ts';
import { TOPIC } from './fake-cluster.ts';
import {
  collectingLogger,
  createEosManager,
  createRetrier,
  createSendMessages,
  type EosManager,
} from './kafkajs-internals.ts';

export interface FakeProducer {
  readonly eosManager: EosManager;
  /** Send one record to each of the partitions; resolves as the client's own send does. */
  send(values: Readonly<Record<number, string>>): Promise<unknown>;
}

/**
 * A producer with short retries.
 * @param kind - `plain` sends without sequences, `idempotent` with them, `transactional` in a begun transaction.
 */
export async function fakeProducer(
  cluster: FakeCluster,
  kind: 'plain' | 'idempotent' | 'transactional',
  options: {
    readonly retries?: number;
    readonly isDisconnected?: () => boolean;
    readonly partitioner?: () => number;
  } = {},
): Promise<FakeProducer> {
  const logger = collectingLogger();
  const isDisconnected = options.isDisconnected ?? ((): boolean => false);
  const eosManager = createEosManager({
    logger,
    cluster,
    isDisconnected,
    transactional: kind === 'transactional',
    ...(kind === 'transactional' ? { transactionalId: 'id' } : {}),
  });
  if (kind !== 'plain') await eosManager.initProducerId();
  if (kind === 'transactional') eosManager.beginTransaction();
  const sendMessages = createSendMessages({
    logger,
    cluster,
    eosManager,
    isDisconnected,
    partitioner: options.partitioner ?? (({ message }): number => message.partition ?? 0),
    retrier: createRetrier({ initialRetryTime: 1, maxRetryTime: 5, retries: options.retries ?? 5 }),
  });
  const send = (values: Readonly<Record<number, string>>): Promise<unknown> => {
    const messages = Object.entries(values).map(([partition, value]) => ({
      partition: Number(partition),
      value,
    }));
    return sendMessages({ acks: -1, topicMessages: [{ topic: TOPIC, messages }] });
  };
  return { eosManager, send };
}

import { NeurosClient, type NeurosLog, type NeurosOptions } from '../../../consumers/neuros/index.ts';
import { readerTopicSpecs } from '../../../schemas/topics.ts';
import { priorityStack, type PriorityStack } from '../priority-stack.ts';

/** What a client logs. */
export interface CapturedLog {
  readonly log: NeurosLog;
  readonly lines: string[];
}

export function capturedNeurosLog(): CapturedLog {
  const lines: string[] = [];
  const write =
    (level: string) =>
    (fields: object, message: string): void =>
      void lines.push(JSON.stringify({ level, ...fields, msg: message }));
  return {
    lines,
    log: { debug: () => undefined, info: write('info'), warn: write('warn'), error: write('error') },
  };
}

export type TestClient = NeurosClient & { readonly lines: string[] };

/** Priority topics with the dead-letter topic of the group `neuros`, and clients on them. */
export interface NeurosStack extends PriorityStack {
  /** The options of a client on these topics; its handlers are missing. */
  readonly options: Pick<NeurosOptions, 'brokers' | 'registry' | 'groupId' | 'topicPrefix'>;
  /** Creates and starts a client; `close` of the stack closes it. */
  client(options: Partial<NeurosOptions>): Promise<TestClient>;
}

export async function neurosStack(): Promise<NeurosStack> {
  const stack = await priorityStack('neuros', (prefix) => readerTopicSpecs(prefix, 'neuros'));
  const { brokers, registryUrl, prefix } = stack;
  const options = { brokers, registry: registryUrl, groupId: 'neuros', topicPrefix: prefix };
  const clients: NeurosClient[] = [];
  return {
    ...stack,
    options,
    async client(more) {
      const { log, lines } = capturedNeurosLog();
      const client = new NeurosClient({ ...options, log, ...more });
      clients.push(client);
      await client.start();
      return Object.assign(client, { lines });
    },
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      await stack.close();
    },
  };
}

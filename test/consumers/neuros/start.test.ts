import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import {
  memory,
  NeurosClient,
  NeurosStartError,
  type NeurosOptions,
} from '../../../consumers/neuros/index.ts';
import { GroupMember } from '../../../kafka/group.ts';
import { roundRobin } from '../../../kafka/round-robin.ts';
import { partitions, until } from '../priority-stack.ts';
import { capturedNeurosLog, neurosStack, type NeurosStack } from './harness.ts';

let stack: NeurosStack;

/** A server that counts its connections, and answers nothing unless it hands them on. */
class Front {
  readonly open = new Set<Socket>();
  accepted = 0;
  readonly #server: Server;

  constructor(target?: string) {
    this.#server = createServer((socket) => {
      this.accepted += 1;
      this.open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => this.open.delete(socket));
      if (target === undefined) {
        socket.resume();
        return;
      }
      const [host, port] = target.split(':');
      const behind = connect(Number(port), host);
      behind.on('error', () => socket.destroy());
      socket.pipe(behind).pipe(socket);
    });
  }

  async start(): Promise<string> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    for (const socket of this.open) socket.destroy();
    this.#server.close();
  }
}

function client(more: Partial<NeurosOptions>): NeurosClient {
  const { log } = capturedNeurosLog();
  return new NeurosClient({ ...stack.options, log, onEvent: () => undefined, ...more });
}

async function startFault(more: Partial<NeurosOptions>): Promise<NeurosStartError> {
  const started = performance.now();
  const one = client(more);
  const error = await one.run().then(
    () => assert.fail('it started'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof NeurosStartError, String(error));
  assert.ok(performance.now() - started < 10_000, 'it took longer than 10 s');
  assert.equal(one.health().status, 'failed');
  await one.close();
  return error;
}

describe('a client that cannot start', () => {
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  it('says what is missing', async () => {
    const { registry } = stack.options;
    const faults: readonly [Partial<NeurosOptions>, NeurosStartError['code'], RegExp][] = [
      [{ brokers: ['127.0.0.1:1'] }, 'broker', /127\.0\.0\.1:1/],
      [{ topicPrefix: 'none-' }, 'topic', /none-biometric-events\.high/],
      [{ groupId: 'other' }, 'dead_letter_topic', /bridge topics --reader other/],
      [{ registry: 'http://127.0.0.1:1/apis/ccompat/v7' }, 'schema', /127\.0\.0\.1:1/],
      [{ registry: new URL(registry).origin }, 'schema', /apis\/ccompat\/v7/],
      [{ sasl: { mechanism: 'plain', username: 'a', password: 'b' } }, 'rights', /correct sasl/],
      [
        { alerts: { ...memory(), start: () => Promise.reject(new Error('no such table')) } },
        'alerts',
        /no such table/,
      ],
    ];
    await Promise.all(
      faults.map(async ([more, code, message]) => {
        const error = await startFault(more);
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
      }),
    );
    const topics = await stack.admin.listTopics();
    assert.ok(!topics.includes(`${stack.prefix}other.dlq`), 'no client creates its dead-letter topic');
  });

  it('names what does not answer, and keeps no connection', async () => {
    const [broker, registry] = [new Front(), new Front()];
    const [brokerAddress, registryAddress] = [await broker.start(), await registry.start()];
    const errors = await Promise.all([
      startFault({ brokers: [brokerAddress] }),
      startFault({ registry: `http://${registryAddress}` }),
      startFault({ alerts: { ...memory(), start: () => new Promise(() => undefined) } }),
    ]);
    assert.deepEqual(
      errors.map(({ code }) => code),
      ['broker', 'schema', 'alerts'],
    );
    assert.ok(broker.accepted > 0);
    const { accepted } = broker;
    await until('no connection is left', () => broker.open.size + registry.open.size === 0, 2_000);
    assert.equal(broker.accepted, accepted);
    broker.close();
    registry.close();
  });
});

describe('a client that its group refuses', () => {
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  it('does not start, and says so', async () => {
    const topic = stack.names.priority.HIGH;
    const { log } = capturedNeurosLog();
    const groupId = `${stack.prefix}neuros-high`;
    // Members of one group need an assignor in common.
    const protocol = { ...roundRobin([topic], partitions), name: 'AnotherAssignor' };
    let onAssigned: (value: unknown) => void = () => undefined;
    const joined = new Promise((resolve) => (onAssigned = resolve));
    const other = new GroupMember(
      { brokers: stack.brokers },
      { groupId, clientId: 'other', protocol, sessionTimeoutMs: 10_000, log },
      { onAssigned, onLost: () => undefined, onError: (error) => assert.fail(error) },
    );
    other.start();
    await joined;
    const one = client({});
    await assert.rejects(one.start(), ({ code, message }: NeurosStartError) => {
      assert.match(message, /INCONSISTENT_GROUP_PROTOCOL/);
      return code === 'group';
    });
    assert.equal(one.health().status, 'failed');
    await one.close();
    await other.close(5_000);
  });
});

describe('a client that is closed while it starts', () => {
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  it('ends run() without an error, and keeps no connection', async () => {
    for (const ms of [-1, 0, 5, 20, 60, 150]) {
      const front = new Front(stack.brokers[0]);
      const one = client({ brokers: [await front.start()] });
      const running = one.run();
      if (ms >= 0) await new Promise((resolve) => setTimeout(resolve, ms));
      await one.close();
      await running;
      assert.equal(one.health().status, 'closed');
      await until(
        `no connection is left of a start closed after ${ms} ms`,
        () => front.open.size === 0,
        2_000,
      );
      front.close();
    }
  });
});

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { NeurosClient, NeurosOptionsError, NeurosStartError } from '../../../consumers/neuros/index.ts';
import type { NeurosOptions, NeurosStartErrorCode } from '../../../consumers/neuros/index.ts';
import { closedPort } from '../postgres/harness.ts';
import { capturedNeurosLog, neurosStack, type NeurosStack } from './harness.ts';

const onEvent = (): void => undefined;
const usable: NeurosOptions = {
  brokers: ['localhost:9092'],
  registry: 'http://localhost:8081',
  groupId: 'neuros',
  onEvent,
};

describe('the options of a client', () => {
  const faultsOf = (options: object): readonly string[] => {
    try {
      new NeurosClient({ ...usable, ...options });
      return [];
    } catch (error) {
      assert.ok(error instanceof NeurosOptionsError);
      return error.faults;
    }
  };

  for (const [what, options, fault] of [
    ['a misspelt option', { onAlerts: onEvent }, /unknown option onAlerts/],
    ['no brokers', { brokers: [] }, /brokers must be a list/],
    ['brokers as text', { brokers: 'localhost:9092' }, /brokers must be a list/],
    ['a broker with a protocol', { brokers: ['kafka://localhost:9092'] }, /brokers must be a list/],
    ['a registry without a protocol', { registry: 'localhost:8081' }, /registry must be/],
    ['an empty group', { groupId: '' }, /groupId must be a name/],
    ['a prefix with a slash', { topicPrefix: 'a/' }, /topicPrefix must be a name/],
    ['no handler', { onEvent: undefined }, /give at least one handler/],
    ['a handler that is none', { onAlert: 'log' }, /onAlert must be a function/],
    ['too few handlers at work', { concurrency: 2 }, /concurrency must be a whole number from 3/],
    ['too many reserved', { reserved: { HIGH: 7 } }, /reserved adds up to 9, more than concurrency \(8\)/],
    ['none reserved for NORMAL', { reserved: { NORMAL: 0 } }, /reserved.NORMAL must be/],
    ['a time-out of 0', { handlerTimeoutMs: 0 }, /handlerTimeoutMs must be/],
    ['half an attempt', { retries: { attempts: 0.5 } }, /retries.attempts must be/],
    ['a store that is none', { alerts: {} }, /alerts must be/],
    ['an unknown mechanism', { sasl: { mechanism: 'oauth', username: 'u', password: 'p' } }, /sasl must be/],
  ] as const)
    it(`name ${what}`, () => {
      const faults = faultsOf(options);
      assert.equal(faults.length, 1, faults.join());
      assert.match(faults[0]!, fault);
    });

  it('are all named together', () => {
    assert.equal(faultsOf({ brokers: [], groupId: '', maxAhead: -1 }).length, 3);
  });
});

describe('the start of a client', () => {
  let stack: NeurosStack;
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  const failing = async (options: Partial<NeurosOptions>): Promise<NeurosStartError> => {
    const { log } = capturedNeurosLog();
    const client = new NeurosClient({ ...stack.options, log, onEvent, ...options });
    const begun = performance.now();
    const error: unknown = await client.run().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    assert.ok(performance.now() - begun < 12_000, 'it says so within 10 s');
    assert.ok(error instanceof NeurosStartError, String(error));
    assert.equal(client.health().status, 'failed');
    return error;
  };
  const fails = async (
    options: Partial<NeurosOptions>,
    code: NeurosStartErrorCode,
    message: RegExp,
  ): Promise<void> => {
    const error = await failing(options);
    assert.equal(error.code, code);
    assert.match(error.message, message);
  };

  it('says that no broker answers', async () => {
    await fails({ brokers: [`127.0.0.1:${await closedPort()}`] }, 'broker', /no broker answers at 127/);
  });

  it('says so of a broker that takes connections and never answers', async () => {
    const silent = createServer().listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    await fails({ brokers: [`127.0.0.1:${port}`] }, 'broker', /no broker answers/);
    silent.close();
  });

  it('names the topics that are missing', async () => {
    await fails({ topicPrefix: 'nowhere.' }, 'topic', /nowhere.biometric-events.high.*bridge topics/);
  });

  it('names the dead-letter topic that is missing, and does not create it', async () => {
    await fails({ groupId: 'other' }, 'dead_letter_topic', /other\.dlq.*`bridge topics --reader other`/);
    assert.ok(!(await stack.admin.listTopics()).includes(`${stack.prefix}other.dlq`));
  });

  it('says that the registry does not answer', async () => {
    await fails({ registry: `http://127.0.0.1:${await closedPort()}` }, 'schema', /does not answer/);
  });

  it('says that the address is not that of a registry', async () => {
    const registry = new URL('/nothing', stack.registryUrl).href;
    await fails({ registry }, 'schema', /correct registry/);
  });

  it('ends at close(), though it is still under way', async () => {
    const { log } = capturedNeurosLog();
    const client = new NeurosClient({ ...stack.options, log, onEvent });
    const running = client.run();
    await client.close();
    await running;
    assert.equal(client.health().status, 'closed');
    await assert.rejects(client.run(), /it was closed: create another one/);
  });
});

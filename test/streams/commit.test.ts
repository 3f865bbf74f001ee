import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { commit, worthASend, type CommitStep, type TransactionalLog } from '../../streams/commit.ts';
import type { GroupMembership, OutputRecord } from '../../streams/record.ts';

type Attempt = Parameters<typeof commit>[1];

const membership: GroupMembership = { groupId: 'group', memberId: 'member', generationId: 7 };
const steps: readonly CommitStep[] = ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'];

function outputTo(topic: string): OutputRecord {
  return { topic, partition: 0, timestamp: 0, key: null, value: null, headers: {} };
}

/** Enough for a request of their own. */
const manyOutputs = [...Array.from({ length: worthASend - 1 }, () => outputTo('out')), outputTo('dlq')];

/** A log, a store and an attempt that record the order of their calls; the call named `failing` rejects. */
function recording(failing?: string) {
  const calls: string[] = [];
  const call = (name: string): Promise<void> => {
    calls.push(name);
    return name === failing ? Promise.reject(new Error(`${name} failed`)) : Promise.resolve();
  };
  const topics = (records: readonly OutputRecord[]): string =>
    [...new Set(records.map(({ topic }) => topic))].join(' ');
  const log: TransactionalLog = {
    begin: (groupId) => call(`begin ${groupId}`),
    send: (records) => call(`send ${topics(records)}`),
    sendOffsets: (offsets, { groupId, memberId, generationId }) =>
      call(`offsets ${offsets.map(({ offset }) => offset).join(' ')} ${groupId} ${memberId} ${generationId}`),
    commit: () => call('commit'),
  };
  const store = {
    flush: () => {
      calls.push('flush');
      return [outputTo('changelog')];
    },
    foldIn: () => calls.push('fold in'),
  };
  const attempt: Attempt = {
    membership,
    mayHaveLanded: false,
    *outputs() {
      calls.push('process 1');
      yield manyOutputs;
      calls.push('process 2');
      yield [];
      calls.push('process 3');
      yield [outputTo('out')];
    },
    *changelogs() {
      yield store.flush();
    },
    offsets: () => {
      calls.push('ask offsets');
      return [
        { topic: 'a', partition: 0, offset: 12n },
        { topic: 'b', partition: 0, offset: 34n },
      ];
    },
    foldIn: () => store.foldIn(),
  };
  return { log, attempt, calls };
}

const order = [
  'begin group',
  'process 1',
  '| begin',
  'process 2',
  'send out dlq',
  'process 3',
  '| outputs',
  'ask offsets',
  'offsets 12 34 group member 7',
  'flush',
  'send out changelog',
  '| changelogs',
  '| offsets',
  'commit',
  '| commit',
  'fold in',
  '| foldIn',
];

describe('a commit', () => {
  test('takes its six steps in the one order that keeps exactly-once', async () => {
    const { log, attempt, calls } = recording();
    await commit(log, attempt, (step) => void calls.push(`| ${step}`));
    assert.deepEqual(calls, order);
  });

  test('takes a step only once those before are answered', async () => {
    const { log, attempt, calls } = recording();
    const slow =
      <A extends unknown[]>(name: string, step: (...args: A) => Promise<void>) =>
      async (...args: A): Promise<void> => {
        await step(...args);
        for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        calls.push(`${name} answered`);
      };
    await commit(
      {
        begin: slow('begin', log.begin),
        send: log.send,
        sendOffsets: slow('offsets', log.sendOffsets),
        commit: slow('commit', log.commit),
      },
      attempt,
    );
    assert.deepEqual(calls.slice(0, 4), ['begin group', 'process 1', 'begin answered', 'process 2']);
    assert.deepEqual(calls.slice(-5), [
      'send out changelog',
      'offsets answered',
      'commit',
      'commit answered',
      'fold in',
    ]);
  });

  test('sends nothing for an empty list of outputs, but lets the event loop turn', async () => {
    const { log, attempt, calls } = recording();
    setImmediate(() => calls.push('event loop'));
    await commit(log, attempt);
    assert.ok(calls.indexOf('event loop') < calls.indexOf('process 3'));
  });

  for (const failing of [
    'begin group',
    'send out dlq',
    'send out changelog',
    'offsets 12 34 group member 7',
    'commit',
  ]) {
    test(`goes no further than a call that fails, and leaves the stores alone: ${failing}`, async () => {
      const { log, attempt, calls } = recording(failing);
      await assert.rejects(
        commit(log, attempt, (step) => void calls.push(`| ${step}`)),
        { message: `${failing} failed` },
      );
      // What is done while a call is under way is discarded with the rest of the transaction.
      const meanwhile: Partial<Record<string, string>> = {
        'begin group': 'process 1',
        'send out dlq': 'process 3',
        'offsets 12 34 group member 7': '| changelogs',
      };
      const reached = meanwhile[failing] ?? failing;
      assert.deepEqual(calls, order.slice(0, order.indexOf(reached) + 1));
    });
  }

  test('processes what comes next while outputs travel, and sends again only when they have arrived', async () => {
    const { log, attempt, calls } = recording();
    let arrive: () => void = () => undefined;
    const travelling = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const slow: TransactionalLog = {
      ...log,
      send: async (records) => {
        await log.send(records);
        if (records.length === worthASend) await travelling;
      },
    };
    const committed = commit(slow, attempt);
    while (!calls.includes('process 3')) await new Promise((resolve) => setImmediate(resolve));
    for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(calls.at(-1), 'process 3');
    arrive();
    await committed;
    assert.deepEqual(
      calls,
      order.filter((call) => !call.startsWith('| ')),
    );
  });

  for (const [failing, slow] of [
    ['offsets', 'send'],
    ['send', 'offsets'],
  ] as const)
    test(`that fails at its ${failing} rejects only when its ${slow} is over`, async () => {
      const { log, attempt, calls } = recording();
      const fail = (): Promise<void> => Promise.reject(new Error(`${failing} failed`));
      const linger = async (): Promise<void> => {
        for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        calls.push(`${slow} is over`);
      };
      const travelling: TransactionalLog = {
        ...log,
        send: failing === 'send' ? fail : linger,
        sendOffsets: failing === 'offsets' ? fail : linger,
      };
      const few: Attempt = { ...attempt, outputs: () => [[outputTo('out')]] };
      await assert.rejects(commit(travelling, few), { message: `${failing} failed` });
      assert.equal(calls.at(-1), `${slow} is over`);
    });

  test('gathers few outputs for one send', async () => {
    const { log, attempt, calls } = recording();
    const few: Attempt = { ...attempt, outputs: () => [[outputTo('a')], [outputTo('b')], [outputTo('c')]] };
    await commit(log, few);
    assert.deepEqual(
      calls.filter((call) => call.startsWith('send ')),
      ['send a b c changelog'],
    );
  });

  for (const step of steps) {
    test(`goes no further than a crash after the step ${step}`, async () => {
      const { log, attempt, calls } = recording();
      const crash = commit(log, attempt, (done) => {
        calls.push(`| ${done}`);
        if (done === step) throw new Error('crashed');
      });
      await assert.rejects(crash, { message: 'crashed' });
      assert.deepEqual(calls, order.slice(0, order.indexOf(`| ${step}`) + 1));
    });
  }

  test('a fault while processing leaves the transaction open for its owner and the stores alone', async () => {
    const { log, attempt, calls } = recording();
    const faulty: Attempt = {
      ...attempt,
      *outputs() {
        yield manyOutputs;
        yield [];
        throw new Error('operator');
      },
    };
    await assert.rejects(commit(log, faulty), { message: 'operator' });
    assert.deepEqual(calls, ['begin group', 'send out dlq']);
  });

  for (const [what, last, changelogs, sends] of [
    ['no store wrote anything', ['out'], [], ['send out']],
    ['there is more than one send of them', ['out'], ['first', 'second'], ['send out first', 'send second']],
    ['there were no outputs', [], ['first'], ['send first']],
    ['there was nothing at all', [], [], []],
  ] as const)
    test(`sends the last outputs with the first changelogs, also when ${what}`, async () => {
      const { log, attempt, calls } = recording();
      const some: Attempt = {
        ...attempt,
        outputs: () => [last.map(outputTo)],
        changelogs: () => changelogs.map((topic) => [outputTo(topic)]),
      };
      await commit(log, some);
      assert.deepEqual(
        calls.filter((call) => call.startsWith('send ')),
        sends,
      );
    });
});

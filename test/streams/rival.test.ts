import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { RivalCheck } from '../../streams/rival.ts';

const fence = 'INVALID_PRODUCER_EPOCH';

/** A check over a group whose members are the given ones, and a clock. */
function checkOver(t: TestContext, members: string[]) {
  let now = 1_000_000;
  t.mock.method(performance, 'now', () => now);
  const describeGroups = () =>
    Promise.resolve({
      groups: [
        {
          groupId: 'app',
          protocol: '',
          protocolType: 'consumer',
          state: 'Stable',
          members: [...members, 'another:client'].map((memberId) => ({
            memberId,
            clientId: memberId.split('#')[0] ?? '',
            clientHost: '/10.0.0.7',
            memberMetadata: Buffer.alloc(0),
            memberAssignment: Buffer.alloc(0),
          })),
        },
      ],
    } as never);
  return {
    check: new RivalCheck({ describeGroups }, 'app', 'app:i:1-consumer'),
    pass: (ms: number) => (now += ms),
  };
}

const member = (name: string): string => `app:i:1-consumer#${name}`;

test('the younger of two ends at its second fence within a minute, naming the other and its host', async (t) => {
  const { check, pass } = checkOver(t, [member('old'), member('young')]);
  await check.beforeJoin();
  check.onJoin(member('young'));
  await check.onFailure(fence);
  pass(60_000);
  await check.onFailure(fence);
  pass(1);
  await check.onFailure('NOT_COORDINATOR');
  await assert.rejects(check.onFailure('PRODUCER_FENCED'), {
    code: 'INSTANCE_ID_TAKEN',
    message: /member app:i:1-consumer#old of group app, at 10\.0\.0\.7;.*Give every process an id of its own/,
  });
});

test('the older of two goes on, and so does one that is fenced by time-outs only', async (t) => {
  const members: string[] = [];
  const { check } = checkOver(t, members);
  await check.beforeJoin();
  check.onJoin(member('z'));
  // A membership that was lost is shown until its session ends.
  check.onJoin(member('y'));
  members.push(member('z'), member('y'));
  for (let fences = 0; fences < 10; fences += 1) await check.onFailure(fence);
  members.push(member('zz'));
  await check.onFailure(fence);
});

test('of two that have both joined anew, the one with the greater member id ends', async (t) => {
  const [members, others]: [string[], string[]] = [[], []];
  const [low, high] = [checkOver(t, members).check, checkOver(t, others).check];
  for (const check of [low, high]) await check.beforeJoin();
  low.onJoin(member('a'));
  high.onJoin(member('b'));
  members.push(member('a'), member('b'));
  others.push(member('a'), member('b'));
  for (let fences = 1; fences < 4; fences += 1) await high.onFailure(fence);
  await assert.rejects(high.onFailure(fence), { code: 'INSTANCE_ID_TAKEN' });
  for (let fences = 0; fences < 10; fences += 1) await low.onFailure(fence);
});

test('while the brokers do not answer nobody ends', async () => {
  const check = new RivalCheck({ describeGroups: () => Promise.reject(new Error('down')) }, 'app', 'c');
  await check.beforeJoin();
  for (let fences = 0; fences < 10; fences += 1) await check.onFailure(fence);
});

import { after, before, describe, it } from 'node:test';
import { anEvent } from '../../schemas/events.ts';
import { until } from '../priority-stack.ts';
import { neurosStack, type NeurosStack } from './harness.ts';

let stack: NeurosStack;

describe('the lag of a client', () => {
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  it('grows with what arrives in a partition that it does not fetch, because an event hangs', async () => {
    const maxAhead = 10;
    const send = (first: number, count: number): Promise<void> =>
      stack.send(
        Array.from({ length: count }, (_, at) =>
          anEvent({
            event_id: `event-${first + at}`,
            user_id: `user-${first + at}`,
            priority: 'NORMAL',
            raw: { topic: 'raw.oura', partition: 0, offset: first + at },
          }),
        ),
      );
    await send(0, maxAhead);
    let done = 0;
    let end: () => void = () => undefined;
    const hung = new Promise<void>((resolve) => {
      end = resolve;
    });
    const client = await stack.client({
      maxAhead,
      onEvent: async ({ event_id }) => {
        if (event_id === 'event-0') await hung;
        done += 1;
      },
    });
    await until('all but the first', () => done === maxAhead - 1);
    await send(maxAhead, 30);
    await until('the lag counts them', () => client.lag().NORMAL === maxAhead + 30, 20_000);
    end();
    await until('nothing is left', () => client.lag().NORMAL === 0);
    await client.close();
  });
});

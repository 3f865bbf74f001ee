import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { serdes, StreamsBuilder } from '../../../streams/index.ts';
import { stableOffsets } from '../../kafka/stable-offsets.ts';
import { soon, until } from '../until.ts';
import { Cluster } from './cluster.ts';
import { assertOnceEach, traced } from './traced.ts';

describe('close() in the middle of work', { timeout: 60_000 }, () => {
  test('commits what was processed, and the next instance goes on behind it', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const count = 6_000;
    await cluster.append(
      Array.from({ length: count }, (_, at) => ({
        topic: from,
        partition: at % 4,
        value: Buffer.from(`m${at}`),
      })),
    );
    const builder = new StreamsBuilder();
    let processed = 0;
    builder
      .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
      .mapValues('count', (value) => {
        processed += 1;
        return value;
      })
      .to('out', to, { value: serdes.utf8 });
    const { streams } = await cluster.start(builder.build());
    await until('the first records', () => processed > 0 || undefined);
    await soon('the end', streams.close());
    assert.equal(streams.state, 'NOT_RUNNING');
    const atClose = processed;
    const offsets = await stableOffsets(cluster.kafka, `${cluster.prefix}app`, from, 4);
    assert.equal(
      offsets.reduce((sum, offset) => sum + Math.max(0, Number(offset)), 0),
      atClose,
    );
    await cluster.start(traced(from, to));
    await cluster.drained([from]);
    assert.equal(processed, atClose);
    assertOnceEach(await cluster.read([to]), count);
  });
});

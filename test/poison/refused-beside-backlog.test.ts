import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headerText } from '../../schemas/raw-record.ts';
import { errorHeader, serdes, StreamsBuilder } from '../../streams/index.ts';
import { Cluster } from '../streams/broker/cluster.ts';

const partitions = 16;
const recordsPerPartition = 200;
/** 3.2 MB in each partition. */
const filler = 'x'.repeat(16_000);

test(
  'case 4: one refused output beside a backlog filled the queues with partitions that had to wait, and nothing moved',
  { timeout: 120_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', dead = ''] = await cluster.createTopics(['in', 'dlq'], { partitions });
    const [to = ''] = await cluster.createTopics(['out'], {
      partitions,
      config: { 'max.message.bytes': '50000' },
    });
    const refused = '9/150';
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
      .mapValues('blow-up', (value) => (value?.startsWith(`${refused} `) ? 'y'.repeat(100_000) : value))
      .mapValues('shorten', (value) => value?.replace(filler, '') ?? null)
      .to('out', to, { value: serdes.utf8 });
    const names: string[] = [];
    for (let at = 0; at < recordsPerPartition; at += 20) {
      const some = Array.from({ length: partitions * 20 }, (_, n) => {
        const [partition, number] = [n % partitions, at + Math.floor(n / partitions)];
        return { topic: from, partition, value: `${partition}/${number} ` };
      });
      names.push(...some.map(({ value }) => value));
      await cluster.append(some.map((one) => ({ ...one, value: Buffer.from(one.value + filler) })));
    }

    const { streams } = await cluster.start(builder.build(), { deadLetterTopic: dead });
    await cluster.drained([from], undefined, 30_000);
    await streams.close();

    const written = (await cluster.read([to])).map(({ value }) => String(value));
    assert.deepEqual(written.sort(), names.filter((name) => name !== `${refused} `).sort());
    const [letter, ...more] = await cluster.read([dead]);
    assert.deepEqual(more, []);
    assert.ok(letter !== undefined);
    assert.equal(String(letter.value), `${refused} ${filler}`);
    assert.equal(headerText(letter.headers, errorHeader.exception), 'MESSAGE_TOO_LARGE');
    assert.equal(headerText(letter.headers, errorHeader.partition), '9');
    assert.equal(headerText(letter.headers, errorHeader.offset), '150');
  },
);

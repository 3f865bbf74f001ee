import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serdes, StreamsBuilder } from '../../streams/index.ts';
import { Cluster } from '../streams/broker/cluster.ts';
import { values } from '../streams/broker/traced.ts';

const partitions = 4;
const recordsPerPartition = 375;
/** What each record costs; all of them together more than twice the session time-out. */
const recordMs = 15;
const sessionTimeoutMs = 10_000;

test(
  'case 5: a chunk of slow records outlasted the session, and the member was expelled for ever',
  { timeout: 120_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out'], { partitions });
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
      .mapValues('work', (value) => {
        const end = performance.now() + recordMs;
        while (performance.now() < end);
        return value;
      })
      .to('out', to, { value: serdes.utf8 });
    const names = Array.from({ length: partitions * recordsPerPartition }, (_, at) => `m${at}`);
    await cluster.append(
      names.map((name, at) => ({ topic: from, partition: at % partitions, value: Buffer.from(name) })),
    );

    let commits = 0;
    const { streams, entries } = await cluster.start(builder.build(), {
      sessionTimeoutMs,
      afterStep: (step) => {
        if (step === 'commit') commits += 1;
      },
    });
    await cluster.drained([from], undefined, 90_000);
    await streams.close();

    // One assignment, and no transaction that was refused or repeated.
    assert.equal(entries.filter(({ message }) => message === 'tasks assigned').length, 1);
    assert.deepEqual(
      entries.filter(({ level }) => level === 'warn' || level === 'error'),
      [],
    );
    assert.ok(commits > 20, `${names.length} records were committed in ${commits} transactions`);
    assert.deepEqual(values(await cluster.read([to])), names.sort());
  },
);

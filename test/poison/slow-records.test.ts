import assert from 'node:assert/strict';
import { test } from 'node:test';
import { serdes, StreamsBuilder } from '../../streams/index.ts';
import { noMetrics } from '../../streams/metrics.ts';
import { Cluster } from '../streams/broker/cluster.ts';
import { assertOnceEach } from '../streams/broker/traced.ts';

/** The records that wait in each partition. Those of the first were one chunk, half as long again as the session. */
const waiting = [1_050, 150, 150, 150];
/** What each record costs. */
const recordMs = 15;
const sessionTimeoutMs = 10_000;

test(
  'case 5: a chunk of slow records outlasted the session, and the member was expelled for ever',
  { timeout: 120_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out'], { partitions: waiting.length });
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
      .mapValues('work', (value) => {
        const end = performance.now() + recordMs;
        while (performance.now() < end);
        return value;
      })
      .to('out', to, { value: serdes.utf8 });
    const records = waiting
      .flatMap((count, partition) => Array.from({ length: count }, () => partition))
      .map((partition, at) => ({ topic: from, partition, value: Buffer.from(`m${at}`) }));
    await cluster.append(records);

    let commits = 0;
    const recoveries: string[] = [];
    const { streams, entries } = await cluster.start(builder.build(), {
      sessionTimeoutMs,
      metrics: { ...noMetrics, onRecovery: (reason) => recoveries.push(reason) },
      afterStep: (step) => {
        if (step === 'commit') commits += 1;
      },
    });
    await cluster.drained([from], undefined, 90_000);
    await streams.close();

    // One generation of the group, and no transaction that was refused or repeated.
    assert.equal(entries.filter(({ message }) => message === 'tasks assigned').length, 1);
    assert.deepEqual(recoveries, []);
    assert.ok(commits > 20, `${records.length} records were committed in ${commits} transactions`);
    assertOnceEach(await cluster.read([to]), records.length);
  },
);

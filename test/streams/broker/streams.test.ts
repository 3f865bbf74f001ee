import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { KafkaStreams, serdes, StreamsBuilder, type State } from '../../../streams/index.ts';
import { noMetrics } from '../../../streams/metrics.ts';
import { transactionalProducer } from '../../patches/broker.ts';
import { recordingLog } from '../log.ts';
import { soon, until } from '../until.ts';
import { Cluster, messagesByTopic, type Appended } from './cluster.ts';
import { Flow } from './flow.ts';
import { range, traced, values } from './traced.ts';
import { headerText } from '../../../schemas/raw-record.ts';

const raw = { key: serdes.utf8, value: serdes.utf8 };

const some = (topic: string, count: number, value: (at: number) => string = (at) => `m${at}`): Appended[] =>
  Array.from({ length: count }, (_, at) => ({ topic, partition: at % 4, value: Buffer.from(value(at)) }));

const texts = (records: readonly { value: Buffer | null }[]): string[] =>
  records.map(({ value }) => String(value));

describe('an instance on a real broker', { timeout: 180_000 }, () => {
  test('goes through the states of Kafka Streams, and close() ends the last of them', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const states: State[] = [];
    const log = recordingLog();
    const streams = new KafkaStreams(traced(from, to), {
      connection: cluster.connection,
      applicationId: `${cluster.prefix}app`,
      instanceId: 'one',
      log,
    });
    assert.equal(streams.state, 'CREATED');
    streams.onState((state) => states.push(state));
    await streams.start();
    await until('RUNNING', () => streams.state === 'RUNNING' || undefined);
    assert.deepEqual(streams.stalls(), []);
    await soon('the end', streams.close());
    await streams.close();
    assert.deepEqual(states, ['REBALANCING', 'RUNNING', 'PENDING_SHUTDOWN', 'NOT_RUNNING']);
    await assert.rejects(streams.start(), { code: 'INVALID_CONFIG' });
  });

  test('case 11: the lag follows the end of the log while nothing is committed, behind an open transaction', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const producer = await transactionalProducer(t, cluster.kafka);
    const transaction = await producer.transaction();
    const lags = new Map<number, bigint>();
    const onLag = (_: string, partition: number, records: bigint): unknown => lags.set(partition, records);
    await cluster.start(traced(from, to), { metrics: { ...noMetrics, onLag } });
    await until('a lag of nothing', () => lags.get(1) === 0n || undefined);
    await transaction.send({ topic: from, messages: [{ partition: 1, value: 'open' }] });
    await cluster.append([1, 2, 3].map(() => ({ topic: from, partition: 1, value: Buffer.from('behind') })));
    await until('the lag', () => lags.get(1) === 4n || undefined);
    assert.deepEqual([lags.get(0), lags.get(2)], [0n, 0n]);
    await transaction.commit();
    await until('the end', () => lags.get(1) === 0n || undefined);
  });

  test('commits up to the end, also behind markers and aborted records of a transactional writer', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const producer = await transactionalProducer(t, cluster.kafka);
    const write = async (value: string, end: 'commit' | 'abort'): Promise<void> => {
      const transaction = await producer.transaction();
      await transaction.sendBatch({
        topicMessages: messagesByTopic(some(from, 40, (at) => `${value}${at}`)),
      });
      await transaction[end]();
    };
    await write('aborted', 'abort');
    const { streams, entries } = await cluster.start(traced(from, to));
    await cluster.drained([from]);
    await write('m', 'commit');
    await write('aborted', 'abort');
    await cluster.drained([from]);
    await write('aborted', 'abort');
    await cluster.drained([from]);
    await streams.close();
    assert.deepEqual(values(await cluster.read([to])), range(40));
    assert.deepEqual(
      entries.filter(({ level }) => level === 'error'),
      [],
    );
  });

  test('an output that is too large for its topic is one dead letter, and all others come once', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = ''] = await cluster.createTopics(['in', 'dlq']);
    const [to = ''] = await cluster.createTopics(['out'], { config: { 'max.message.bytes': '100000' } });
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, raw)
      // The outputs of one partition are at most 1 MiB per send: without the large one they fit.
      .mapValues('blow-up', (value) => (value === 'm77' ? 'x'.repeat(150_000) : value))
      .to('out', to, { value: serdes.utf8 });
    await cluster.append(some(from, 200));
    const { streams } = await cluster.start(builder.build(), { deadLetterTopic: `${cluster.prefix}dlq` });
    await cluster.drained([from]);
    await streams.close();
    const dead = await cluster.read([`${cluster.prefix}dlq`]);
    assert.deepEqual(texts(dead), ['m77']);
    const [{ headers, partition } = { headers: {}, partition: -1 }] = dead;
    assert.equal(headerText(headers, '__streams.errors.exception'), 'MESSAGE_TOO_LARGE');
    assert.equal(headerText(headers, '__streams.errors.topic'), from);
    assert.equal(headerText(headers, '__streams.errors.partition'), '1');
    assert.equal(headerText(headers, '__streams.errors.offset'), '19');
    assert.equal(headerText(headers, '__streams.errors.node'), 'raw');
    assert.equal(partition, 1);
    assert.deepEqual(
      values(await cluster.read([to])),
      range(200).filter((value) => value !== 'm77'),
    );
  });

  test('records that the broker refuses by timestamp are dead letters, in the middle of a flow on all partitions', async (t) => {
    const cluster = await Cluster.open(t);
    const ahead = { 'message.timestamp.after.max.ms': '9223372036854775807' };
    const [from = '', dead = ''] = await cluster.createTopics(['in', 'dlq'], { config: ahead });
    const [to = ''] = await cluster.createTopics(['out']);
    const records = some(from, 400).map((record, at) =>
      at === 101 || at === 102 || at === 301 ? { ...record, timestamp: Date.now() + 3 * 86_400_000 } : record,
    );
    await cluster.append(records);
    const { streams, entries } = await cluster.start(traced(from, to), { deadLetterTopic: dead });
    const flow = await Flow.start(cluster, [from], 4, 400);
    await until('three dead letters', async () => {
      const ends = await cluster.admin.fetchTopicOffsets(dead);
      return ends.filter(({ high }) => high !== '0').length >= 2 || undefined;
    });
    const sent = await flow.stop();
    await cluster.drained([from]);
    await streams.close();
    const letters = await cluster.read([dead]);
    assert.deepEqual(values(letters), ['m101', 'm102', 'm301']);
    for (const { headers } of letters) {
      assert.equal(headerText(headers, '__streams.errors.exception'), 'INVALID_TIMESTAMP');
    }
    assert.deepEqual(
      values(await cluster.read([to])),
      range(sent).filter((value) => !['m101', 'm102', 'm301'].includes(value)),
    );
    assert.ok(entries.some(({ fields }) => fields['reason'] === 'INVALID_TIMESTAMP'));
  });

  test('case 11: a position before the beginning of an empty log is no standstill', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out'], { partitions: 1 });
    await cluster.append(some(from, 4).map((record) => ({ ...record, partition: 0 })));
    const first = await cluster.start(traced(from, to));
    await cluster.drained([from]);
    await first.streams.close();
    await cluster.append(some(from, 4).map((record) => ({ ...record, partition: 0 })));
    await cluster.admin.deleteTopicRecords({ topic: from, partitions: [{ partition: 0, offset: '8' }] });
    let lag: bigint | undefined;
    const onLag = (_: string, __: number, records: bigint): void => {
      lag = records;
    };
    const { streams, entries } = await cluster.start(traced(from, to), { metrics: { ...noMetrics, onLag } });
    await until('the reset', () => entries.find(({ fields }) => fields['gone'] === 4));
    await until('an answer to a fetch behind it', () => lag === 0n || undefined);
    assert.deepEqual(
      streams.stalls(0).filter(({ partition }) => partition !== undefined),
      [],
    );
  });

  test('goes on where the log begins when retention has passed its position, and says so loudly', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out'], { partitions: 1 });
    const record = (at: number): Appended => ({ topic: from, value: Buffer.from(`m${at}`) });
    await cluster.append(Array.from({ length: 10 }, (_, at) => record(at)));
    const first = await cluster.start(traced(from, to));
    await cluster.drained([from]);
    await first.streams.close();
    await cluster.append(Array.from({ length: 20 }, (_, at) => record(10 + at)));
    await cluster.admin.deleteTopicRecords({ topic: from, partitions: [{ partition: 0, offset: '25' }] });
    const { streams, entries } = await cluster.start(traced(from, to));
    await cluster.drained([from]);
    await streams.close();
    const kept = [...Array(10).keys(), 25, 26, 27, 28, 29].map((at) => `m${at}`).sort();
    assert.deepEqual(values(await cluster.read([to])), kept);
    // Which of the two finds out first is a race between our question for the position and the client's first fetch.
    const gone = entries.find(({ level, fields }) => level === 'error' && fields['gone'] === 15);
    const reset = entries.find(({ level, fields }) => level === 'error' && 'partitions' in fields);
    assert.ok(gone !== undefined || reset !== undefined);
  });

  test('says in one line how many records a first start has before it', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    await cluster.append(some(from, 40));
    const { entries } = await cluster.start(traced(from, to));
    await cluster.drained([from]);
    const told = entries.filter(({ message }) => message.includes('without a committed offset'));
    assert.deepEqual(
      told.map(({ fields }) => fields['records']),
      [40],
    );
  });

  for (const step of ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'] as const) {
    test(`a failure after the step ${step} loses nothing and repeats nothing`, async (t) => {
      const cluster = await Cluster.open(t);
      const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
      await cluster.append(some(from, 40));
      let failed = 0;
      const { streams, entries } = await cluster.start(traced(from, to), {
        afterStep: (now) => {
          if (now !== step || failed >= 2) return;
          failed += 1;
          throw new Error('made to fail');
        },
      });
      await cluster.drained([from]);
      await cluster.append(some(from, 40, (at) => `m${40 + at}`));
      await cluster.drained([from]);
      await streams.close();
      assert.deepEqual(values(await cluster.read([to])), range(80));
      assert.equal(failed, 2);
      assert.equal(entries.filter(({ message }) => message.includes('recovering')).length, 2);
    });
  }

  test('takes in more than fits into memory at once', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const payload = 'x'.repeat(700_000);
    for (let at = 0; at < 80; at += 4) {
      await cluster.append(
        Array.from({ length: 4 }, (_, partition) => ({
          topic: from,
          partition,
          value: Buffer.from(payload),
        })),
      );
    }
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, raw)
      .mapValues('measure', (value, { partition, offset }) => `${partition}@${offset}:${value?.length}`)
      .to('out', to, { value: serdes.utf8 });
    await cluster.start(builder.build());
    await cluster.drained([from]);
    const expected = Array.from({ length: 80 }, (_, at) => `${at % 4}@${at >> 2}:700000`).sort();
    assert.deepEqual(texts(await cluster.read([to])).sort(), expected);
  });
});

describe('an instance that cannot go on', { timeout: 60_000 }, () => {
  test('refuses to start without its topics, naming them', async (t) => {
    const cluster = await Cluster.open(t);
    const [to = ''] = await cluster.createTopics(['out']);
    const from = `${cluster.prefix}nowhere`;
    await assert.rejects(cluster.start(traced(from, to)), {
      code: 'INVALID_TOPICS',
      message: `topics do not exist: ${from}; create them first`,
    });
  });

  test('refuses topics of different partition counts', async (t) => {
    const cluster = await Cluster.open(t);
    const [a = '', to = ''] = await cluster.createTopics(['a', 'out']);
    const [b = ''] = await cluster.createTopics(['b'], { partitions: 3 });
    await assert.rejects(cluster.start(traced([a, b], to)), (error: Error & { code: string }) => {
      assert.equal(error.code, 'INVALID_TOPICS');
      assert.ok(error.message.includes(`${b} has 3`));
      return true;
    });
  });

  test('refuses an output topic with fewer partitions than the input has', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = ''] = await cluster.createTopics(['in']);
    const [to = ''] = await cluster.createTopics(['out'], { partitions: 2 });
    await assert.rejects(cluster.start(traced(from, to)), { code: 'INVALID_TOPICS' });
  });

  test('says which brokers did not answer', async (t) => {
    const cluster = await Cluster.open(t);
    const connection = { brokers: ['127.0.0.1:1'] };
    await assert.rejects(
      cluster.start(traced('in', 'out'), { connection }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'UNUSABLE_CLUSTER');
        assert.ok(error.message.includes('127.0.0.1:1'));
        return true;
      },
    );
  });

  test('ends in ERROR when a handler says fail, and has committed nothing of that transaction', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const builder = new StreamsBuilder();
    builder
      .stream('raw', from, raw)
      .mapValues('check', (value) => {
        if (value === 'm7') throw new Error(`quoting ${value}`);
        return value;
      })
      .to('out', to, { value: serdes.utf8 });
    await cluster.append(some(from, 8));
    const { streams } = await cluster.start(builder.build(), { handlers: { processing: () => 'fail' } });
    await soon('the failure', assert.rejects(streams.failed, { code: 'HANDLER_FAILED' }));
    assert.equal(streams.state, 'ERROR');
    await soon('the end', streams.close());
    assert.equal(streams.state, 'ERROR');
    assert.deepEqual(await cluster.read([to]), []);
    assert.notDeepEqual(await cluster.lag([from]), []);
  });

  test('a record whose dead letter is refused as well is one without value and headers', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = ''] = await cluster.createTopics(['in']);
    const [to = ''] = await cluster.createTopics(['out'], { config: { 'max.message.bytes': '500' } });
    const [dead = ''] = await cluster.createTopics(['dlq'], { config: { 'max.message.bytes': '1000' } });
    const large = { topic: from, partition: 2, key: Buffer.from('u'), value: Buffer.alloc(5_000) };
    await cluster.append([
      { ...large, headers: { from: Buffer.from('x') } },
      { ...large, value: Buffer.from('m1') },
    ]);
    await cluster.start(traced(from, to), { deadLetterTopic: dead });
    await cluster.drained([from]);
    assert.deepEqual(values(await cluster.read([to])), ['m1']);
    const [letter, ...more] = await cluster.read([dead]);
    assert.deepEqual([String(letter?.key), letter?.value, more], ['u', null, []]);
    assert.equal(headerText(letter?.headers ?? {}, '__streams.errors.exception'), 'MESSAGE_TOO_LARGE');
    assert.equal(headerText(letter?.headers ?? {}, '__streams.errors.offset'), '0');
  });

  test('a record whose smallest dead letter is refused as well stops it, naming the record', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = ''] = await cluster.createTopics(['in']);
    const config = { 'max.message.bytes': '300' };
    const [to = '', dead = ''] = await cluster.createTopics(['out', 'dlq'], { config });
    await cluster.append([{ topic: from, partition: 2, value: Buffer.alloc(5_000) }]);
    const { streams } = await cluster.start(traced(from, to), { deadLetterTopic: dead });
    await soon(
      'the failure',
      assert.rejects(streams.failed, (error: Error & { code: string }) => {
        assert.equal(error.code, 'HANDLER_FAILED');
        assert.ok(error.message.includes(`${from}-2 offset 0`));
        return true;
      }),
    );
  });

  test('gives up after the allowed recoveries, with the cause', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    await cluster.append(some(from, 8));
    const cause = new Error('always');
    const { streams } = await cluster.start(traced(from, to), {
      maxRecoveries: 2,
      afterStep: () => Promise.reject(cause),
    });
    await soon('the failure', assert.rejects(streams.failed, { code: 'RECOVERIES_EXHAUSTED', cause }));
    assert.deepEqual(await cluster.read([to]), []);
  });

  test('stops when partitions were added, because nobody would read them', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const { streams } = await cluster.start(traced(from, to));
    await until('RUNNING', () => streams.state === 'RUNNING' || undefined);
    await cluster.admin.createPartitions({ topicPartitions: [{ topic: from, count: 6 }] });
    await cluster.admin.createPartitions({ topicPartitions: [{ topic: to, count: 6 }] });
    // Members find out at the next rebalance, or when they refresh their metadata.
    await cluster.start(traced(from, to), { instanceId: randomUUID() });
    await soon('the failure', assert.rejects(streams.failed, { code: 'INVALID_TOPICS' }));
  });
});

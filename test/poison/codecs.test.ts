/** Issue 15, case 2: what other clients write, with every codec, is read. Kafka's own Java client writes it here. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { kafkaClient } from '../../kafka/client.ts';
import { decodeRecordSet, type Headers, type LogRecord } from '../../kafka/record-batch.ts';
import { checkJava, fetchSoftware } from '../../local/maven.ts';
import { rawFetch } from '../kafka/raw-fetch.ts';
import { bootstrapServers } from '../patches/broker.ts';
import { recordingLog } from '../streams/log.ts';

const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const prefix = `codecs-${randomUUID()}`;
const firstTimestamp = 1_700_000_000_000;
const { usable, found } = await checkJava(process.env);
const options = { timeout: 120_000, skip: usable ? false : found };

before(async () => {
  if (!usable) return;
  const admin = kafkaClient(
    { brokers: bootstrapServers() },
    { clientId: 'codecs', log: recordingLog() },
  ).admin();
  await admin.connect();
  const topics = codecs.map((codec) => ({
    topic: `${prefix}-${codec}`,
    numPartitions: 1,
    replicationFactor: 1,
  }));
  await admin.createTopics({ topics, waitForLeaders: true });
  await admin.disconnect();
  const { java, classpath } = await fetchSoftware({ env: process.env, onProgress: () => undefined });
  const program = fileURLToPath(new URL('Producer.java', import.meta.url));
  const servers = bootstrapServers().join(',');
  await promisify(execFile)(java, ['-cp', classpath, program, servers, prefix, ...codecs]);
}, options);

/** What Producer.java writes of a kind, without offsets. */
function expected(kind: string, count: number): unknown[] {
  return Array.from({ length: count }, (_, i) => {
    const ofKind = Buffer.from(kind);
    const headers: Headers =
      i % 3 === 0 ? {} : { kind: i % 3 > 1 ? [ofKind, Buffer.from('again')] : ofKind, constructor: null };
    return {
      timestamp: firstTimestamp + i,
      key: i % 10 === 0 ? null : Buffer.from(`key ${i}`),
      value: i % 7 === 0 ? null : Buffer.from(`${kind} ${i} `.repeat(i)),
      headers,
    };
  });
}

const large = {
  timestamp: firstTimestamp + 100,
  key: Buffer.from('large'),
  value: Buffer.from(Array.from({ length: 40_000 }, (_, i) => `${(i * 7919) % 10_007},`).join('')),
  headers: {},
};
const content = ({ timestamp, key, value, headers }: LogRecord): unknown => ({
  timestamp,
  key,
  value,
  headers,
});

/** All records of a topic, whose markers stand at 111 and 122, in fetches of at most so many bytes. */
async function read(topic: string, isCommitted: boolean, maxBytes: number): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for (let offset = 0n; offset < 123n;) {
    const set = await rawFetch(bootstrapServers()[0]!, {
      topic,
      partition: 0,
      offset,
      isCommitted,
      maxBytes,
    });
    const decoded = decodeRecordSet(set);
    records.push(...decoded.records);
    offset = decoded.nextOffset;
  }
  return records;
}

for (const [number, codec] of codecs.entries()) {
  const topic = `${prefix}-${codec}`;

  test(
    `records that the Java client compressed with ${codec} are read as they were written`,
    options,
    async () => {
      const set = await rawFetch(bootstrapServers()[0]!, {
        topic,
        partition: 0,
        offset: 0n,
        isCommitted: true,
      });
      assert.equal(set.bytes.readInt16BE(21) & 7, number, 'the codec of the first batch');
      const committed = [...expected('plain', 100), large, ...expected('committed', 10)];
      for (const maxBytes of [1, 10_000_000]) {
        const records = await read(topic, true, maxBytes);
        assert.deepEqual(records.map(content), committed);
        const offsets = [...Array(101).keys(), ...Array.from({ length: 10 }, (_, i) => 112 + i)];
        assert.deepEqual(
          records.map(({ offset }) => Number(offset)),
          offsets,
        );
      }
    },
  );

  test(`an uncommitted reader gets aborted records too, compressed with ${codec}`, options, async () => {
    const all = [...expected('plain', 100), large, ...expected('aborted', 10), ...expected('committed', 10)];
    assert.deepEqual((await read(topic, false, 10_000_000)).map(content), all);
  });
}

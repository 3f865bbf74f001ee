import assert from 'node:assert/strict';
import { serdes, StreamsBuilder, type Topology } from '../../../streams/index.ts';

/** A topology that names each record by where it stood, so that a reader can tell what is missing or came twice. */
export function traced(from: string | readonly string[], to: string): Topology {
  const builder = new StreamsBuilder();
  builder
    .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
    .mapValues('trace', (value, { topic, partition, offset }) => `${topic}-${partition}@${offset} ${value}`)
    .to('out', to, { value: serdes.utf8 });
  return builder.build();
}

/** As traced(), and counts the records of each partition in the store `counts`. */
export function tracedAndCounted(from: string, to: string): Topology {
  const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
  builder
    .stream('raw', from, { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'count',
      (value, { topic, partition, offset }, { counts }) => {
        const place = `${topic}-${partition}`;
        counts.put(place, String(Number(counts.get(place) ?? 0) + 1));
        return [`${place}@${offset} ${value}`];
      },
      { stores: ['counts'] },
    )
    .to('out', to, { value: serdes.utf8 });
  return builder.build();
}

/** The values without the place that `traced` puts before them, sorted. */
export function values(records: readonly { value: Buffer | null }[]): string[] {
  return records.map(({ value }) => String(value).split(' ').at(-1) ?? '').sort();
}

/** m0, m1, … up to `count`, sorted. */
export function range(count: number): string[] {
  return Array.from({ length: count }, (_, at) => `m${at}`).sort();
}

/** Fails with figures, not with thousands of lines, unless `records` are m0 … once each. */
export function assertOnceEach(records: readonly { value: Buffer | null }[], count: number): void {
  const seen = new Map<string, number>();
  for (const value of values(records)) seen.set(value, (seen.get(value) ?? 0) + 1);
  const missing = range(count).filter((value) => !seen.has(value));
  const twice = [...seen].filter(([, times]) => times > 1).map(([value]) => value);
  const figures = {
    records: count,
    missing: missing.length,
    twice: twice.length,
    strange: seen.size + missing.length - count,
  };
  assert.deepEqual(
    figures,
    { records: count, missing: 0, twice: 0, strange: 0 },
    `first missing ${missing[0]}, first twice ${twice[0]}`,
  );
}

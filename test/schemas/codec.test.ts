import assert from 'node:assert/strict';
import { test } from 'node:test';
import { avroType, type AvroType } from '../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';
import {
  createDecoder,
  createEncoder,
  DecodeError,
  EncodeError,
  UnknownSchemaId,
} from '../../schemas/codec.ts';
import { anEvent } from './events.ts';

const encode = createEncoder(7);

function usableType(avsc: string): AvroType | undefined {
  try {
    return avroType(avsc);
  } catch {
    return undefined;
  }
}

async function decoderOf(writerAvsc: string = biometricEventAvsc, readerAvsc?: string) {
  const decoder = createDecoder(() => Promise.resolve(usableType(writerAvsc)), readerAvsc);
  await decoder.prepare(7);
  return decoder;
}

function decodeCode(decode: () => unknown): string {
  try {
    decode();
  } catch (error) {
    if (error instanceof DecodeError) return error.code;
    throw error;
  }
  return 'decoded';
}

test('a decoded event equals the encoded one, as plain objects', async () => {
  const decoder = await decoderOf();
  assert.deepStrictEqual(decoder.decode(encode(anEvent())), anEvent());
});

test('a value begins with a zero byte and the schema id in four', () => {
  assert.deepEqual([...createEncoder(0x01020304)(anEvent()).subarray(0, 5)], [0, 1, 2, 3, 4]);
  assert.deepEqual([...createEncoder(0xfffffffe)(anEvent()).subarray(0, 5)], [0, 0xff, 0xff, 0xff, 0xfe]);
});

test('unions are presented unwrapped: numbers, texts and records as they are, or null', async () => {
  const decoder = await decoderOf();
  for (const changes of [
    { hrv: 58, local_date: '2025-07-30', baseline: { hrv_mean: 1, hrv_sd: 0, nights: 1 } },
    { hrv: 0, supersedes: { event_id: 'x', priority: 'NORMAL', alert_ids: [] } },
    { hrv: null, local_date: null, baseline: null, supersedes: null },
  ] satisfies Partial<BiometricEvent>[]) {
    const event = anEvent(changes);
    assert.deepStrictEqual(decoder.decode(encode(event)), event);
  }
});

test('results of an encoder do not share memory, even when an event outgrows its buffer', async () => {
  const decoder = await decoderOf();
  const big = anEvent({ flags: Array.from({ length: 3000 }, (_, i) => `flag-${i}`) });
  const small = anEvent({ hrv: 1 });
  const values = [encode(small), encode(big), encode(anEvent({ hrv: 2 })), encode(big)];
  const events = values.map((value) => decoder.decode(value));
  assert.deepStrictEqual(events, [small, big, anEvent({ hrv: 2 }), big]);
});

test('a value that the contract does not allow is refused by the name of its field', () => {
  const trigger = anEvent().triggers[0]!;
  const wrong: [unknown, EncodeError['code'], string][] = [
    [{ ...anEvent(), hrv: Number.NaN }, 'invalid_field', 'hrv'],
    [{ ...anEvent(), sleep_score: Number.POSITIVE_INFINITY }, 'invalid_field', 'sleep_score'],
    [{ ...anEvent(), hrv: '58' }, 'invalid_field', 'hrv'],
    [{ ...anEvent(), hrv: { double: 58 } }, 'invalid_field', 'hrv'],
    [{ ...anEvent(), event_id: undefined }, 'invalid_field', 'event_id'],
    [{ ...anEvent(), device_type: 'garmin' }, 'invalid_field', 'device_type'],
    [{ ...anEvent(), timestamp: 1.5 }, 'invalid_field', 'timestamp'],
    [{ ...anEvent(), revision: 2 ** 53 }, 'invalid_field', 'revision'],
    [{ ...anEvent(), raw: { topic: 't', partition: 2 ** 31, offset: 0 } }, 'invalid_field', 'raw.partition'],
    [{ ...anEvent(), raw: { topic: 't', partition: 0, offset: 1n } }, 'invalid_field', 'raw.offset'],
    [
      { ...anEvent(), triggers: [trigger, { ...trigger, value: Number.NaN }] },
      'invalid_field',
      'triggers[1].value',
    ],
    [{ ...anEvent(), activity_data: { steps: Number.NaN } }, 'invalid_field', 'activity_data[*]'],
    [{ ...anEvent(), flags: ['a', 1] }, 'invalid_field', 'flags[1]'],
    [{ ...anEvent(), heart_rate: 61 }, 'undeclared_field', ''],
    [{ ...anEvent(), triggers: [{ ...trigger, note: 'x' }] }, 'undeclared_field', 'triggers[0]'],
    [
      { ...anEvent(), baseline: { hrv_mean: 1, hrv_sd: 1, nights: 1, extra: 1 } },
      'undeclared_field',
      'baseline',
    ],
    [null, 'invalid_field', ''],
  ];
  for (const [value, code, path] of wrong) {
    assert.throws(
      () => encode(value as BiometricEvent),
      (error) => error instanceof EncodeError && error.code === code && error.path === path,
      `${code} at ${path}`,
    );
  }
});

test('no message quotes a value or the key of a map', () => {
  for (const value of [
    { ...anEvent(), hrv: 'canary' },
    { ...anEvent(), device_type: 'canary' },
    { ...anEvent(), activity_data: { canary: 'canary' } },
    { ...anEvent(), canary: 1 },
    { ...anEvent(), raw: 'canary' },
  ]) {
    assert.throws(
      () => encode(value as unknown as BiometricEvent),
      (error) => error instanceof EncodeError && !`${error.message}${error.stack}`.includes('canary'),
    );
  }
});

test('an unprepared id is named in the error, and loaded once', async () => {
  let loads = 0;
  const decoder = createDecoder(() => {
    loads += 1;
    return Promise.resolve(avroType(biometricEventAvsc));
  });
  assert.throws(
    () => decoder.decode(encode(anEvent())),
    (error) => error instanceof UnknownSchemaId && error.id === 7,
  );
  await decoder.prepare(7);
  await decoder.prepare(7);
  assert.equal(loads, 1);
  assert.equal(decoder.decode(encode(anEvent())).user_id, 'test_user');
});

test('a failed lookup is rethrown and repeated later', async () => {
  let attempts = 0;
  const decoder = createDecoder(() => {
    attempts += 1;
    return attempts === 1 ? Promise.reject(new Error('down')) : Promise.resolve(avroType(biometricEventAvsc));
  });
  await assert.rejects(decoder.prepare(7), /down/);
  await decoder.prepare(7);
  assert.equal(decoder.decode(encode(anEvent())).hrv, 20);
});

test('bytes that are not an event are refused with a reason', async () => {
  const decoder = await decoderOf();
  const value = encode(anEvent());
  assert.equal(
    decodeCode(() => decoder.decode(Buffer.alloc(0))),
    'too_short',
  );
  assert.equal(
    decodeCode(() => decoder.decode(value.subarray(0, 4))),
    'too_short',
  );
  assert.equal(
    decodeCode(() => decoder.decode(Buffer.from('{"user_id":1}'))),
    'not_wire_format',
  );
  assert.equal(
    decodeCode(() => decoder.decode(value.subarray(0, 5))),
    'corrupt',
  );
  assert.equal(
    decodeCode(() => decoder.decode(Buffer.concat([value, Buffer.from([0])]))),
    'trailing_bytes',
  );
});

test('an event that is cut anywhere is refused', async () => {
  const decoder = await decoderOf();
  const value = encode(anEvent());
  for (let length = 5; length < value.length; length += 1) {
    assert.equal(
      decodeCode(() => decoder.decode(value.subarray(0, length))),
      'corrupt',
      `cut at ${length}`,
    );
  }
});

test('a reader refuses a number that is not finite, whichever client wrote it', async () => {
  const decoder = await decoderOf();
  const value = encode(anEvent({ hrv: 1234.5 }));
  const bits = Buffer.alloc(8);
  bits.writeDoubleLE(1234.5);
  const at = value.indexOf(bits);
  value.writeDoubleLE(Number.NaN, at);
  assert.equal(
    decodeCode(() => decoder.decode(value)),
    'invalid_value',
  );
});

test('a few bytes cannot ask for a huge array or map, in fields that are read or skipped', async () => {
  const list = (items: unknown, extra = false) =>
    JSON.stringify({
      type: 'record',
      name: 'Lists',
      fields: [...(extra ? [] : [{ name: 'a', type: items, default: [] }]), { name: 'b', type: 'string' }],
    });
  const arrays = { type: 'array', items: 'string' };
  const huge = Buffer.from([0, 0, 0, 0, 7, 0xfe, 0xff, 0xff, 0xff, 0xff, 0x7f]);
  // A negative count and a negative block size would send a trusting skip backwards for ever.
  const backwards = Buffer.from([0, 0, 0, 0, 7, 0x01, 0x03, 0x00]);
  for (const bytes of [huge, backwards]) {
    const reading = await decoderOf(list(arrays), list(arrays));
    assert.equal(
      decodeCode(() => reading.decode(bytes)),
      'corrupt',
    );
    const skipping = await decoderOf(list(arrays), list(arrays, true));
    assert.equal(
      decodeCode(() => skipping.decode(bytes)),
      'corrupt',
    );
  }
  const maps = JSON.stringify({
    type: 'record',
    name: 'Lists',
    fields: [{ name: 'a', type: { type: 'map', values: 'double' } }],
  });
  const reading = await decoderOf(maps, maps);
  assert.equal(
    decodeCode(() => reading.decode(huge)),
    'corrupt',
  );
});

test('random damage is either refused with a code or reads as a valid event', async () => {
  const decoder = await decoderOf();
  const type = avroType(biometricEventAvsc);
  let state = 42;
  const random = (below: number): number => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 20_000; round += 1) {
    const value = Buffer.from(encode(anEvent()));
    for (let hits = 1 + random(4); hits > 0; hits -= 1) value[5 + random(value.length - 5)] = random(256);
    let event: BiometricEvent;
    try {
      event = decoder.decode(value);
    } catch (error) {
      assert.ok(error instanceof DecodeError, 'only errors of our own');
      continue;
    }
    assert.ok(type.isValid(event));
  }
});

test('a writer schema that cannot be read as ours is an error of its records, not of the process', async () => {
  const other = JSON.stringify({ type: 'record', name: 'Other', fields: [{ name: 'x', type: 'int' }] });
  for (const text of [other, 'no schema', '{"type":"record"}']) {
    const decoder = await decoderOf(text);
    assert.equal(
      decodeCode(() => decoder.decode(encode(anEvent()))),
      'incompatible_schema',
    );
  }
});

test('a contract with a union whose unwrapped values are ambiguous is refused', () => {
  const union = JSON.stringify({
    type: 'record',
    name: 'R',
    fields: [{ name: 'n', type: ['int', 'double'] }],
  });
  assert.throws(() => avroType(union), /ambiguous/);
});

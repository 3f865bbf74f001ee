import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  drop,
  errorHeader,
  partly,
  reject,
  SerdeError,
  serdes,
  StreamsBuilder,
  StreamsError,
  type ErrorHandlers,
  type InputRecord,
  type KStream,
  type OutputRecord,
  type RecordFailure,
  type Serde,
} from '../../streams/index.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { unwritable } from '../../streams/record.ts';
import type { Refusal } from '../../streams/refusals.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { headerText } from '../../schemas/raw-record.ts';

/** What must never come out: it is in records and in the messages of foreign errors. */
const planted = 'planted-51c0';

const record: InputRecord = {
  topic: 'in',
  partition: 3,
  offset: 41n,
  timestamp: 1_700_000_000_123,
  key: Buffer.from('user-1'),
  value: Buffer.from(`body ${planted}`),
  headers: { trace: Buffer.from('t1'), twice: [Buffer.from('a'), Buffer.from('b')] },
};

interface Run {
  readonly outputs: OutputRecord[];
  /** The reported drops and dead letters. */
  readonly reported: string[];
}

function run(
  build: (stream: KStream<string | null, string | null>) => void,
  options: {
    value?: Serde<string | null>;
    handlers?: Partial<ErrorHandlers>;
    deadLetterTopic?: string | undefined;
  } = {},
): Run {
  const builder = new StreamsBuilder();
  build(builder.stream('raw', 'in', { key: serdes.utf8, value: options.value ?? serdes.utf8 }));
  const reported: string[] = [];
  const processor = new RecordProcessor(builder.build(), 3, {
    applicationId: 'app',
    handlers: { ...deadLetterAlways, ...options.handlers },
    deadLetterTopic: 'deadLetterTopic' in options ? options.deadLetterTopic : 'dlq',
  });
  const outputs: OutputRecord[] = [];
  processor.process(record, outputs);
  processor.tally.report({
    onProcessed: () => undefined,
    onDropped: (node, reason) => reported.push(`dropped ${node} ${reason}`),
    onDeadLettered: (node, code) => reported.push(`dead ${node} ${code}`),
  });
  return { outputs, reported };
}

const out = { value: serdes.utf8 };

function assertDeadLetter(
  outputs: readonly OutputRecord[],
  code: string,
  message: string,
  node: string,
): void {
  assert.equal(outputs.length, 1);
  const { headers, ...letter } = outputs[0]!;
  const { partition, timestamp, key, value, headers: original } = record;
  assert.deepEqual(letter, { topic: 'dlq', partition, timestamp, key, value });
  for (const name in original) assert.deepEqual(headers[name], original[name]);
  const failure = Object.fromEntries(
    Object.values(errorHeader).map((name) => [name, headerText(headers, name)]),
  );
  const stack = failure[errorHeader.stacktrace] ?? '';
  assert.deepEqual(failure, {
    '__streams.errors.exception': code,
    '__streams.errors.message': message,
    '__streams.errors.stacktrace': stack,
    '__streams.errors.topic': 'in',
    '__streams.errors.partition': '3',
    '__streams.errors.offset': '41',
    '__streams.errors.node': node,
  });
  assert.match(stack, /^ {4}at /);
  assert.ok(!JSON.stringify(failure).includes(planted));
}

describe('a record that fails', () => {
  test('is dead-lettered whole when an operator rejects it', () => {
    const { outputs, reported } = run((stream) =>
      stream
        .mapValues<string>('check', () => reject('MISSING_USER_ID', 'field user is missing'))
        .to('out', 'out', out),
    );
    assertDeadLetter(outputs, 'MISSING_USER_ID', 'field user is missing', 'check');
    assert.deepEqual(reported, ['dead check MISSING_USER_ID']);
  });

  test('is dead-lettered when a flatMapValues rejects it', () => {
    const { outputs } = run((stream) =>
      stream.flatMapValues<string>('expand', () => reject('EMPTY', 'nothing in it')).to('out', 'out', out),
    );
    assertDeadLetter(outputs, 'EMPTY', 'nothing in it', 'expand');
  });

  test('passes on the class of a foreign error only, not its message', () => {
    const { outputs } = run((stream) =>
      stream.mapValues('parse', (value) => JSON.parse(value ?? '') as string).to('out', 'out', out),
    );
    assertDeadLetter(outputs, 'OPERATOR_FAILED', 'SyntaxError thrown by operator parse', 'parse');
  });

  test('passes on no line of a message that looks like a frame', () => {
    const { outputs } = run((stream) =>
      stream
        .mapValues('parse', (value): string => {
          throw new Error(`first\n    at ${value}\n    at second ${planted}`);
        })
        .to('out', 'out', out),
    );
    assertDeadLetter(outputs, 'OPERATOR_FAILED', 'Error thrown by operator parse', 'parse');
  });

  test('passes on neither an error name made of content, nor a thrown value that is no error', () => {
    for (const thrown of [Object.assign(new Error('x'), { name: `name ${planted}` }), planted]) {
      // AbortSignal throws whatever it was aborted with.
      const aborted = AbortSignal.abort(thrown);
      const { outputs } = run((stream) =>
        stream
          .flatMapValues('odd', (value) => {
            aborted.throwIfAborted();
            return [value];
          })
          .to('out', 'out', out),
      );
      assert.equal(headerText(outputs[0]!.headers, errorHeader.message), 'something thrown by operator odd');
      assert.ok(!Object.values(outputs[0]!.headers).some((value) => String(value).includes(planted)));
    }
  });

  test('has at most 4096 bytes of stack in its dead letter', () => {
    const before = Error.stackTraceLimit;
    Error.stackTraceLimit = 200;
    try {
      const deep = (depth: number): string => {
        if (depth === 0) throw new RangeError(planted);
        return deep(depth - 1).slice(1);
      };
      const { outputs } = run((stream) => stream.mapValues('deep', () => deep(150)).to('out', 'out', out));
      const stack = outputs[0]!.headers[errorHeader.stacktrace] as Buffer;
      assert.equal(stack.length, 4096);
      assertDeadLetter(outputs, 'OPERATOR_FAILED', 'RangeError thrown by operator deep', 'deep');
    } finally {
      Error.stackTraceLimit = before;
    }
  });

  test('has the same stack, whoever calls the processor', () => {
    const failing = (): OutputRecord[] =>
      run((stream) => stream.mapValues('fails', () => assert.fail(planted)).to('out', 'out', out)).outputs;
    const direct = failing();
    const deeper = [0].map(() => failing())[0];
    assert.deepEqual(deeper, direct);
    assert.match(String(direct[0]?.headers[errorHeader.stacktrace]), /^ {4}at .*processor\.test\.ts/);
  });

  test('has the code of a SerdeError, from reading and from writing', () => {
    const refusing = (): never => {
      throw new SerdeError('NOT_JSON', 'no JSON at byte 4');
    };
    const reading = run((stream) => stream.to('out', 'out', out), {
      value: { ...serdes.utf8, deserialize: refusing },
    });
    assertDeadLetter(reading.outputs, 'NOT_JSON', 'no JSON at byte 4', 'raw');
    const writing = run((stream) => stream.to('out', 'out', { value: { serialize: refusing } }));
    assertDeadLetter(writing.outputs, 'NOT_JSON', 'no JSON at byte 4', 'out');
  });

  test('takes back every output it had yielded, also those of other branches', () => {
    const { outputs } = run((stream) => {
      stream.to('copy', 'copies', out);
      stream
        .flatMapValues('expand', () => ['a', 'b', 'c'])
        .mapValues('check', (value) => (value === 'c' ? reject('BAD', 'the third is bad') : value))
        .to('out', 'out', out);
    });
    assertDeadLetter(outputs, 'BAD', 'the third is bad', 'check');
  });

  test('takes nothing back of the records before it', () => {
    const builder = new StreamsBuilder();
    builder
      .stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 })
      .mapValues('check', (value) => (value === 'bad' ? reject('BAD', 'bad') : value))
      .to('out', 'out', out);
    const processor = new RecordProcessor(builder.build(), 3, {
      applicationId: 'app',
      handlers: deadLetterAlways,
      deadLetterTopic: 'dlq',
    });
    const outputs: OutputRecord[] = [];
    for (const value of ['1', 'bad', '2'])
      processor.process({ ...record, value: Buffer.from(value) }, outputs);
    assert.deepEqual(
      outputs.map(({ topic, value }) => `${topic} ${String(value)}`),
      ['out 1', 'dlq bad', 'out 2'],
    );
  });
});

describe('an error handler', () => {
  const rejecting = (stream: KStream<string | null, string | null>): void =>
    stream.mapValues<string>('check', () => reject('BAD', 'bad')).to('out', 'out', out);

  test('that answers continue drops the record under the code', () => {
    const { outputs, reported } = run(rejecting, { handlers: { processing: () => 'continue' } });
    assert.deepEqual([outputs, reported], [[], ['dropped check BAD']]);
  });

  test('that answers fail stops the processing, naming record and operator and quoting nothing', () => {
    const failing = (): never => {
      throw new Error(planted);
    };
    assert.throws(
      () =>
        run((stream) => stream.mapValues('check', failing).to('out', 'out', out), {
          handlers: { processing: () => 'fail' },
        }),
      (error: StreamsError) => {
        assert.equal(error.code, 'HANDLER_FAILED');
        assert.equal(
          error.message,
          'OPERATOR_FAILED at in-3 offset 41, operator check: Error thrown by operator check; ' +
            'the processing handler answered fail',
        );
        assert.equal(error.cause, undefined);
        return true;
      },
    );
  });

  test('that answers deadLetter without a dead-letter topic stops the processing', () => {
    assert.throws(() => run(rejecting, { deadLetterTopic: undefined }), {
      code: 'HANDLER_FAILED',
      message:
        'BAD at in-3 offset 41, operator check: bad; the processing handler answered deadLetter ' +
        'but no dead-letter topic is configured',
    });
  });

  test('is that of the seam, and sees the failure and the record', () => {
    const seen: [string, RecordFailure, InputRecord][] = [];
    const noting = (name: string) => (failure: RecordFailure, of: InputRecord) => {
      seen.push([name, failure, of]);
      return 'continue' as const;
    };
    const handlers: ErrorHandlers = {
      deserialization: noting('deserialization'),
      processing: noting('processing'),
      production: noting('production'),
    };
    const unreadable: Serde<string | null> = {
      ...serdes.utf8,
      deserialize: () => {
        throw new SerdeError('NOT_TEXT', 'no text');
      },
    };
    run(rejecting, { handlers });
    run((stream) => stream.to('out', 'out', out), { handlers, value: unreadable });
    const builder = new StreamsBuilder();
    builder.stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 }).to('out', 'out', out);
    new RecordProcessor(builder.build(), 3, {
      applicationId: 'app',
      handlers,
      deadLetterTopic: 'dlq',
    }).refuse(record, { reason: 'MESSAGE_TOO_LARGE' }, []);
    assert.deepEqual(
      seen.map(([name, { seam, code, node }, of]) => [name, seam, code, node, of === record]),
      [
        ['processing', 'processing', 'BAD', 'check', true],
        ['deserialization', 'deserialization', 'NOT_TEXT', 'raw', true],
        ['production', 'production', 'MESSAGE_TOO_LARGE', 'raw', true],
      ],
    );
  });
});

describe('a record whose output the broker refused', () => {
  const refuse = (refusal: Refusal, of: InputRecord): OutputRecord => {
    const builder = new StreamsBuilder();
    builder.stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 }).to('out', 'out', out);
    const options = { applicationId: 'app', handlers: deadLetterAlways, deadLetterTopic: 'dlq' };
    const outputs: OutputRecord[] = [];
    new RecordProcessor(builder.build(), 3, options).refuse(of, refusal, outputs);
    assert.equal(outputs.length, 1);
    return outputs[0]!;
  };
  const large = { ...record, value: Buffer.alloc(50), headers: { from: Buffer.from('x'), gone: null } };

  test('is a dead letter with all of it', () => {
    const letter = refuse({ reason: 'INVALID_RECORD' }, large);
    assert.deepEqual(
      [letter.key, letter.value, letter.timestamp, letter.headers['from'], letter.headers['gone']],
      [large.key, large.value, large.timestamp, Buffer.from('x'), null],
    );
    assert.equal(
      headerText(letter.headers, errorHeader.message),
      'the broker refused an output of this record: INVALID_RECORD',
    );
  });

  test('is one without value and headers where the broker refused that too, with the place to read them', () => {
    const letter = refuse(
      { reason: 'INVALID_RECORD', letter: { reason: 'MESSAGE_TOO_LARGE', atMs: 9 } },
      large,
    );
    assert.deepEqual([letter.key, letter.value, letter.timestamp], [large.key, null, large.timestamp]);
    assert.deepEqual(new Set(Object.keys(letter.headers)), new Set(Object.values(errorHeader)));
    assert.equal(headerText(letter.headers, errorHeader.exception), 'INVALID_RECORD');
    assert.equal(headerText(letter.headers, errorHeader.offset), String(large.offset));
    assert.match(
      headerText(letter.headers, errorHeader.message) ?? '',
      /: INVALID_RECORD; without value and headers, .*: MESSAGE_TOO_LARGE$/,
    );
  });

  test('is one of the time of the refusal where the broker refused its timestamp', () => {
    const refusal = { reason: 'INVALID_TIMESTAMP', letter: { reason: 'INVALID_TIMESTAMP', atMs: 9 } };
    assert.equal(refuse(refusal, large).timestamp, 9);
    assert.equal(refuse(refusal, { ...large, key: Buffer.alloc(2_000) }).key, null);
  });

  test('can be written whatever it is', () => {
    for (const timestamp of [0, -1, -(2 ** 63), 2 ** 63, Number.MAX_SAFE_INTEGER + 1]) {
      const strange = { ...record, timestamp, key: null, value: null, headers: { '': [null, null] } };
      for (const letter of [undefined, { reason: 'MESSAGE_TOO_LARGE', atMs: 9 }])
        assert.equal(
          unwritable(refuse({ reason: 'INVALID_RECORD', ...(letter && { letter }) }, strange)),
          undefined,
        );
    }
  });
});

describe('a record that does not fail', () => {
  test('may be dropped with a reason, and leaves nothing behind', () => {
    const { outputs, reported } = run((stream) =>
      stream.mapValues<string>('wanted', () => drop('not-ours')).to('out', 'out', out),
    );
    assert.deepEqual([outputs, reported], [[], ['dropped wanted not-ours']]);
  });

  test('keeps key, partition and timestamp and has the headers of its sink only', () => {
    const { outputs } = run((stream) =>
      stream
        .mapValues('short', () => 'v')
        .to('out', 'out', { ...out, headers: (value, { key }) => ({ of: Buffer.from(`${key} ${value}`) }) }),
    );
    assert.deepEqual(outputs, [
      {
        topic: 'out',
        partition: 3,
        timestamp: record.timestamp,
        key: record.key,
        value: Buffer.from('v'),
        headers: { of: Buffer.from('user-1 v') },
      },
    ]);
  });

  test('a StreamsError from inside is passed on as it is: the program is wrong, not the record', () => {
    const error = new StreamsError('INVARIANT', 'cannot be');
    assert.throws(
      () =>
        run((stream) =>
          stream
            .mapValues('check', () => {
              throw error;
            })
            .to('out', 'out', out),
        ),
      (thrown) => thrown === error,
    );
  });

  test('a record of a topic that the topology does not read is a fault of the library', () => {
    const builder = new StreamsBuilder();
    builder.stream('raw', 'other', { key: serdes.utf8, value: serdes.utf8 }).to('out', 'out', out);
    const processor = new RecordProcessor(builder.build(), 3, {
      applicationId: 'app',
      handlers: deadLetterAlways,
      deadLetterTopic: 'dlq',
    });
    assert.throws(() => processor.process(record, []), { code: 'INVARIANT' });
  });
});

describe('a record of which a part can be processed', () => {
  test('its values go on, and it is dead-lettered once, behind them', () => {
    const { outputs, reported } = run((stream) =>
      stream
        .flatMapValues('split', () => partly(['a', 'b'], 'PARTLY', 'part[2] cannot be read'))
        .flatMapValues('again', (value) => partly([value], 'LATER', 'not the first'))
        .to('sink', 'out', { value: serdes.utf8 }),
    );
    assert.deepEqual(
      outputs.map(({ topic, value }) => [topic, String(value)]),
      [
        ['out', 'a'],
        ['out', 'b'],
        ['dlq', `body ${planted}`],
      ],
    );
    assert.equal(headerText(outputs[2]?.headers ?? {}, errorHeader.exception), 'PARTLY');
    assert.equal(headerText(outputs[2]?.headers ?? {}, errorHeader.message), 'part[2] cannot be read');
    assert.ok(
      reported.some((line) => line.includes('PARTLY')) && !reported.some((line) => line.includes('LATER')),
    );
  });

  test('one that fails later is dead-lettered for that reason only, without values', () => {
    const { outputs } = run((stream) =>
      stream
        .flatMapValues('split', () => partly(['a', 'b'], 'PARTLY', 'part[2] cannot be read'))
        .mapValues('fail', (value) => (value === 'b' ? reject('BAD', 'b is bad') : value))
        .to('sink', 'out', { value: serdes.utf8 }),
    );
    assert.deepEqual(
      outputs.map(({ topic }) => topic),
      ['dlq'],
    );
    assert.equal(headerText(outputs[0]?.headers ?? {}, errorHeader.exception), 'BAD');
  });

  test('without a dead letter where the handler continues', () => {
    const { outputs, reported } = run(
      (stream) =>
        stream
          .flatMapValues('split', () => partly(['a'], 'PARTLY', 'part[1] cannot be read'))
          .to('sink', 'out', { value: serdes.utf8 }),
      { handlers: { processing: () => 'continue' } },
    );
    assert.deepEqual(
      outputs.map(({ topic }) => topic),
      ['out'],
    );
    assert.ok(reported.some((line) => line.includes('PARTLY')));
  });
});

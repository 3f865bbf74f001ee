import { drop, reject, serdes, SerdeError, StreamsBuilder, writeOnly } from '../../streams/index.ts';
import type { Serde } from '../../streams/index.ts';
import { now, type Line, type PipelineCase } from './pipeline.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');
const raw = { key: serdes.utf8, value: serdes.utf8 };
/** A marker that must never come out: it is only in what must not be passed on. */
const planted = 'planted-7f3a';

const line = (topic: string, value: string | null, changes: Partial<Line> = {}): Line => ({
  topic,
  partition: 0,
  key: null,
  value,
  headers: {},
  timestamp: now,
  ...changes,
});

/** The headers that a failure of the record at `offset` of `in` leads to. */
const failure = (code: string, message: string, node: string, offset: number): Record<string, string> => ({
  '__streams.errors.exception': code,
  '__streams.errors.message': message,
  '__streams.errors.topic': 'in',
  '__streams.errors.partition': '0',
  '__streams.errors.offset': String(offset),
  '__streams.errors.node': node,
});

/** Numbers as text; anything else is refused without being quoted. */
export const wholeNumber: Serde<number> = {
  serialize: (value) => {
    if (!Number.isInteger(value)) throw new SerdeError('NOT_WHOLE', 'the value is not a whole number');
    return bytes(String(value));
  },
  deserialize: (value) => {
    const text = value?.toString('utf8') ?? '';
    if (!/^-?\d+$/.test(text)) throw new SerdeError('NOT_A_NUMBER', `no number in ${text.length} bytes`);
    return Number(text);
  },
};

export const pipelineCases: readonly PipelineCase[] = [
  {
    title: 'keeps key, timestamp and partition of each record, and the order within a partition',
    inputTopics: ['in'],
    outputTopics: ['out'],
    topology: (name) => {
      const builder = new StreamsBuilder();
      builder
        .stream('raw', name('in'), raw)
        .mapValues('shout', (value) => value?.toUpperCase() ?? null)
        .to('out', name('out'), { value: serdes.utf8 });
      return builder.build();
    },
    inputs: [
      { topic: 'in', partition: 1, key: bytes('u1'), value: bytes('a'), timestamp: now - 5_000 },
      { topic: 'in', partition: 3, key: bytes('u3'), value: bytes('b'), timestamp: now - 4_000 },
      { topic: 'in', partition: 1, key: bytes('u1'), value: bytes('c'), timestamp: now - 6_000 },
      {
        topic: 'in',
        partition: 1,
        key: null,
        value: null,
        timestamp: now - 1_000,
        headers: { gone: bytes('x') },
      },
    ],
    expected: [
      line('out', 'A', { partition: 1, key: 'u1', timestamp: now - 5_000 }),
      line('out', 'C', { partition: 1, key: 'u1', timestamp: now - 6_000 }),
      line('out', null, { partition: 1, timestamp: now - 1_000 }),
      line('out', 'B', { partition: 3, key: 'u3', timestamp: now - 4_000 }),
    ],
  },
  {
    title: 'sends each record to the topic that the chooser names, with the headers of the sink',
    inputTopics: ['in'],
    outputTopics: ['even', 'odd'],
    topology: (name) => {
      const builder = new StreamsBuilder();
      builder
        .stream('raw', name('in'), { key: serdes.utf8, value: wholeNumber })
        .to('route', (_, value) => name(value % 2 === 0 ? 'even' : 'odd'), {
          value: wholeNumber,
          headers: (value, { topic, offset }) => ({
            square: bytes(`${value ** 2}`),
            from: bytes(`${topic.slice(name('').length)}@${offset}`),
          }),
          topics: [name('even'), name('odd')],
        });
      return builder.build();
    },
    inputs: ['1', '2', '3'].map((value) => ({ topic: 'in', value: bytes(value), timestamp: now })),
    expected: [
      line('even', '2', { headers: { square: '4', from: 'in@1' } }),
      line('odd', '1', { headers: { square: '1', from: 'in@0' } }),
      line('odd', '3', { headers: { square: '9', from: 'in@2' } }),
    ],
  },
  {
    title: 'reads several topics, expands and drops their values, and sends one stream down two ways',
    inputTopics: ['a', 'b'],
    outputTopics: ['long', 'rest'],
    topology: (name) => {
      const builder = new StreamsBuilder();
      const words = builder
        .stream('raw', [name('a'), name('b')], raw)
        .flatMapValues('words', (value) => value?.split(' ') ?? drop('empty'))
        .flatMapValues('no-numbers', (word) => (/^\d+$/.test(word) ? drop('number') : [word]));
      words
        .flatMapValues('long', (word) => (word.length > 3 ? [word] : drop('short')))
        .to('to-long', name('long'), { value: serdes.utf8 });
      words
        .flatMapValues('rest', (word) => (word.length === 2 || word.length === 3 ? [word] : drop('other')))
        .mapValues('mark', (word) => `${word}!`)
        .to('to-rest', name('rest'), { value: serdes.utf8 });
      return builder.build();
    },
    inputs: [
      { topic: 'a', partition: 0, value: bytes('one two three 4 x'), timestamp: now },
      { topic: 'a', partition: 0, value: null, timestamp: now },
      { topic: 'b', partition: 2, value: bytes('eleven'), timestamp: now },
      { topic: 'b', partition: 2, value: bytes(''), timestamp: now },
    ],
    expected: [
      line('long', 'three'),
      line('long', 'eleven', { partition: 2 }),
      line('rest', 'one!'),
      line('rest', 'two!'),
    ],
  },
  {
    title: 'dead-letters bad records whole, with what failed and where, and processes the next ones',
    inputTopics: ['in'],
    outputTopics: ['out'],
    topology: (name) => {
      const builder = new StreamsBuilder();
      builder
        .stream('raw', name('in'), { key: serdes.utf8, value: wholeNumber })
        .flatMapValues('divisors', (value) =>
          value < 0 ? reject('NEGATIVE', 'the value is below zero') : [value, value / 2],
        )
        .mapValues('check', (value) => {
          if (value === 14) throw new Error(`${planted} ${value}`);
          return value;
        })
        .to('out', name('out'), { value: wholeNumber });
      return builder.build();
    },
    inputs: ['2', planted, '-1', '14', '3', '4'].map((value, at) => ({
      topic: 'in',
      key: bytes(`k${at}`),
      value: bytes(value),
      timestamp: now,
      headers: { trace: bytes(`t${at}`) },
    })),
    expected: [
      line('dlq', planted, {
        key: 'k1',
        headers: { trace: 't1', ...failure('NOT_A_NUMBER', 'no number in 12 bytes', 'raw', 1) },
      }),
      line('dlq', '-1', {
        key: 'k2',
        headers: { trace: 't2', ...failure('NEGATIVE', 'the value is below zero', 'divisors', 2) },
      }),
      line('dlq', '14', {
        key: 'k3',
        headers: { trace: 't3', ...failure('OPERATOR_FAILED', 'Error thrown by operator check', 'check', 3) },
      }),
      // 3 had yielded itself before its half, which is not whole, was refused: that is taken back.
      line('dlq', '3', {
        key: 'k4',
        headers: { trace: 't4', ...failure('NOT_WHOLE', 'the value is not a whole number', 'out', 4) },
      }),
      line('out', '2', { key: 'k0' }),
      line('out', '1', { key: 'k0' }),
      line('out', '4', { key: 'k5' }),
      line('out', '2', { key: 'k5' }),
    ],
  },
  {
    title: 'writes nothing for a topology whose records are all dropped',
    inputTopics: ['in'],
    outputTopics: ['out'],
    topology: (name) => {
      const builder = new StreamsBuilder();
      builder
        .stream('raw', name('in'), raw)
        .mapValues('never', () => drop('unwanted'))
        .to('out', name('out'), { value: writeOnly(() => Buffer.from('never')) });
      return builder.build();
    },
    inputs: Array.from({ length: 40 }, (_, at) => ({
      topic: 'in',
      partition: at % 4,
      value: bytes(`${at}`),
      timestamp: now,
    })),
    expected: [],
  },
];

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  drop,
  reject,
  serdes,
  StreamsBuilder,
  writeOnly,
  type KStream,
  type Serde,
} from '../../streams/index.ts';

// What the compiler must refuse follows a directive that is itself an error where nothing is refused:
// `npm run typecheck` is the test. At run time the wrong programs are only built, never run.

interface Cat {
  readonly kind: 'cat';
  readonly lives: number;
}
interface Dog {
  readonly kind: 'dog';
  readonly tricks: readonly string[];
}
type Pet = Cat | Dog;

const refuse = (): never => {
  throw new Error('never run');
};
const petSerde: Serde<Pet> = { serialize: refuse, deserialize: refuse };
const catSerde = writeOnly<Cat>(refuse);
const numberSerde = writeOnly<number>(refuse);

function pets(): KStream<string | null, Pet> {
  return new StreamsBuilder().stream('raw', 'in', { key: serdes.utf8, value: petSerde });
}

test('to() takes a serde of the values of its stream only', () => {
  const stream = pets().mapValues('count', (pet) => pet.kind.length);
  stream.to('right', 'out', { value: numberSerde });
  // @ts-expect-error a serde of text cannot write numbers
  stream.to('wrong', 'out', { value: serdes.utf8 });
  // @ts-expect-error a serde of cats cannot write every pet
  pets().to('narrow', 'out', { value: catSerde });
  assert.ok(stream);
});

test('operators see the fields that the value has, and no others', () => {
  const stream = pets();
  stream.mapValues('kind', (pet) => pet.kind);
  // @ts-expect-error no pet has a colour
  stream.mapValues('colour', (pet) => pet.colour as string);
  // @ts-expect-error only cats have lives
  stream.flatMapValues('lives', (pet) => (pet.lives > 1 ? [pet] : []));
  // @ts-expect-error only dogs have tricks
  stream.flatMapValues('tricks', (pet) => [String(pet.tricks)]);
  assert.ok(stream);
});

test('answers made by drop() and reject() are not values of the stream behind', () => {
  const stream = pets().mapValues('lives', (pet) =>
    pet.kind === 'cat'
      ? pet.lives
      : pet.tricks.length > 0
        ? drop('clever')
        : reject('NO_TRICKS', 'a dull dog'),
  );
  stream.mapValues('next', (lives) => lives + 1).to('right', 'out', { value: numberSerde });
  assert.ok(stream);
});

test('the key and headers of a sink are typed as well', () => {
  const stream = pets();
  stream.to('right', (key) => key?.toUpperCase() ?? 'none', { value: petSerde });
  // @ts-expect-error a key may be null
  stream.to('unsafe', (key) => key.toUpperCase(), { value: petSerde });
  stream.to('headers', 'out', { value: petSerde, headers: (pet) => ({ kind: pet.kind }) });
  // @ts-expect-error headers are text or bytes
  stream.to('numbers', 'out', { value: petSerde, headers: () => ({ kind: 1 }) });
  assert.ok(stream);
});

test('processValues() gets the stores it names, with their types, and no others', () => {
  const builder = new StreamsBuilder()
    .addStateStore('counts', { key: serdes.utf8, value: petSerde })
    .addStateStore('names', { key: serdes.utf8, value: serdes.utf8 });
  const stream = builder.stream('raw', 'in', { key: serdes.utf8, value: petSerde });
  stream.processValues(
    'right',
    (pet, { key }, { counts }) => (counts.get(key)?.kind === pet.kind ? [pet] : []),
    {
      stores: ['counts'],
    },
  );
  // @ts-expect-error no such store is declared
  stream.processValues('unknown', (pet) => [pet], { stores: ['ages'] });
  stream.processValues(
    'unnamed',
    (pet, _, stores) => {
      // @ts-expect-error the store is declared, but this operator does not name it
      assert.ok(stores.names);
      return [pet];
    },
    { stores: ['counts'] },
  );
  // @ts-expect-error the store holds pets
  stream.processValues('value', (pet, _, { counts }) => [counts.put(pet.kind, 'text')], {
    stores: ['counts'],
  });
  // @ts-expect-error the keys are text
  stream.processValues('key', (_, __, { counts }) => [counts.get(7)], { stores: ['counts'] });
  assert.ok(stream);
});

test('answers that drop or reject are no values of the stream', () => {
  const stream = pets().mapValues('cats', (pet) =>
    pet.kind === 'cat' ? pet : pet.tricks.length > 0 ? drop('dog') : reject('DULL', 'a dull dog'),
  );
  const cats: KStream<string | null, Cat> = stream;
  assert.ok(cats);
});

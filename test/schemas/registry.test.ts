import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { before, describe, test } from 'node:test';
import { SchemaRegistry as KafkaJsRegistry } from '@kafkajs/confluent-schema-registry';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder, DecodeError } from '../../schemas/codec.ts';
import { checkSchemas, lookupSchemaId, registerSchemas, subjects } from '../../schemas/contract.ts';
import {
  RegistryError,
  schemaRegistry,
  type RegistryErrorCode,
  type SchemaRegistry,
} from '../../schemas/registry.ts';
import { anEvent, incompatibleContract } from './events.ts';

function registryUrl(): string {
  const url = process.env['SCHEMA_REGISTRY_URL'];
  assert.ok(
    url !== undefined && url !== '',
    'SCHEMA_REGISTRY_URL is not set: start the local stack, then `set -a; . .local/env; set +a`',
  );
  return url;
}

async function registeredText(id: number): Promise<string> {
  const response = await fetch(`${registryUrl()}/schemas/ids/${id}`);
  return ((await response.json()) as { schema: string }).schema;
}

function withField(type: unknown, fallback?: unknown): string {
  const schema = JSON.parse(biometricEventAvsc) as { fields: object[] };
  schema.fields.push({ name: 'zone', type, ...(fallback === undefined ? {} : { default: fallback }) });
  return JSON.stringify(schema);
}

describe('the contract in a real registry', { timeout: 60_000 }, () => {
  let prefix = '';
  const registry = () => schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  before(() => {
    prefix = `schemas-${randomUUID().slice(0, 8)}.`;
  });

  test('before registration, the check names what is missing and a lookup says what to run', async () => {
    const faults = await checkSchemas(registry(), prefix);
    assert.equal(faults.length, 6);
    for (const fault of faults) assert.match(fault, /bridge schemas register/);
    await assert.rejects(
      lookupSchemaId(registry(), subjects(prefix)[0]!),
      (error) =>
        error instanceof RegistryError &&
        error.code === 'not_found' &&
        error.message.includes('bridge schemas register') &&
        error.message.includes(registryUrl()),
    );
  });

  test('registering puts it under every subject with the rule, and repeating it changes nothing', async () => {
    const first = await registerSchemas(registry(), prefix);
    assert.deepEqual(
      first.map(({ subject, isNew }) => [subject, isNew]),
      subjects(prefix).map((subject) => [subject, true]),
    );
    const again = await registerSchemas(registry(), prefix);
    assert.deepEqual(
      again,
      first.map((each) => ({ ...each, isNew: false })),
    );
    for (const { subject, id } of first) {
      assert.equal(await registry().compatibility(subject), 'FULL_TRANSITIVE');
      assert.equal(await lookupSchemaId(registry(), subject), id);
      assert.deepEqual(JSON.parse(await registeredText(id)), JSON.parse(biometricEventAvsc));
      assert.equal(
        JSON.stringify(await registry().typeById(id)),
        JSON.stringify(avroType(biometricEventAvsc)),
      );
    }
    assert.deepEqual(await checkSchemas(registry(), prefix), []);
  });

  test('a loosened rule is found and restored', async () => {
    const [subject] = subjects(prefix) as [string];
    await registry().setCompatibility(subject, 'NONE');
    assert.match((await checkSchemas(registry(), prefix)).join(), /has NONE instead of FULL_TRANSITIVE/);
    await registerSchemas(registry(), prefix);
    assert.deepEqual(await checkSchemas(registry(), prefix), []);
  });

  test('an incompatible schema is refused, and the check reports it beforehand', async () => {
    const bad = withField('string');
    assert.match(
      (await checkSchemas(registry(), prefix, bad)).join(),
      /would refuse the schema of this version/,
    );
    await assert.rejects(
      registerSchemas(registry(), prefix, bad),
      (error) =>
        error instanceof RegistryError && error.code === 'incompatible' && error.message.includes('409'),
    );
    assert.deepEqual(await checkSchemas(registry(), prefix), []);
  });

  test('a look-up says that the subject would refuse the schema, rather than to register it', async () => {
    const [subject] = subjects(prefix) as [string];
    await assert.rejects(
      lookupSchemaId(registry(), subject, incompatibleContract()),
      (error) =>
        error instanceof RegistryError &&
        error.code === 'incompatible' &&
        error.message.includes(`would refuse the schema of this version under ${subject}`) &&
        !error.message.includes('register'),
    );
  });

  test('a compatible next version leaves the ids of the first as they were', async () => {
    const next = withField(['null', 'string'], null);
    const ids = await Promise.all(subjects(prefix).map((subject) => lookupSchemaId(registry(), subject)));
    assert.match(
      (await checkSchemas(registry(), prefix, next)).join(),
      /does not have the schema of this version/,
    );
    const registered = await registerSchemas(registry(), prefix, next);
    for (const { id } of registered) assert.ok(!ids.includes(id));
    assert.deepEqual(
      await Promise.all(subjects(prefix).map((subject) => lookupSchemaId(registry(), subject))),
      ids,
    );
    const decoder = createDecoder((id) => registry().typeById(id));
    const value = createEncoder(registered[0]!.id, next)({ ...anEvent(), zone: 'UTC' } as never);
    await decoder.prepare(registered[0]!.id);
    assert.deepStrictEqual(decoder.decode(value), anEvent());
  });

  test('the usual client of the registry reads what the codec writes, and the codec what that client writes', async () => {
    const id = await lookupSchemaId(registry(), subjects(prefix)[0]!);
    const other = new KafkaJsRegistry({ host: registryUrl() });
    // It answers records as objects of classes of its own.
    const decoded: unknown = await other.decode(createEncoder(id)(anEvent()));
    assert.deepEqual(JSON.parse(JSON.stringify(decoded)), anEvent());
    const decoder = createDecoder((each) => registry().typeById(each));
    await decoder.prepare(id);
    assert.deepStrictEqual(decoder.decode(await other.encode(id, anEvent())), anEvent());
  });

  test('an id that the registry does not have is not found', async () => {
    await assert.rejects(
      registry().typeById(2_000_000_000),
      (error) => error instanceof RegistryError && error.code === 'not_found' && !error.isTransient,
    );
  });

  test('an address without the path of the API is distinguished from a missing subject', async () => {
    const root = schemaRegistry({ SCHEMA_REGISTRY_URL: new URL('/no-registry-here', registryUrl()).href });
    await assert.rejects(
      root.lookupId('x', biometricEventAvsc),
      (error) =>
        error instanceof RegistryError &&
        error.code === 'refused' &&
        error.message.includes('/apis/ccompat/v7'),
    );
  });
});

/** A server that answers as `listener` does, for the time of `use`. */
async function answering(listener: RequestListener, use: (host: string) => Promise<void>): Promise<void> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await use(`127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

function failsWith(code: RegistryErrorCode, pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RegistryError);
    assert.equal(error.code, code);
    assert.match(error.message, pattern);
    assert.doesNotMatch(error.message, /canary/);
    return true;
  };
}

/** Both look-ups, which go through the library. */
const lookUps: [string, (registry: SchemaRegistry) => Promise<unknown>][] = [
  ['an id', (registry) => registry.lookupId('s', '"string"')],
  ['a type', (registry) => registry.typeById(5)],
];

describe('a faulty registry', { timeout: 30_000 }, () => {
  test('an absent one is named by its address, without credentials', async () => {
    let host = '';
    await answering(
      () => undefined,
      (each) => {
        host = each;
        return Promise.resolve();
      },
    );
    await assert.rejects(
      schemaRegistry({ SCHEMA_REGISTRY_URL: `http://canary:canary@${host}/api/` }).lookupId('s', '"string"'),
      failsWith(
        'unreachable',
        new RegExp(`http://${host}/api does not answer \\(ECONNREFUSED\\).*SCHEMA_REGISTRY_URL`),
      ),
    );
  });

  test('a silent one is abandoned after the timeout', async () => {
    await answering(
      () => undefined,
      async (host) => {
        const silent = schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` }, { timeoutMs: 100 });
        for (const [, lookUp] of lookUps) {
          await assert.rejects(lookUp(silent), failsWith('unreachable', /none within 100 ms/));
        }
      },
    );
  });

  test('one that begins an answer and does not end it is abandoned after the timeout', async () => {
    await answering(
      (_, response) => response.writeHead(200, { 'content-length': '100' }).write('{"id":5'),
      async (host) => {
        const slow = schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` }, { timeoutMs: 100 });
        for (const [, lookUp] of lookUps) {
          await assert.rejects(lookUp(slow), failsWith('unreachable', /none within 100 ms/));
        }
      },
    );
  });

  test('one that cuts its answer short is unreachable at once', async () => {
    await answering(
      (_, response) => {
        response.writeHead(200, { 'content-length': '100' });
        response.write('{"id":5', () => response.destroy());
      },
      async (host) => {
        const cutting = schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` }, { timeoutMs: 20_000 });
        for (const [, lookUp] of lookUps) {
          await assert.rejects(lookUp(cutting), failsWith('unreachable', /does not answer/));
        }
      },
    );
  });

  test('a redirect is not followed, and its body is not taken as an answer', async () => {
    const credentials: unknown[] = [];
    await answering(
      (request, response) => {
        credentials.push(request.headers.authorization);
        response.end('{"id":6,"schema":"\\"string\\""}');
      },
      async (elsewhere) => {
        await answering(
          (_, response) => {
            response.writeHead(302, { location: `http://${elsewhere}/` });
            response.end('{"id":5,"schema":"\\"string\\""}');
          },
          async (host) => {
            for (const [, lookUp] of lookUps) {
              await assert.rejects(
                lookUp(schemaRegistry({ SCHEMA_REGISTRY_URL: `http://someone:canary@${host}` })),
                failsWith('unreachable', new RegExp(host)),
              );
            }
          },
        );
      },
    );
    assert.deepEqual(credentials, []);
  });

  test('one that is temporarily unavailable is asked once, and again at the next look-up', async () => {
    for (const [what, lookUp] of lookUps) {
      const answers: [number, string][] = [
        [503, '{"error_code":50301,"message":"starting"}'],
        [404, '{"error_code":40403,"message":"Schema not found"}'],
        [200, '{"id":5,"schema":"\\"string\\""}'],
      ];
      await answering(
        (_, response) => {
          const [status, body] = answers.shift()!;
          response.writeHead(status, { 'content-type': 'application/json' }).end(body);
        },
        async (host) => {
          const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` });
          await assert.rejects(lookUp(registry), failsWith('unavailable', /503/));
          assert.equal(answers.length, 2, what);
          const absent = lookUp(registry);
          if (what === 'an id') assert.equal(await absent, undefined);
          else await assert.rejects(absent, failsWith('not_found', /schemas\/ids\/5/));
          assert.ok((await lookUp(registry)) !== undefined, what);
        },
      );
    }
  });

  test('an unauthorized request names the variables of the credentials; once set, they are sent', async () => {
    const wanted = `Basic ${Buffer.from('someone:canary').toString('base64')}`;
    await answering(
      (request, response) => {
        const allowed = request.headers.authorization === wanted;
        response.writeHead(allowed ? 200 : 401, { 'content-type': 'application/json' });
        response.end(JSON.stringify(allowed ? { id: 5 } : { error_code: 401, message: 'Unauthorized' }));
      },
      async (host) => {
        await assert.rejects(
          schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` }).lookupId('s', '"string"'),
          failsWith('unauthorized', /SCHEMA_REGISTRY_USERNAME/),
        );
        const known = { SCHEMA_REGISTRY_USERNAME: 'someone', SCHEMA_REGISTRY_PASSWORD: 'canary' };
        assert.equal(
          await schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}`, ...known }).lookupId('s', '"string"'),
          5,
        );
        assert.equal(
          await schemaRegistry({ SCHEMA_REGISTRY_URL: `http://someone:canary@${host}` }).lookupId(
            's',
            '"string"',
          ),
          5,
        );
        assert.equal(
          await schemaRegistry({ SCHEMA_REGISTRY_URL: `http://some%6Fne:c%61nary@${host}` }).lookupId(
            's',
            '"string"',
          ),
          5,
        );
      },
    );
  });

  test("an answer in another form, or an error of a proxy, is not taken as a registry's", async () => {
    const cases: [number, string, RegistryErrorCode][] = [
      [200, '<html>canary</html>', 'refused'],
      [200, '{"id":"canary"}', 'refused'],
      [404, '<html>canary</html>', 'refused'],
      [404, '{"message":"no such route"}', 'refused'],
      [502, '<html>canary</html>', 'unavailable'],
      [500, 'null', 'unavailable'],
      [400, 'null', 'refused'],
      [200, 'null', 'refused'],
      [422, '{"error_code":42201,"message":"Invalid schema"}', 'refused'],
    ];
    for (const [status, body, code] of cases) {
      await answering(
        (_, response) => response.writeHead(status, { 'content-type': 'application/json' }).end(body),
        async (host) => {
          for (const [, lookUp] of lookUps) {
            await assert.rejects(
              lookUp(schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` })),
              failsWith(code, new RegExp(host)),
            );
          }
        },
      );
    }
  });

  test('an unusable schema is not an error of the look-up, and costs one request each time', async () => {
    const reference = { name: 'R', subject: 's', version: 1 };
    const ambiguous = { type: 'record', name: 'R', fields: [{ name: 'n', type: ['int', 'double'] }] };
    const answers = [
      { schema: 'no schema' },
      { schema: '{"type":"record"}' },
      { schema: JSON.stringify(ambiguous) },
      { schema: '{"type":"object"}', schemaType: 'JSON' },
      { schema: 'message R {}', schemaType: 'PROTOBUF' },
      { schema: '{"type":"record","name":"S","fields":[{"name":"r","type":"R"}]}', references: [reference] },
    ];
    for (const answer of answers) {
      let requests = 0;
      await answering(
        (_, response) => {
          requests += 1;
          response.end(JSON.stringify(answer));
        },
        async (host) => {
          const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` });
          assert.equal(await registry.typeById(5), undefined);
          const decoder = createDecoder((id) => registry.typeById(id));
          await decoder.prepare(5);
          assert.throws(
            () => decoder.decode(createEncoder(5)(anEvent())),
            (error) => error instanceof DecodeError && error.code === 'incompatible_schema',
          );
        },
      );
      assert.equal(requests, 2);
    }
  });

  test('a type that is looked up is one of the codec, which refuses a number that is not finite', async () => {
    await answering(
      (_, response) => response.end(JSON.stringify({ schema: biometricEventAvsc })),
      async (host) => {
        const type = await schemaRegistry({ SCHEMA_REGISTRY_URL: `http://${host}` }).typeById(5);
        assert.ok(type !== undefined && type.isValid(anEvent()));
        assert.ok(!type.isValid(anEvent({ hrv: Number.NaN })));
      },
    );
  });
});

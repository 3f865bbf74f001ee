/** The Confluent API of a schema registry: the few requests that the bridge sends. */
import { unescape } from 'node:querystring';
import { SchemaRegistry as KafkaJsRegistry, SchemaType } from '@kafkajs/confluent-schema-registry';
import { z } from 'zod';
import { avroType, type AvroType } from './avro.ts';

export type RegistryErrorCode =
  /** No answer, or none in time: worth trying again. */
  | 'unreachable'
  /** The registry is up but cannot answer now (5xx, 429): worth trying again. */
  | 'unavailable'
  /** It refuses our credentials. */
  | 'unauthorized'
  /** It has no such subject, version or id. */
  | 'not_found'
  /** The compatibility rule of the subject refuses the schema. */
  | 'incompatible'
  /** Any other refusal, or an answer that is not of the Confluent API. */
  | 'refused';

/** A request to the registry failed. The message names the address (without credentials) and what to do. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly code: RegistryErrorCode;
  constructor(code: RegistryErrorCode, message: string) {
    super(message);
    this.code = code;
  }
  /** Whether the same request may succeed later without a change of any schema. */
  get isTransient(): boolean {
    return this.code === 'unreachable' || this.code === 'unavailable';
  }
}

/** A registry. Every function sends one request, and rejects with {@link RegistryError} within the timeout. */
export interface SchemaRegistry {
  /** Where it is, without credentials. */
  readonly url: string;
  /** The id of exactly this schema under a subject; undefined when the subject does not have it. */
  lookupId(subject: string, avsc: string): Promise<number | undefined>;
  /** Makes it the subject's newest version unless it is one already; resolves to its id. */
  register(subject: string, avsc: string): Promise<number>;
  /** Whether the subject's rule would accept it as its next version; undefined when the subject has no version. */
  wouldAccept(subject: string, avsc: string): Promise<boolean | undefined>;
  /** The compatibility rule of the subject itself; undefined when it has none of its own. */
  compatibility(subject: string): Promise<string | undefined>;
  setCompatibility(subject: string, level: string): Promise<void>;
  /** The type of a writer schema by its id; undefined when the schema under that id is not usable Avro. */
  typeById(id: number): Promise<AvroType | undefined>;
}

/** The SCHEMA_REGISTRY_* variables. */
export interface RegistryConfig {
  readonly SCHEMA_REGISTRY_URL: string;
  readonly SCHEMA_REGISTRY_USERNAME?: string | undefined;
  readonly SCHEMA_REGISTRY_PASSWORD?: string | undefined;
}

/**
 * The registry that the SCHEMA_REGISTRY_* variables describe. Sends no request yet.
 * @param options.timeoutMs - of one request; 5,000 by default.
 */
export function schemaRegistry(config: RegistryConfig, options: { timeoutMs?: number } = {}): SchemaRegistry {
  const request = requester(config, options.timeoutMs ?? 5_000);
  const client = lookups(request);
  const name = encodeURIComponent;
  return {
    url: request.url,
    lookupId(subject, avsc) {
      return orAbsent(client.getRegistryIdBySchema(subject, { type: SchemaType.AVRO, schema: avsc }));
    },
    async register(subject, avsc) {
      const path = `/subjects/${name(subject)}/versions`;
      return (await request.send(idAnswer, 'POST', path, JSON.stringify({ schema: avsc }))).id;
    },
    async wouldAccept(subject, avsc) {
      const path = `/compatibility/subjects/${name(subject)}/versions/latest`;
      const answer = request.send(acceptAnswer, 'POST', path, JSON.stringify({ schema: avsc }));
      return (await orAbsent(answer))?.is_compatible;
    },
    async compatibility(subject) {
      return (await orAbsent(request.send(levelAnswer, 'GET', `/config/${name(subject)}`)))
        ?.compatibilityLevel;
    },
    async setCompatibility(subject, level) {
      const body = JSON.stringify({ compatibility: level });
      await request.send(z.unknown(), 'PUT', `/config/${name(subject)}`, body);
    },
    async typeById(id) {
      // An id is an int of Java. A registry that is asked for more does not say that it has no such id, but that the
      // request is wrong, which sounds like a wrong address and would be waited for.
      if (id > maxSchemaId) throw new RegistryError('not_found', `no registry has a schema ${id}`);
      try {
        // The library's types trust block counts and leave doubles unchecked, so only the schema is taken from them.
        return avroType(JSON.stringify(await client.getSchema(id)));
      } catch (error) {
        // The library refuses the schema under this name; it does not export the class.
        if (error instanceof Error && error.name === 'ConfluentSchemaRegistryArgumentError') return undefined;
        throw error;
      }
    },
  };
}

const maxSchemaId = 2 ** 31 - 1;

type Middleware = NonNullable<ConstructorParameters<typeof KafkaJsRegistry>[0]['middlewares']>[number];
type Response = Awaited<ReturnType<NonNullable<ReturnType<Middleware>['response']>>>;

/**
 * The library's look-ups over our own request, because its own does not hold what {@link SchemaRegistry} promises:
 * docs/dependencies.md lists what fails. A middleware is the library's outermost layer, so this one replaces the rest.
 */
function lookups(request: Requester): KafkaJsRegistry {
  const ownRequest: Middleware = ({ resourceName }) => ({
    async response(_next, _renew, asked) {
      // Only these fields reach the library: for references it would send more requests, each with a deadline of its
      // own, and schemas of other types it would compile.
      const form: z.ZodType<object> = resourceName === 'Schema' ? schemaAnswer : idAnswer;
      const body = asked.body() as string | undefined;
      const answer = await request.send(form, asked.method().toUpperCase(), asked.path(), body);
      // The library reads nothing else of a response.
      return { data: () => answer } as unknown as Response;
    },
  });
  return new KafkaJsRegistry(
    { host: request.url, retry: { retries: 0 }, middlewares: [ownRequest] },
    // Unions as in our codec, so that the library refuses a schema that our codec would refuse.
    { [SchemaType.AVRO]: { wrapUnions: 'never' } },
  );
}

/** The result, or undefined when the registry does not have it. */
async function orAbsent<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'not_found') return undefined;
    throw error;
  }
}

const idAnswer = z.object({ id: z.int() });
const acceptAnswer = z.object({ is_compatible: z.boolean() });
const levelAnswer = z.object({ compatibilityLevel: z.string() });
const schemaAnswer = z.object({ schema: z.string() });
const errorAnswer = z.object({ error_code: z.int(), message: z.string() });

interface Requester {
  readonly url: string;
  /** Resolves to the parsed answer. @param body - JSON text. */
  send<T>(form: z.ZodType<T>, method: string, path: string, body?: string): Promise<T>;
}

function requester(config: RegistryConfig, timeoutMs: number): Requester {
  // fetch refuses addresses with credentials, and credentials must not be printed. A bare % in them stays as it is.
  const base = new URL(config.SCHEMA_REGISTRY_URL);
  const user = config.SCHEMA_REGISTRY_USERNAME ?? unescape(base.username);
  const password = config.SCHEMA_REGISTRY_PASSWORD ?? unescape(base.password);
  base.username = '';
  base.password = '';
  base.search = '';
  base.hash = '';
  const url = base.href.replace(/\/+$/, '');
  const headers: Record<string, string> = {
    accept: 'application/vnd.schemaregistry.v1+json, application/json',
    'content-type': 'application/vnd.schemaregistry.v1+json',
  };
  if (user !== '') {
    headers['authorization'] = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  }
  return {
    url,
    async send(form, method, path, body) {
      let status: number;
      let text: string;
      try {
        const response = await fetch(`${url}${path}`, {
          method,
          headers,
          // A redirect would send the credentials to its target.
          redirect: 'error',
          signal: AbortSignal.timeout(timeoutMs),
          ...(body === undefined ? {} : { body }),
        });
        status = response.status;
        text = await response.text();
      } catch (error) {
        throw new RegistryError(
          'unreachable',
          `the schema registry at ${url} does not answer (${whyUnreachable(error, timeoutMs)}): ` +
            'start it, or correct SCHEMA_REGISTRY_URL',
        );
      }
      const answer = form.safeParse(readAnswer(url, method, path, status, text));
      if (answer.success) return answer.data;
      throw new RegistryError(
        'refused',
        `the answer of ${url} to ${method} ${path} is not of the Confluent API`,
      );
    },
  };
}

function readAnswer(url: string, method: string, path: string, status: number, text: string): unknown {
  const json = parseJson(text);
  if (status >= 200 && status < 300) {
    if (json !== undefined) return json;
    throw new RegistryError(
      'refused',
      `${url} answers, but not as a schema registry: SCHEMA_REGISTRY_URL is the base of the Confluent API ` +
        '(of Apicurio with its path, /apis/ccompat/v7)',
    );
  }
  const error = errorAnswer.safeParse(json);
  const detail = error.success ? `: ${error.data.message.slice(0, 500)}` : '';
  const what = `the schema registry at ${url} answers ${status} to ${method} ${path}${detail}`;
  if (status === 401 || status === 403) {
    throw new RegistryError(
      'unauthorized',
      `${what}; set SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD`,
    );
  }
  // 40401 to 40499 name what is missing; any other 404 comes from a wrong path or a proxy, not from the registry.
  if (status === 404 && error.success && Math.trunc(error.data.error_code / 100) === 404) {
    throw new RegistryError('not_found', what);
  }
  if (status === 409) throw new RegistryError('incompatible', what);
  if (status >= 500 || status === 429) throw new RegistryError('unavailable', what);
  if (status === 404) {
    throw new RegistryError(
      'refused',
      `${what}; SCHEMA_REGISTRY_URL is the base of the Confluent API (of Apicurio with its path, /apis/ccompat/v7)`,
    );
  }
  throw new RegistryError('refused', what);
}

function whyUnreachable(error: unknown, timeoutMs: number): string {
  if (error instanceof Error && error.name === 'TimeoutError') return `none within ${timeoutMs} ms`;
  const cause = error instanceof Error ? (error.cause as { code?: unknown } | undefined) : undefined;
  return typeof cause?.code === 'string' ? cause.code : 'the request failed';
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

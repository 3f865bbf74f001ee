/** The Confluent API of a schema registry: the few requests that the bridge makes of it. */
import { z } from 'zod';

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
  /** Anything else that it refuses, or an answer that is none of the Confluent API. */
  | 'refused';

/** A request to the registry failed. Says to which address (credentials left out), and what to do about it. */
export class RegistryError extends Error {
  override readonly name = 'RegistryError';
  readonly code: RegistryErrorCode;
  constructor(code: RegistryErrorCode, message: string) {
    super(message);
    this.code = code;
  }
  /** Whether the same request may succeed later without anybody changing a schema. */
  get isTransient(): boolean {
    return this.code === 'unreachable' || this.code === 'unavailable';
  }
}

/** A registry; every function rejects with {@link RegistryError} within the timeout. */
export interface SchemaRegistry {
  /** Where it is, without credentials. */
  readonly url: string;
  /** The id of this very schema under a subject; undefined when the subject does not have it. */
  lookupId(subject: string, avsc: string): Promise<number | undefined>;
  /** Makes it the subject's newest version unless it is one already; answers its id. */
  register(subject: string, avsc: string): Promise<number>;
  /** Whether the subject's rule would accept it as its next version; undefined when the subject has no version. */
  wouldAccept(subject: string, avsc: string): Promise<boolean | undefined>;
  /** The compatibility rule of the subject itself; undefined when it has none of its own. */
  compatibility(subject: string): Promise<string | undefined>;
  setCompatibility(subject: string, level: string): Promise<void>;
  /** The text of a schema by its id. */
  schemaById(id: number): Promise<string>;
}

/**
 * The registry that the SCHEMA_REGISTRY_* variables describe. Nothing is requested yet.
 * @param options.timeoutMs - of one request; 5,000 by default.
 */
export function schemaRegistry(
  config: {
    readonly SCHEMA_REGISTRY_URL: string;
    readonly SCHEMA_REGISTRY_USERNAME?: string | undefined;
    readonly SCHEMA_REGISTRY_PASSWORD?: string | undefined;
  },
  options: { timeoutMs?: number } = {},
): SchemaRegistry {
  const request = requester(config, options.timeoutMs ?? 5_000);
  const name = encodeURIComponent;
  return {
    url: request.url,
    async lookupId(subject, avsc) {
      const answer = await request.send('POST', `/subjects/${name(subject)}`, { schema: avsc });
      return answer === undefined ? undefined : parse(request.url, idAnswer, answer).id;
    },
    async register(subject, avsc) {
      const answer = await request.send('POST', `/subjects/${name(subject)}/versions`, { schema: avsc });
      return parse(request.url, idAnswer, answer).id;
    },
    async wouldAccept(subject, avsc) {
      const path = `/compatibility/subjects/${name(subject)}/versions/latest`;
      const answer = await request.send('POST', path, { schema: avsc });
      return answer === undefined ? undefined : parse(request.url, acceptAnswer, answer).is_compatible;
    },
    async compatibility(subject) {
      const answer = await request.send('GET', `/config/${name(subject)}`);
      return answer === undefined ? undefined : parse(request.url, levelAnswer, answer).compatibilityLevel;
    },
    async setCompatibility(subject, level) {
      const answer = await request.send('PUT', `/config/${name(subject)}`, { compatibility: level });
      if (answer === undefined) throw notFound(request.url, `compatibility of ${subject}`);
    },
    async schemaById(id) {
      const answer = await request.send('GET', `/schemas/ids/${id}`);
      if (answer === undefined) throw notFound(request.url, `schema ${id}`);
      return parse(request.url, schemaAnswer, answer).schema;
    },
  };
}

const idAnswer = z.object({ id: z.int() });
const acceptAnswer = z.object({ is_compatible: z.boolean() });
const levelAnswer = z.object({ compatibilityLevel: z.string() });
const schemaAnswer = z.object({ schema: z.string() });
const errorAnswer = z.object({ error_code: z.int(), message: z.string() });

interface Requester {
  readonly url: string;
  /** The JSON that was answered; undefined for 404 of the API itself. */
  send(method: string, path: string, body?: object): Promise<unknown>;
}

function requester(
  config: {
    readonly SCHEMA_REGISTRY_URL: string;
    readonly SCHEMA_REGISTRY_USERNAME?: string | undefined;
    readonly SCHEMA_REGISTRY_PASSWORD?: string | undefined;
  },
  timeoutMs: number,
): Requester {
  // fetch refuses addresses with credentials in them, and they are not to be printed.
  const base = new URL(config.SCHEMA_REGISTRY_URL);
  const user = config.SCHEMA_REGISTRY_USERNAME ?? decodeURIComponent(base.username);
  const password = config.SCHEMA_REGISTRY_PASSWORD ?? decodeURIComponent(base.password);
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
    async send(method, path, body) {
      let status: number;
      let text: string;
      try {
        const response = await fetch(`${url}${path}`, {
          method,
          headers,
          // A redirect would take the credentials to wherever it points.
          redirect: 'error',
          signal: AbortSignal.timeout(timeoutMs),
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
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
      return readAnswer(url, method, path, status, text);
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
  // 40401 to 40499 say which thing is missing; another 404, of a wrong path or of a proxy, is none of the registry's.
  if (status === 404 && error.success && Math.trunc(error.data.error_code / 100) === 404) return undefined;
  const detail = error.success ? `: ${error.data.message.slice(0, 500)}` : '';
  const what = `the schema registry at ${url} answers ${status} to ${method} ${path}${detail}`;
  if (status === 401 || status === 403) {
    throw new RegistryError(
      'unauthorized',
      `${what}; set SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD`,
    );
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

function parse<T>(url: string, schema: z.ZodType<T>, answer: unknown): T {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new RegistryError(
    'refused',
    `the schema registry at ${url} answers in a form that the Confluent API has not`,
  );
}

function notFound(url: string, what: string): RegistryError {
  return new RegistryError('not_found', `the schema registry at ${url} has no ${what}`);
}

import {
  is,
  kafkaVariables,
  processVariables,
  readConfig,
  variable,
  type Config,
  type Variable,
} from '../process/config.ts';
import { readRevokedUsers } from './revocations.ts';
import { byVendor, vendorNames, vendors, type VendorName } from '../vendors/index.ts';
import type { SignatureScheme } from '../vendors/signature.ts';

const MiB = 1024 * 1024;

type Webhooks = (typeof vendors)[VendorName]['webhook'];
type SecretName = Webhooks['secret'];
type ToleranceName = NonNullable<Webhooks['tolerance']>;

const serverVariables = {
  HOST: variable<string>({ schema: is.text, default: '0.0.0.0', description: 'address to listen on' }),
  PORT: variable<number>({
    schema: is.integer(0, 65_535),
    default: 8889,
    description: 'port of the webhooks; 0 for any free one',
  }),
  ADMIN_PORT: variable<number | undefined>({
    schema: is.integer(0, 65_535),
    default: undefined,
    description: 'moves /metrics and the details of /health to this port; 0 for any free one',
  }),
  ADMIN_HOST: variable<string>({
    schema: is.text,
    default: '127.0.0.1',
    description: 'address of the admin port',
  }),
  WORKERS: variable<number>({
    schema: is.integer(1, 256),
    default: 1,
    description: 'processes that share the port; every limit applies to each of them',
  }),
  DRAIN_GRACE_MS: variable<number>({
    schema: is.integer(0, 600_000),
    default: 2_000,
    description:
      'how long a stopping process still accepts webhooks, so that the balancer sees /readyz fail; ends early when no connection is left',
  }),
} as const;

const limitVariables = {
  MAX_CONCURRENT_WEBHOOKS: variable<number>({
    schema: is.integer(1, 100_000),
    default: 100,
    description: 'webhooks processed at once; others wait in order for at most a second',
  }),
  MAX_BODY_BYTES: variable<number>({
    // The raw topics take records of 12 MiB, headers included.
    schema: is.integer(1, 11 * MiB),
    default: 10 * MiB,
    description: 'largest webhook body',
  }),
  ACK_DEADLINE_MS: variable<number>({
    schema: is.integer(10, 60_000),
    default: 5_000,
    description: 'how long a webhook waits for the acknowledgement of the broker',
  }),
  BREAKER_OPEN_MS: variable<number>({
    schema: is.integer(10, 3_600_000),
    default: 60_000,
    description: 'how long webhooks are refused after 5 failed produce requests in a row',
  }),
} as const;

/**
 * The variables of the ingress. Conveniences for development that are dangerous in production are off by default when
 * `env` says NODE_ENV=production; nothing else reads it.
 */
export function ingressVariables(env: NodeJS.ProcessEnv) {
  const production = env['NODE_ENV'] === 'production';
  return {
    ...processVariables,
    ...kafkaVariables,
    ...serverVariables,
    ...limitVariables,
    ...secretVariables(),
    OURA_VERIFICATION_TOKEN: variable<string | undefined>({
      schema: is.text,
      default: undefined,
      secret: true,
      description: 'token that Oura sends with the challenge of a subscription',
    }),
    PLAIN_SIGNATURE: variable<boolean>({
      schema: is.onOff,
      default: !production,
      description: 'on to accept the plain Signature header; off by default when NODE_ENV=production',
    }),
    TEST_WEBHOOK: variable<boolean>({
      schema: is.onOff,
      default: !production,
      description: 'on to serve the unsigned /webhook/test; off by default when NODE_ENV=production',
    }),
    ...toleranceVariables(),
    HEALTHKIT_REVOKED_FILE: variable<string | undefined>({
      // Read here only to report an unreadable list with the other faults; startRevocations reads it again.
      schema: is.text.refine(isRevokedFile, { error: 'cannot be read as a list of users in UTF-8' }),
      default: undefined,
      description: 'file of users, one a line, whose HealthKit tokens are refused; read again at SIGHUP',
    }),
    POSTGRES_URL: variable<string | undefined>({
      schema: is.url,
      default: undefined,
      secret: true,
      description: 'pinged by /health when set; the ingress needs no database',
    }),
    REDIS_URL: variable<string | undefined>({
      schema: is.url.refine((text) => /^rediss?:/.test(text), {
        error: 'must begin with redis:// or rediss://',
      }),
      default: undefined,
      secret: true,
      description: 'pinged by /health when set; the ingress needs no cache',
    }),
  } as const;
}

export type IngressConfig = Config<ReturnType<typeof ingressVariables>>;

/**
 * Reads the typed configuration of an ingress.
 * @throws ConfigError naming every wrong variable.
 */
export function readIngressConfig(env: NodeJS.ProcessEnv): IngressConfig {
  return readConfig(ingressVariables(env), env);
}

/** The secrets and the tolerance of a vendor's route. */
export interface VendorSecrets {
  readonly secrets: readonly string[];
  readonly toleranceS: number;
  /** The variable that holds the secrets, for log messages. */
  readonly variable: string;
}

/** The secrets and tolerances of the configuration by vendor. */
export function vendorSecrets(config: IngressConfig): Readonly<Record<VendorName, VendorSecrets>> {
  return byVendor((vendor) => {
    const { secret, tolerance, schemes } = vendors[vendor].webhook;
    return {
      secrets: config[secret],
      toleranceS: tolerance === null ? defaultToleranceS(schemes) : config[tolerance],
      variable: secret,
    };
  });
}

/** The variables of the vendors' secrets. */
export function secretVariables(): Record<SecretName, Variable<string[]>> {
  const entries = vendorNames.map((vendor) => [
    vendors[vendor].webhook.secret,
    variable<string[]>({
      schema: is.list,
      default: [],
      secret: true,
      description: `secret of /webhook/${vendor}; several, separated by commas, while rotating`,
    }),
  ]);
  return Object.fromEntries(entries) as Record<SecretName, Variable<string[]>>;
}

function toleranceVariables(): Record<ToleranceName, Variable<number>> {
  const entries = vendorNames.flatMap((vendor) => {
    const { tolerance, schemes } = vendors[vendor].webhook;
    if (tolerance === null) return [];
    const schema = is.integer(1, 31_536_000);
    const description = 'how old a signed timestamp may be, in seconds';
    return [[tolerance, variable<number>({ schema, default: defaultToleranceS(schemes), description })]];
  });
  return Object.fromEntries(entries) as Record<ToleranceName, Variable<number>>;
}

/** As long as the vendor keeps retrying; 0 where no time is signed. */
function defaultToleranceS(schemes: readonly SignatureScheme[]): number {
  return schemes.find(({ timestamp }) => timestamp !== undefined)?.timestamp?.toleranceS ?? 0;
}

/** A key of under 128 bits can be guessed offline from one signed request. */
const shortSecretLength = 16;

/** Lists the secrets that are too short to be safe, by variable and index: never themselves, nor their lengths. */
export function shortSecrets(config: IngressConfig): { readonly variable: string; readonly index: number }[] {
  const named = Object.values(vendorSecrets(config)).map(({ variable, secrets }) => ({ variable, secrets }));
  const token = config.OURA_VERIFICATION_TOKEN;
  if (token !== undefined) named.push({ variable: 'OURA_VERIFICATION_TOKEN', secrets: [token] });
  return named.flatMap(({ variable, secrets }) =>
    [...secrets.entries()]
      .filter(([, secret]) => secret.length < shortSecretLength)
      .map(([index]) => ({ variable, index })),
  );
}

function isRevokedFile(path: string): boolean {
  try {
    readRevokedUsers(path);
    return true;
  } catch {
    return false;
  }
}

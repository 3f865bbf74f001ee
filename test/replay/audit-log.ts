/** Deployments on the real broker to audit: outputs written by this test, as the topology would have or with planted faults. */
import { execFile } from 'node:child_process';
import type { TestContext } from 'node:test';
import { readConfig } from '../../process/config.ts';
import { collectorScheme, rawHeader } from '../../schemas/raw-record.ts';
import type { InputRecord, OutputRecord } from '../../streams/index.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import type { AuditException } from '../../replay/audit-figures.ts';
import type { AuditScope } from '../../replay/audit-partition.ts';
import { auditJson } from '../../replay/audit-report.ts';
import { audit } from '../../replay/audit.ts';
import { Deployment, replayVariables } from '../../replay/deployment.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { Application } from '../faults/application.ts';
import { readCommitted } from '../kafka/read.ts';
import { messagesByTopic, type Appended } from '../streams/broker/cluster.ts';
import { silentLog } from '../streams/log.ts';

/** What `bridge audit --json` prints. */
export interface Printed {
  readonly build: string;
  readonly group: string;
  readonly devices: Readonly<
    Record<
      VendorName,
      {
        readonly records: number;
        readonly outside: number;
        readonly ends: Readonly<Record<string, Readonly<Record<string, number>>>>;
        readonly outputs: Readonly<Record<string, number>>;
        readonly uncompared: Readonly<Record<string, number>>;
        readonly notifications: Readonly<Record<string, number>>;
        readonly exceptions: Readonly<Record<string, number>>;
        readonly oldest_pending: string | null;
      }
    >
  >;
  readonly exceptions: number;
  readonly examples: readonly { kind: string; raw?: string; output?: string; what: string }[];
  readonly notes: readonly string[];
}

/** A raw record of one partition, to be appended. */
export interface Raw {
  readonly body: object | string;
  /** Default: now. */
  readonly receivedAt?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The raw record of a document. */
export function document(body: object, headers: Readonly<Record<string, string>> = {}): Raw {
  return {
    body,
    headers: { [rawHeader.scheme]: collectorScheme, fetched_at: String(Date.now()), ...headers },
  };
}

/** Changes the outputs of a partition, in the order of their raw records; the answer is what is appended. */
export type Plant = (outputs: readonly Made[]) => readonly OutputRecord[];

/** An output of a raw record, and that record's offset. */
export interface Made extends OutputRecord {
  readonly of: number;
}

/** One partition is enough: the audit knows no other unit. */
const partition = 0;

export class AuditedLog {
  readonly application: Application;
  readonly deployment: Deployment;

  private constructor(application: Application, deployment: Deployment) {
    this.application = application;
    this.deployment = deployment;
  }

  static async create(t: TestContext): Promise<AuditedLog> {
    const application = await Application.create(t, { partitions: 1 });
    const config = readConfig(replayVariables, application.env);
    const deployment = await Deployment.open(config, { clientId: 'audited-log', log: silentLog });
    application.cluster.after(() => deployment.close());
    return new AuditedLog(application, deployment);
  }

  /** Appends raw records of a vendor. */
  async append(vendor: VendorName, raws: readonly Raw[]): Promise<void> {
    const records = raws.map(({ body, receivedAt = Date.now(), headers = {} }): Appended => {
      const all = { [rawHeader.receivedAt]: String(receivedAt), [rawHeader.scheme]: 'plain', ...headers };
      return {
        topic: this.application.names.raw[vendor],
        partition,
        key: Buffer.from('u'),
        value: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
        timestamp: receivedAt,
        headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
      };
    });
    await this.application.cluster.append(records);
  }

  /** The raw records of a vendor, as the log has them. */
  raw(vendor: VendorName): Promise<InputRecord[]> {
    return readCommitted(this.application.cluster.connection, [this.application.names.raw[vendor]]);
  }

  /**
   * Appends what the topology makes of a vendor's raw records, changed by `plant`, and commits offsets as if it had run.
   * @param count - the raw records that are processed. Default: all.
   */
  async process(
    vendor: VendorName,
    { plant = (made) => made, count = Infinity }: { plant?: Plant; count?: number } = {},
  ): Promise<void> {
    const recomputation = this.deployment.recomputation(partition);
    const records = (await this.raw(vendor)).slice(0, count);
    const made = records.flatMap((record): Made[] =>
      recomputation.process(record).outputs.map((output) => ({ ...output, of: Number(record.offset) })),
    );
    const appended = plant(made).map(({ topic, key, value, timestamp, headers }): Appended => {
      const bytes = Object.entries(headers).map(([name, one]) => [
        name,
        typeof one === 'string' ? Buffer.from(one) : one,
      ]);
      return {
        topic,
        partition,
        key,
        value,
        timestamp,
        headers: Object.fromEntries(bytes) as NonNullable<Appended['headers']>,
      };
    });
    const { cluster, applicationId: consumerGroupId, names } = this.application;
    const transactionalId = `${cluster.prefix}audited-log`;
    const producer = cluster.kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    try {
      const transaction = await producer.transaction();
      if (appended.length > 0) await transaction.sendBatch({ topicMessages: messagesByTopic(appended) });
      const partitions = [{ partition, offset: String(records.length) }];
      await transaction.sendOffsets({ consumerGroupId, topics: [{ topic: names.raw[vendor], partitions }] });
      await transaction.commit();
    } finally {
      await producer.disconnect();
    }
  }

  /** Audits it within this process. */
  audit(scope: Partial<AuditScope> = {}): Promise<Printed> {
    return auditOf(this.application, scope);
  }
}

/** Audits a deployment within this process, one partition after the other, and answers what `--json` prints. */
export async function auditOf({ env }: Application, scope: Partial<AuditScope> = {}): Promise<Printed> {
  const nowMs = Date.now();
  const exceptions: AuditException[] = [];
  const result = await audit(readConfig(replayVariables, env), {
    scope: { fromMs: -Infinity, toMs: nowMs + 1, nowMs, pendingAfterMs: 3_600_000, ...scope },
    vendors: vendorNames,
    parallel: 1,
    log: silentLog,
    signal: new AbortController().signal,
    onException: (exception) => exceptions.push(exception),
  });
  return JSON.parse(auditJson(result, { vendors: vendorNames, exceptions, nowMs })) as Printed;
}

/** Runs `bridge audit`. */
export function runAudit(
  application: Application,
  ...options: string[]
): Promise<{ code: number; output: string; errors: string }> {
  const env = { PATH: process.env['PATH'], LOCAL_DIRECTORY: '/nonexistent', ...application.env };
  const limits = { timeout: 120_000, maxBuffer: 2 ** 26, killSignal: 'SIGKILL' } as const;
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [bridgeProgram, 'audit', ...options],
      { env, ...limits },
      (error, output, errors) => resolve({ code: error === null ? 0 : Number(error.code), output, errors }),
    );
  });
}

/** The sum of the ends of all devices. */
export function endsOf({ devices }: Printed): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const { ends } of Object.values(devices))
    for (const [end, counts] of Object.entries(ends))
      for (const of of Object.values(counts)) sums[end] = (sums[end] ?? 0) + of;
  return sums;
}

/** The audit of one raw partition: its records are processed again, in lockstep with what was published of them. */
import { createHash } from 'node:crypto';
import type { LogRecord } from '../kafka/record-batch.ts';
import { UnknownSchemaId } from '../schemas/codec.ts';
import { receivedAtOf } from '../schemas/raw-record.ts';
import type { Recomputation } from '../streams/index.ts';
import type { Start } from '../topology/start.ts';
import {
  addFigures,
  count,
  earlier,
  noFigures,
  placeOf,
  Tally,
  type AuditException,
  type VendorFigures,
} from './audit-figures.ts';
import {
  judge,
  type Evidence,
  type Judgement,
  type Subject,
  type Surroundings,
  type Unsure,
} from './audit-judge.ts';
import { Notifications, type Waiting } from './audit-notifications.ts';
import type { Deployment, RawPartition } from './deployment.ts';
import { Interrupted } from './exit.ts';
import { seed } from './live-state.ts';
import { PublishedOutputs, type Aside } from './published.ts';

/** What an audit judges. */
export interface AuditScope {
  /** Raw records received from here on, epoch ms. */
  readonly fromMs: number;
  /** And before here. */
  readonly toMs: number;
  /** A longer wait is an exception. */
  readonly pendingAfterMs: number;
  /** The instant from which ages are counted, epoch ms. */
  readonly nowMs: number;
}

/** The raw offsets of one partition: what is read, and what was processed when the audit began. */
export interface Bounds {
  readonly start: Start;
  /** The group's committed offset; 0 where it has none. */
  readonly committed: bigint;
}

/** A partition to be audited. */
export interface AuditTask {
  readonly raw: RawPartition;
  readonly bounds: Bounds;
}

export interface PartitionAudit {
  readonly figures: VendorFigures;
  /** The notifications without a document, which the audit of all partitions judges. */
  readonly waiting: readonly Waiting[];
}

export interface AuditHooks {
  /** Called with exceptions as soon as they are certain. */
  readonly onExceptions: (exceptions: readonly AuditException[]) => void;
  readonly onRecords: (records: number) => void;
  readonly signal: AbortSignal;
}

/**
 * Audits a partition. Reads only, and joins no group.
 * @throws LogMovedError when retention deletes what it reads, Interrupted, or what the brokers refuse.
 */
export async function auditPartition(
  deployment: Deployment,
  raw: RawPartition,
  { scope, bounds, hooks }: { scope: AuditScope; bounds: Bounds; hooks: AuditHooks },
): Promise<PartitionAudit> {
  const audit = new PartitionWalk(deployment, raw, scope, bounds, hooks);
  return await audit.run();
}

class PartitionWalk {
  readonly #deployment: Deployment;
  readonly #raw: RawPartition;
  readonly #scope: AuditScope;
  readonly #bounds: Bounds;
  readonly #hooks: AuditHooks;
  readonly #figures = noFigures();
  readonly #notifications: Notifications;
  /** Resources whose last published version may differ from that of the recomputation, and why; and their users. */
  readonly #unsure = new Map<string, Unsure>();
  readonly #unsureUsers = new Set<string>();
  readonly #asides: Aside[] = [];
  /**
   * The outcomes of records without events, if this build has processed them or if another has; the next event says
   * which.
   */
  #ifThis = new Tally();
  #ifOther = new Tally();
  /** Resources whose last record is such a record. */
  #ifOtherUnsure: string[] = [];
  /** Whether another build made the last event; undefined before the first. */
  #wasOther: boolean | undefined;

  constructor(
    deployment: Deployment,
    raw: RawPartition,
    scope: AuditScope,
    bounds: Bounds,
    hooks: AuditHooks,
  ) {
    this.#deployment = deployment;
    this.#raw = raw;
    this.#scope = scope;
    this.#bounds = bounds;
    this.#hooks = hooks;
    this.#notifications = new Notifications(raw.vendor);
  }

  async run(): Promise<PartitionAudit> {
    const { committed, start } = this.#bounds;
    const { topic, partition } = this.#raw;
    const outputs = await PublishedOutputs.open(this.#deployment, this.#raw, {
      onAside: (aside) => this.#asides.push(aside),
    });
    try {
      const recomputation = this.#deployment.recomputation(partition);
      const { uncertain } = await seed(this.#deployment, this.#raw, { start, recomputation });
      // Read after the ends of the outputs: none of them can name a later record.
      const { end } = await this.#deployment.range(topic, partition);
      const processed = committed < end ? committed : end;
      await this.#judgeUpTo(processed, { outputs, recomputation, isUncertain: uncertain > 0 });
      this.#decide(false);
      await outputs.finish(endless);
      await this.#pendingFrom(processed > start.offset ? processed : start.offset, end);
      this.#judgeAsides(processed, end);
    } finally {
      outputs.close();
    }
    count(this.#figures.notifications, 'settled', this.#notifications.settled);
    count(this.#figures.notifications, 'documents', this.#notifications.documents);
    return { figures: this.#figures, waiting: this.#notifications.waiting };
  }

  async #judgeUpTo(
    end: bigint,
    {
      outputs,
      recomputation,
      isUncertain,
    }: { outputs: PublishedOutputs; recomputation: Recomputation; isUncertain: boolean },
  ): Promise<void> {
    const { topic, partition, vendor } = this.#raw;
    const { start } = this.#bounds;
    const { topics, build, decoder } = this.#deployment;
    let mayBeDeleted = false;
    const surroundings: Surroundings = {
      vendor,
      topics,
      build,
      start,
      isUncertain,
      decode: (value) => decoder.decode(value),
      get mayBeDeleted() {
        return mayBeDeleted;
      },
      isUnsure: (user, resource) =>
        this.#unsure.size === 0 ? undefined : this.#unsure.get(subjectName(user, resource)),
      isUnsureUser: (user) => this.#unsureUsers.size > 0 && this.#unsureUsers.has(subjectName(user, '')),
    };
    const scan = this.#deployment.scanner.scan({ topic, partition, offset: start.offset, end });
    try {
      for (let records = await scan.next(); records !== undefined; records = await scan.next()) {
        for (const record of records) {
          if (this.#hooks.signal.aborted) throw new Interrupted();
          const recomputed = recomputation.process(record);
          const published = await outputs.of(record.offset);
          mayBeDeleted = outputs.mayBeDeleted(record.timestamp);
          await this.#judge({ record, recomputed, published }, surroundings);
        }
        this.#hooks.onRecords(records.length);
        this.#pass(this.#certain);
      }
    } finally {
      scan.close();
    }
  }

  readonly #certain = new Tally();

  /** Adds what is certain to the figures. */
  #pass(tally: Tally): void {
    if (tally.exceptions.length > 0) this.#hooks.onExceptions(tally.exceptions);
    tally.exceptions = [];
  }

  async #judge(evidence: Evidence, surroundings: Surroundings): Promise<void> {
    const { record, published } = evidence;
    const judgement = await this.#judgement(evidence, surroundings);
    for (const subject of judgement.subjects) this.#note(subject, judgement);
    const isInScope = this.#isInScope(receivedAtOf(record));
    this.#notifications.take(record, isInScope);
    if (judgement.isOther !== undefined) this.#decide(judgement.isOther);
    if (!isInScope) {
      this.#figures.outside += 1;
      return;
    }
    for (const { topic, correction, generation } of published)
      count(
        this.#figures.outputs,
        correction === undefined ? this.#outputName(topic) : `corrections of generation ${generation}`,
      );
    const { verdict, ifOther } = judgement;
    if (ifOther === undefined) this.#certain.take(verdict);
    else if (this.#wasOther === true) this.#certain.take(ifOther);
    else {
      this.#ifThis.take(verdict);
      this.#ifOther.take(ifOther);
    }
  }

  async #judgement(evidence: Evidence, surroundings: Surroundings): Promise<Judgement> {
    for (;;) {
      try {
        return judge(evidence, surroundings);
      } catch (error) {
        if (!(error instanceof UnknownSchemaId)) throw error;
        await this.#deployment.decoder.prepare(error.id);
      }
    }
  }

  #note({ user, resource, isSure }: Subject, { verdict, ifOther }: Judgement): void {
    if (isSure && this.#unsure.size === 0) return;
    const name = subjectName(user, resource);
    if (isSure) {
      this.#unsure.delete(name);
      return;
    }
    const isException = verdict.end === 'exceptions' && !(ifOther !== undefined && this.#wasOther === true);
    this.#unsure.set(name, isException ? 'exception' : 'history');
    if (isException && ifOther !== undefined) this.#ifOtherUnsure.push(name);
    this.#unsureUsers.add(subjectName(user, ''));
  }

  /** An event says which build has processed the records since the one before. */
  #decide(isOther: boolean): void {
    const isByOther = isOther || this.#wasOther === true;
    const waiting = isByOther ? this.#ifOther : this.#ifThis;
    this.#wasOther = isOther;
    if (isByOther)
      for (const name of this.#ifOtherUnsure) if (this.#unsure.has(name)) this.#unsure.set(name, 'history');
    this.#ifOtherUnsure = [];
    if (this.#ifThis.figures.records === 0) return;
    this.#certain.add(waiting);
    this.#ifThis = new Tally();
    this.#ifOther = new Tally();
  }

  #outputName(topic: string): string {
    const { priority } = this.#deployment.topics;
    for (const [name, of] of Object.entries(priority)) if (of === topic) return name;
    return 'dead letters';
  }

  #isInScope(receivedAt: number): boolean {
    return receivedAt >= this.#scope.fromMs && receivedAt < this.#scope.toMs;
  }

  /** Raw records from the committed offset on wait, which is no fault unless they have waited too long. */
  async #pendingFrom(offset: bigint, end: bigint): Promise<void> {
    const { topic, partition, vendor } = this.#raw;
    const { nowMs, pendingAfterMs } = this.#scope;
    const scan = this.#deployment.scanner.scan({ topic, partition, offset, end });
    let overdue = 0;
    let first: LogRecord | undefined;
    let oldest: number | undefined;
    try {
      for (let records = await scan.next(); records !== undefined; records = await scan.next()) {
        if (this.#hooks.signal.aborted) throw new Interrupted();
        for (const record of records) {
          const receivedAt = receivedAtOf(record);
          this.#notifications.take(record, this.#isInScope(receivedAt));
          if (!this.#isInScope(receivedAt)) continue;
          oldest = earlier(oldest, receivedAt);
          const isOverdue = nowMs - receivedAt > pendingAfterMs;
          if (isOverdue) overdue += 1;
          if (isOverdue) first ??= record;
          this.#certain.take({ end: 'pending', reason: 'not processed yet', exceptions: [] });
        }
        this.#hooks.onRecords(records.length);
      }
    } finally {
      scan.close();
    }
    this.#figures.oldestPending = oldest;
    if (first === undefined) return;
    const since = new Date(receivedAtOf(first)).toISOString();
    const records = overdue === 1 ? 'it waits' : `it and ${overdue - 1} more records of its partition wait`;
    const what = `${records} to be processed, itself since ${since}`;
    this.#certain.except({ kind: 'overdue', vendor, raw: placeOf(first), what });
  }

  #judgeAsides(processed: bigint, end: bigint): void {
    const { vendor } = this.#raw;
    for (const aside of this.#asides) {
      if (aside.why === 'unreadable') {
        const { record } = aside;
        // Everything of a user has been erased.
        if (record.value === null && record.fault === undefined) continue;
        if (!this.#isInScope(record.timestamp)) continue;
        const what = 'the record names no raw record, or cannot be decoded';
        this.#certain.except({ kind: 'unreadable', vendor, output: placeOf(record), what });
        continue;
      }
      const { published, why } = aside;
      const { rawOffset } = published;
      // Records processed meanwhile are judged by the next audit.
      if (rawOffset < this.#bounds.start.offset || (rawOffset >= processed && rawOffset < end)) continue;
      if (!this.#isInScope(published.record.timestamp)) continue;
      const output = placeOf(published);
      const raw = placeOf({ ...this.#raw, offset: rawOffset });
      this.#certain.except(
        why === 'out_of_order' && rawOffset < end
          ? { kind: 'duplicate', vendor, raw, output, what: 'it comes after outputs of later raw records' }
          : { kind: 'no_record', vendor, raw, output, what: 'the raw topic has no such record' },
      );
    }
    addFigures(this.#figures, this.#certain.figures);
    this.#pass(this.#certain);
  }
}

const endless = 2n ** 63n;

/** Short, because there may be as many as resources. */
function subjectName(user: string, resource: string): string {
  return createHash('sha256').update(`${user.length} ${user}${resource}`).digest('binary').slice(0, 12);
}

/**
 * The audit's judgement of one raw record: what the recomputation makes of it, compared with what was published. It is a
 * pure function: the caller passes in what must be remembered from record to record, and what it learns is in its result.
 */
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { DecodeError } from '../schemas/codec.ts';
import { headerText } from '../schemas/raw-record.ts';
import type { TopicNames } from '../schemas/topics.ts';
import { errorHeader, type InputRecord, type OutputRecord, type Recomputed } from '../streams/index.ts';
import { isIncompleteDay, type Start } from '../topology/start.ts';
import type { VendorName } from '../vendors/index.ts';
import { dayMs } from '../vendors/instant.ts';
import { differingFields, sameBytes, sameHeaders } from './audit-compare.ts';
import { placeOf, type AuditException, type ExceptionKind, type Verdict } from './audit-figures.ts';
import type { Published } from './published.ts';

/** A raw record, what this build makes of it, and what was published of it. */
export interface Evidence {
  readonly record: InputRecord;
  readonly recomputed: Recomputed;
  /** Of every generation, in the order of each topic. */
  readonly published: readonly Published[];
}

/** What else is known. */
export interface Surroundings {
  readonly vendor: VendorName;
  readonly topics: TopicNames;
  /** This build, as the header `build` names it. */
  readonly build: string;
  /** Where the recomputation began. */
  readonly start: Start;
  /** Decodes an event. @throws UnknownSchemaId, DecodeError. */
  readonly decode: (value: Buffer) => BiometricEvent;
  /** Whether retention may have deleted what was published of the record. */
  readonly mayBeDeleted: boolean;
  /** Whether, and why, the last version of a resource may differ from the one that was published last. */
  readonly isUnsure: (user: string, resource: string) => Unsure | undefined;
  /** Whether a user has such a resource, so that nights and alerts may differ. */
  readonly isUnsureUser: (user: string) => boolean;
  /** Whether some of the state that the recomputation began with may be from after the start. */
  readonly isUncertain: boolean;
}

/**
 * Why it is unsure which version of a resource was published last: because of an exception, which does not excuse later
 * ones, or because of history that is no longer known.
 */
export type Unsure = 'exception' | 'history';

/** A resource of a user. */
export interface Subject {
  readonly user: string;
  readonly resource: string;
  /** Whether its last version is again the one that was published. */
  readonly isSure: boolean;
}

export interface Judgement {
  /** If this build has processed the record. */
  readonly verdict: Verdict;
  /** If another build has processed it. Given only if no event says which build it was, and it matters. */
  readonly ifOther: Verdict | undefined;
  /** Whether events say that another build has processed it; undefined if there are no events. */
  readonly isOther: boolean | undefined;
  readonly subjects: readonly Subject[];
}

/** Why something cannot be proved. */
export const doubts = {
  other_build: 'another build has processed the record, and would have to say why it published nothing',
  predecessor:
    'the previous version may be older than the log, be made by another build, or be an exception itself',
  incomplete_day: 'records of the day lie on both sides of the beginning of the log',
  uncertain_state: 'an earlier build wrote the state that the recomputation begins with, without raw offsets',
  outputs_deleted: 'retention may have deleted the output',
  earlier_nights: 'nights before the log are part of the baseline',
  earlier_alerts: 'the alert may have been raised before the log begins, or by another build',
  corrected: 'a later generation has corrected the event',
} as const;

export type Doubt = keyof typeof doubts;

const noExceptions: readonly AuditException[] = [];
const noSubjects: readonly Subject[] = [];
/** Most records end like this. */
const asItMust: Judgement = {
  verdict: { end: 'events', reason: 'published', exceptions: noExceptions },
  ifOther: undefined,
  isOther: false,
  subjects: noSubjects,
};
const otherBuild: Verdict = { end: 'unprovable', reason: 'other_build', exceptions: noExceptions };

/**
 * Judges a record.
 * @throws UnknownSchemaId: prepare it, and judge again.
 */
export function judge(evidence: Evidence, surroundings: Surroundings): Judgement {
  const { recomputed, published } = evidence;
  const { outputs } = recomputed;
  if (published.length === 0 && outputs.length === 0) return dropped(recomputed);
  const match = published.length === outputs.length && exactMatch(outputs, published, surroundings.build);
  if (match !== false && published.every(({ topic }) => topic !== surroundings.topics.deadLetters))
    return match === 'same' ? asItMust : { ...asItMust, isOther: true };
  return new Case(evidence, surroundings).judge();
}

const drops = new Map<string, Judgement>();

function dropped({ dropped: reasons }: Recomputed): Judgement {
  const reason = dropReason(reasons);
  let judgement = drops.get(reason);
  if (judgement === undefined) {
    judgement = {
      verdict: { end: 'drops', reason, exceptions: noExceptions },
      ifOther: otherBuild,
      isOther: undefined,
      subjects: noSubjects,
    };
    drops.set(reason, judgement);
  }
  return judgement;
}

/** For example `normalize/control`; several if the values of one record ended differently. */
function dropReason(reasons: Recomputed['dropped']): string {
  const [only] = reasons;
  if (only === undefined) return 'no values';
  if (reasons.length === 1) return `${only.node}/${only.reason}`;
  return [...new Set(reasons.map(({ node, reason }) => `${node}/${reason}`))].sort().join(' + ');
}

/** Whether outputs are what they must be, in the order of each topic; `other_build` if only the build differs. */
function exactMatch(
  expected: readonly OutputRecord[],
  published: readonly Published[],
  build: string,
): 'same' | 'other_build' | false {
  let match: 'same' | 'other_build' = 'same';
  // Most records have one output; the others are compared topic by topic.
  const next = expected.length === 1 ? undefined : byTopic(expected);
  for (const { topic, partition, record, correction } of published) {
    const one = next === undefined ? expected[0] : next.get(topic)?.shift();
    if (one === undefined || one.topic !== topic || one.partition !== partition) return false;
    if (correction !== undefined || !sameBytes(one, record)) return false;
    const headers = sameHeaders(one.headers, record.headers, build);
    if (headers === false) return false;
    if (headers === 'other_build') match = headers;
  }
  return match;
}

function byTopic(outputs: readonly OutputRecord[]): Map<string, { shift(): OutputRecord | undefined }> {
  const lists = new Map<string, OutputRecord[]>();
  for (const output of outputs) {
    const list = lists.get(output.topic);
    if (list === undefined) lists.set(output.topic, [output]);
    else list.push(output);
  }
  // shift() of a long array moves all of it.
  return new Map(
    [...lists].map(([topic, list]) => {
      let at = 0;
      return [topic, { shift: () => list[at++] }];
    }),
  );
}

/** An event that was published, or that should have been. */
interface One {
  readonly event: BiometricEvent;
  readonly topic: string;
  readonly published: Published | undefined;
  readonly output: OutputRecord | undefined;
}

/** A record that is not exactly as it must be. */
class Case {
  readonly #evidence: Evidence;
  readonly #around: Surroundings;
  readonly #exceptions: AuditException[] = [];
  readonly #subjects: Subject[] = [];
  /** Why a missing or additional output cannot be proved to be wrong. */
  #doubt: Doubt | undefined;
  /** Why an output was not compared in full. */
  #uncompared: Doubt | undefined;

  constructor(evidence: Evidence, surroundings: Surroundings) {
    this.#evidence = evidence;
    this.#around = surroundings;
  }

  judge(): Judgement {
    const { deadLetters } = this.#around.topics;
    const { published, recomputed } = this.#evidence;
    const letters: Published[] = [];
    const live: One[] = [];
    const corrections: One[] = [];
    for (const one of published) {
      if (one.topic === deadLetters) letters.push(one);
      else {
        const found = this.#decoded(one);
        if (found !== undefined) (one.correction === undefined ? live : corrections).push(found);
      }
    }
    const expected = recomputed.outputs
      .filter(({ topic }) => topic !== deadLetters)
      .flatMap((output): One[] => {
        const { topic, value } = output;
        return value === null
          ? []
          : [{ event: this.#around.decode(value), topic, published: undefined, output }];
      });
    const wanted = recomputed.outputs.find(({ topic }) => topic === deadLetters);
    for (const one of [...live, ...corrections]) this.#checkRoute(one);
    this.#compareCorrections(corrections);
    const isOther = live.length === 0 ? undefined : live.some((one) => this.#isOther(one));
    const isDeadLettered = letters.length > 0 && live.length === 0 && wanted === undefined;
    this.#compareEvents(expected, live, { corrections, isDeadLettered, isOther: isOther ?? false });
    const known = this.#exceptions.length;
    this.#compareLetters(wanted, letters, {
      expected,
      hasEvents: live.length > 0,
      isOther: isOther ?? false,
    });
    const end = this.#end(live.length > 0 || corrections.length > 0, letters);
    const verdict = this.#verdict(end, this.#exceptions);
    if (isOther !== undefined || corrections.length > 0)
      return { verdict, ifOther: undefined, isOther, subjects: this.#subjects };
    // Without events: another build may have dropped it, or dead-lettered it for another reason.
    const own = this.#exceptions.slice(0, known).filter(({ kind }) => kind !== 'lost');
    const about = [...own, ...this.#exceptions.slice(known).filter(({ kind }) => ofAnyBuild.has(kind))];
    const ifOther =
      letters.length === 0 && about.length === 0 ? otherBuild : this.#verdict({ ...end }, about);
    return { verdict, ifOther, isOther, subjects: this.#subjects };
  }

  #verdict({ end, reason }: Pick<Verdict, 'end' | 'reason'>, exceptions: readonly AuditException[]): Verdict {
    const [first] = exceptions;
    if (first !== undefined) return { end: 'exceptions', reason: first.kind, exceptions: [...exceptions] };
    if (this.#doubt !== undefined)
      return { end: 'unprovable', reason: this.#doubt, exceptions: noExceptions };
    return { end, reason, uncompared: this.#uncompared, exceptions: noExceptions };
  }

  #end(hasEvents: boolean, letters: readonly Published[]): Pick<Verdict, 'end' | 'reason'> {
    const [letter] = letters;
    if (letter === undefined)
      return hasEvents
        ? { end: 'events', reason: this.#isCorrected ? 'corrected' : 'published' }
        : { end: 'drops', reason: dropReason(this.#evidence.recomputed.dropped) };
    return { end: hasEvents ? 'partly' : 'dead letters', reason: codeOf(letter) };
  }

  get #isCorrected(): boolean {
    return this.#evidence.published.some(({ correction }) => correction !== undefined);
  }

  #except(kind: ExceptionKind, what: string, output?: Published): void {
    const { vendor } = this.#around;
    const raw = placeOf(this.#evidence.record);
    this.#exceptions.push(
      output === undefined
        ? { kind, vendor, raw, what }
        : { kind, vendor, raw, output: placeOf(output), what },
    );
  }

  #isOther({ published }: One): boolean {
    return published !== undefined && headerText(published.record.headers, 'build') !== this.#around.build;
  }

  #decoded(published: Published): One | undefined {
    const { topic, record } = published;
    try {
      if (record.value !== null)
        return { event: this.#around.decode(record.value), topic, published, output: undefined };
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      this.#except('unreadable', `the event cannot be decoded: ${error.code}`, published);
    }
    return undefined;
  }

  /** An event must be in the topic of its own priority, whichever build made it. */
  #checkRoute({ event, topic, published }: One): void {
    if (topic !== this.#around.topics.priority[event.priority])
      this.#except('wrong_route', `an event of priority ${event.priority} stands in ${topic}`, published);
  }

  /** A generation corrects a resource of a raw record once. */
  #compareCorrections(corrections: readonly One[]): void {
    const seen = new Set<string>();
    for (const { event, published } of corrections) {
      const generation = published?.generation ?? 0;
      const name = `${generation} ${event.resource_id}`;
      if (seen.has(name)) this.#except('duplicate', `generation ${generation} corrects it twice`, published);
      seen.add(name);
    }
  }

  #compareEvents(
    expected: readonly One[],
    live: readonly One[],
    others: { corrections: readonly One[]; isDeadLettered: boolean; isOther: boolean },
  ): void {
    const found = this.#withoutDuplicates(live);
    const left = new Set(found);
    const missing: One[] = [];
    const corrected = new Set(others.corrections.map(({ event }) => event.resource_id));
    for (const [one, match] of pairs(expected, found)) {
      if (match === undefined) missing.push(one);
      else {
        left.delete(match);
        this.#comparePair(one, match, corrected.has(one.event.resource_id));
      }
    }
    for (const one of left) this.#judgeAdditional(one, corrected.has(one.event.resource_id));
    const unaccounted = missing.filter(({ event }) => !corrected.has(event.resource_id));
    for (const one of unaccounted) this.#note(one, false);
    // A correction by this build is what the next version names before it.
    for (const [one, match] of pairs(expected, others.corrections))
      if (match !== undefined)
        this.#note(one, !differingFields(one.event, match.event).some((field) => stored.has(field)));
    // A dead letter in the place of events is judged with the dead letters.
    if (others.isOther || others.isDeadLettered) return;
    this.#judgeMissing(unaccounted, live.length > 0);
  }

  /** Two outputs of one event are one too many; generations do not matter, because corrections are apart. */
  #withoutDuplicates(live: readonly One[]): One[] {
    const seen = new Set<string>();
    return live.filter(({ event, published }) => {
      const isFirst = !seen.has(event.event_id);
      seen.add(event.event_id);
      if (!isFirst) this.#except('duplicate', 'the event has been published before', published);
      return isFirst;
    });
  }

  #judgeMissing(missing: readonly One[], hasOthers: boolean): void {
    const lost = missing.filter((one) => {
      const doubt = this.#around.mayBeDeleted ? 'outputs_deleted' : this.#doubtOf(one.event);
      this.#doubt ??= doubt;
      return doubt === undefined;
    });
    if (lost.length === 0) return;
    const events = lost.length === 1 ? 'an event' : `${lost.length} events`;
    const topics = [...new Set(lost.map(({ topic }) => topic))].join(', ');
    this.#except('lost', `${events} of it ${hasOthers ? 'next to others ' : ''}should be in ${topics}`);
  }

  #judgeAdditional(one: One, isCorrected: boolean): void {
    this.#note(one, false);
    if (this.#isOther(one)) this.#uncompared ??= 'other_build';
    else if (isCorrected) this.#uncompared ??= 'corrected';
    else {
      const doubt = this.#doubtOf(one.event);
      if (doubt === undefined)
        this.#except('unexpected', 'its own build makes no such event of the record', one.published);
      else this.#uncompared ??= doubt;
    }
  }

  #comparePair(expected: One, found: One, isCorrected: boolean): void {
    const { event } = found;
    const fields = differingFields(expected.event, event);
    this.#note(found, !fields.some((field) => stored.has(field)));
    const { published } = found;
    if (this.#isOther(found)) {
      if (fields.length > 0) this.#uncompared ??= 'other_build';
      return;
    }
    if (fields.length === 0) {
      this.#compareAround(expected, found);
      return;
    }
    const doubt = isCorrected ? 'corrected' : this.#doubtOfFields(expected.event, fields);
    if (doubt !== undefined) {
      this.#uncompared ??= doubt;
      return;
    }
    const names = fields.join(', ');
    if (names === 'priority')
      this.#except(
        'wrong_route',
        `its own build computes priority ${expected.event.priority}, not ${event.priority}`,
        published,
      );
    else this.#except('different', `its own build makes it with other ${names}`, published);
  }

  /** Key, timestamp and headers of an event whose value is as it must be, except for its generation. */
  #compareAround({ output }: One, { published }: One): void {
    if (output === undefined || published === undefined) return;
    const { record } = published;
    const names: string[] = [];
    if (!sameBytes({ ...output, value: record.value }, record)) names.push('key or timestamp');
    for (const [name, value] of Object.entries(output.headers))
      if (name !== 'generation' && headerText(record.headers, name) !== headerText({ [name]: value }, name))
        names.push(`header ${name}`);
    if (names.length > 0)
      this.#except('different', `its own build writes it with another ${names.join(', ')}`, published);
  }

  #note({ event: { user_id: user, resource_id: resource } }: One, isSure: boolean): void {
    this.#subjects.push({ user, resource, isSure });
  }

  /** Why it cannot be proved that there must, or must not, be an event. */
  #doubtOf({ user_id, resource_id, supersedes, local_date, kind }: BiometricEvent): Doubt | undefined {
    const { vendor, start, isUnsure, isUncertain } = this.#around;
    if (vendor === 'healthkit' && kind === 'daily' && local_date !== null) {
      const day = Date.parse(`${local_date}T00:00:00Z`) / dayMs;
      if (isIncompleteDay(day, start)) return 'incomplete_day';
    }
    if (isUncertain) return 'uncertain_state';
    if (isUnsure(user_id, resource_id) === 'history') return 'predecessor';
    // The seed is what is still there. It lacks a version from before the start that was replaced after the start.
    if (start.offset > 0n && supersedes === null) return 'predecessor';
    return undefined;
  }

  /** Why it cannot be proved that an event is wrong, although its fields differ. */
  #doubtOfFields(expected: BiometricEvent, fields: readonly string[]): Doubt | undefined {
    const { start, isUnsure: isUnsureResource, isUnsureUser } = this.#around;
    const { user_id, resource_id } = expected;
    const doubt =
      this.#doubtOf(expected) ??
      (isUnsureResource(user_id, resource_id) === undefined ? undefined : 'predecessor');
    if (doubt === 'incomplete_day' || doubt === 'uncertain_state') return doubt;
    const isUnsure = start.offset > 0n || isUnsureUser(user_id);
    const isByNights = isUnsure && fields.includes('baseline');
    let reason: Doubt | undefined;
    for (const field of fields) {
      let why: Doubt | undefined;
      if (doubt === 'predecessor' && ofVersions.has(field)) why = doubt;
      else if (isByNights && ofNights.has(field)) why = 'earlier_nights';
      else if (isUnsure && field === 'triggers.first') why = 'earlier_alerts';
      else if (isUnsureUser(user_id) && field === 'triggers.repeated') why = 'earlier_alerts';
      if (why === undefined) return undefined;
      reason ??= why;
    }
    return reason;
  }

  #compareLetters(
    wanted: OutputRecord | undefined,
    letters: readonly Published[],
    { expected, hasEvents, isOther }: { expected: readonly One[]; hasEvents: boolean; isOther: boolean },
  ): void {
    const [letter, ...more] = letters;
    for (const one of more) this.#except('duplicate', 'the record has been dead-lettered before', one);
    if (letter === undefined) {
      if (wanted === undefined || isOther) return;
      if (this.#around.mayBeDeleted) this.#doubt ??= 'outputs_deleted';
      else this.#except('lost', `its dead letter ${headerCode(wanted.headers)} is missing`);
      return;
    }
    for (const one of letters)
      if (!isWholeLetter(one, this.#evidence.record))
        this.#except('letter_differs', 'key, value, headers or timestamp are not those of the record', one);
    // A broker that takes less than topics are made for cannot be recomputed; the letter says what it refused.
    if (isOther || isRefusal(letter)) return;
    if (wanted !== undefined) {
      const names = [errorHeader.exception, errorHeader.message, errorHeader.node].filter(
        (name) => headerText(letter.record.headers, name) !== headerText(wanted.headers, name),
      );
      if (names.length > 0)
        this.#except(
          'different',
          `dead-lettered as ${codeOf(letter)}, where its build says ${headerCode(wanted.headers)}: other ${names.join(', ')}`,
          letter,
        );
      return;
    }
    const code = codeOf(letter);
    if (hasEvents) this.#except('unexpected', `dead-lettered as ${code} next to its events`, letter);
    else if (expected.length > 0)
      this.#except('different', `dead-lettered as ${code}, where its build makes events of it`, letter);
    else {
      const reason = dropReason(this.#evidence.recomputed.dropped);
      this.#except('unexpected', `dead-lettered as ${code}, where its build drops it as ${reason}`, letter);
    }
  }
}

/** Kinds that do not depend on which build has processed a record. */
const ofAnyBuild: ReadonlySet<ExceptionKind> = new Set(['duplicate', 'letter_differs', 'unreadable']);
/** Fields that follow from the version before, and those that a later version names. */
const ofVersions: ReadonlySet<string> = new Set(['event_id', 'revision', 'supersedes']);
const stored: ReadonlySet<string> = new Set(['event_id', 'revision', 'priority', 'triggers']);
/** Rules may compare with the baseline. */
const ofNights: ReadonlySet<string> = new Set([
  'baseline',
  'triggers',
  'triggers.first',
  'triggers.repeated',
  'priority',
]);

/**
 * Each expected event with the one that was published: the one of the same version, otherwise the next one of its
 * resource.
 */
function pairs(expected: readonly One[], found: readonly One[]): [One, One | undefined][] {
  const byId = new Map(found.map((one) => [one.event.event_id, one]));
  const matched = new Map<One, One>();
  for (const one of expected) {
    const match = byId.get(one.event.event_id);
    if (match === undefined) continue;
    matched.set(one, match);
    byId.delete(one.event.event_id);
  }
  const byResource = new Map<string, One[]>();
  for (const one of [...byId.values()].sort((a, b) => a.event.revision - b.event.revision)) {
    const list = byResource.get(one.event.resource_id);
    if (list === undefined) byResource.set(one.event.resource_id, [one]);
    else list.push(one);
  }
  return expected.map((one) => [one, matched.get(one) ?? byResource.get(one.event.resource_id)?.shift()]);
}

function codeOf({ record }: Published): string {
  return headerCode(record.headers);
}

function headerCode(headers: OutputRecord['headers']): string {
  const code = headerText(headers, errorHeader.exception) ?? '';
  // A letter from another writer could hold anything.
  return /^[A-Z_]{1,64}$/.test(code) ? code : 'UNKNOWN_CODE';
}

function isRefusal({ record }: Published): boolean {
  return headerText(record.headers, errorHeader.message)?.startsWith('the broker refused') ?? false;
}

/** Whether a dead letter holds its record, or is the smallest one, which says that it does not. */
function isWholeLetter({ record: letter }: Published, record: InputRecord): boolean {
  const isSmallest =
    headerText(letter.headers, errorHeader.message)?.includes('; without value and headers, because') ??
    false;
  if (isSmallest) return letter.value === null && (letter.key === null || sameBuffer(letter.key, record.key));
  const value =
    record.fault === undefined ? record.value : (record.value?.subarray(0, letter.value?.length) ?? null);
  if (!sameBytes({ key: record.key, value, timestamp: record.timestamp }, letter)) return false;
  const own = new Set<string>(Object.values(errorHeader));
  return Object.entries(record.headers).every(
    ([name, one]) =>
      own.has(name) || sameHeaders({ [name]: one }, { [name]: letter.headers[name] ?? null }, ''),
  );
}

function sameBuffer(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}

import type { Admin } from '../kafka/client.ts';
import { StreamsError } from './errors.ts';

/** What a producer hears whose transactional id another has taken, or whose transaction timed out. */
const fenced = new Set(['PRODUCER_FENCED', 'INVALID_PRODUCER_EPOCH']);
/** Fences further apart than this have reasons of their own. */
const windowMs = 60_000;

/** A member of the group under the client id of this one. */
interface Rival {
  readonly memberId: string;
  readonly host: string;
}

/**
 * Ends an instance whose id another live process has too. Both have one transactional id, so that each producer fences the
 * other's for ever. A time-out fences as well, so being fenced counts only while the group shows the other.
 *
 * The younger ends: it saw the other before it joined. Where none did (the older has lost its membership since), the one
 * with the greater member id does, after two more fences, so that never both end.
 */
export class RivalCheck {
  readonly #admin: Pick<Admin, 'describeGroups'>;
  readonly #groupId: string;
  readonly #clientId: string;
  /** The member ids of this instance; the group may show an old one until its session ends. */
  readonly #own = new Set<string>();
  #memberId = '';
  /** Who was in the group before this instance was. */
  #elders: ReadonlySet<string> | undefined;
  #fencedAt: number[] = [];

  constructor(admin: Pick<Admin, 'describeGroups'>, groupId: string, clientId: string) {
    this.#admin = admin;
    this.#groupId = groupId;
    this.#clientId = clientId;
  }

  /** Notes who is in the group, the first time it is called. */
  async beforeJoin(): Promise<void> {
    this.#elders ??= new Set((await this.#rivals()).map(({ memberId }) => memberId));
  }

  onJoin(memberId: string): void {
    this.#memberId = memberId;
    this.#own.add(memberId);
  }

  /**
   * @param reason - why a transaction failed.
   * @throws StreamsError INSTANCE_ID_TAKEN naming the other.
   */
  async onFailure(reason: string): Promise<void> {
    if (!fenced.has(reason)) return;
    const now = performance.now();
    this.#fencedAt = [...this.#fencedAt.filter((at) => now - at < windowMs), now];
    if (this.#fencedAt.length < 2) return;
    const rivals = await this.#rivals();
    const elder = rivals.find(({ memberId }) => this.#elders?.has(memberId));
    const lower = this.#fencedAt.length < 4 ? undefined : rivals.find((one) => one.memberId < this.#memberId);
    const rival = elder ?? lower;
    if (rival === undefined) return;
    throw new StreamsError(
      'INSTANCE_ID_TAKEN',
      `another live process has the same instance id: member ${rival.memberId} of group ${this.#groupId}, at ${rival.host}; ` +
        'each ends the transactions of the other. Give every process an id of its own',
    );
  }

  /** Nobody while the brokers do not answer: the next failure asks again. */
  async #rivals(): Promise<Rival[]> {
    try {
      const { groups } = await this.#admin.describeGroups([this.#groupId]);
      return groups
        .flatMap(({ members }) => members)
        .filter(({ clientId, memberId }) => clientId === this.#clientId && !this.#own.has(memberId))
        .map(({ memberId, clientHost }) => ({ memberId, host: clientHost.replace(/^\//, '') }));
    } catch {
      return [];
    }
  }
}

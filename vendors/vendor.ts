import type { RecordKind } from '../schemas/biometric-event.ts';
import type { RawRecord } from '../schemas/raw-record.ts';
import type { DayPoints } from './day-points.ts';
import type { Dropped, Partly, Rejected } from './outcome.ts';
import type { Path, Payload } from './payload.ts';
import type { Origins, Reading } from './reading.ts';
import type { SignatureScheme } from './signature.ts';

/** A vendor: how its webhooks are authenticated, and what their payloads mean. */
export interface Vendor {
  readonly webhook: Webhook;
  readonly normalize: Normalize;
  /** What the vendor's page lists (docs/vendors/). */
  readonly documents: readonly DocumentKind[];
  /** The types that are known and dropped, by the reason of the drop; its page lists them as well. */
  readonly ignored?: Readonly<Record<string, readonly string[]>>;
}

/** A kind of document that becomes events, and where it keeps their fields: for people who ask. */
export interface DocumentKind {
  /** What the vendor calls it: `daily_sleep`. */
  readonly name: string;
  readonly kind: RecordKind;
  readonly origins: Origins;
  /** What stands for the fields of which the document has no plausible value. */
  readonly means?: Origins['fields'];
}

/** What the ingress needs: how requests are signed, which user a body is about, and which headers the record keeps. */
export interface Webhook<Secret extends string = string, Tolerance extends string | null = string | null> {
  /** The vendor's own schemes, strongest first; PLAIN_SIGNATURE adds the bridge's own after them. */
  readonly schemes: readonly SignatureScheme[];
  /** The environment variable of the vendor's secrets. */
  readonly secret: Secret;
  /** The environment variable of a signed time's maximum age; null for schemes that sign no time. */
  readonly tolerance: Tolerance;
  /**
   * Where a body names its user, who becomes the record's key: the first path with a usable id counts. Control events
   * and bodies of another shape name none.
   */
  readonly userId: readonly Path[];
  /** Request headers that the raw record keeps as received, lower case; a trailing `*` matches any ending. */
  readonly keptHeaders: readonly string[];
  /** Whether webhooks only name an object, so that the collector appends its document in an envelope. */
  readonly isThin: boolean;
}

/**
 * Turns a payload into readings, and into points that become a day's totals together with those of other payloads. A pure
 * function that never throws for any JSON object: it drops what holds no measurement by design, and rejects what is
 * broken. Of a payload that can be read in part, it answers that part and where the rest begins.
 */
export type Normalize = (
  payload: Payload,
  record: RawRecord,
) => (Reading | DayPoints)[] | Partly<Reading | DayPoints> | Dropped | Rejected;

/** Keeps the names of the variables as literal types, so that a configuration has them as keys. */
export function webhook<const Secret extends string, const Tolerance extends string | null>(
  definition: Webhook<Secret, Tolerance>,
): Webhook<Secret, Tolerance> {
  return definition;
}

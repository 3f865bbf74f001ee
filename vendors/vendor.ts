import type { Path } from './payload.ts';
import type { SignatureScheme } from './signature.ts';

/** What the ingress knows of a vendor: how it signs, whom a body is about, and which headers belong to the record. */
export interface Vendor {
  /** The vendor's own schemes, strongest first; the plain one is added behind them where it is switched on. */
  readonly schemes: readonly SignatureScheme[];
  /**
   * Where a body names the user it is about, who becomes the record's key: the first of the paths with a usable id
   * counts. Control events and bodies of another shape name none.
   */
  readonly userId: readonly Path[];
  /** Names of request headers kept in the raw record as they came, lower case; a trailing `*` stands for any ending. */
  readonly keptHeaders: readonly string[];
}

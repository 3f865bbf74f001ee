import type { OutputRecord } from './record.ts';

/**
 * What a state store owes the commit: its writes live in an overlay until the transaction that carries them into the
 * changelog is committed. Tasks hold their stores as this; the commit order flushes and folds them in.
 */
export interface StateStore {
  readonly name: string;
  /** The changelog records of the overlay, one per key written since the last fold-in or drop. */
  flush(): readonly OutputRecord[];
  /** The transaction was committed: the overlay becomes the state. */
  foldIn(): void;
  /** The transaction was not committed: the overlay is forgotten. */
  dropOverlay(): void;
}

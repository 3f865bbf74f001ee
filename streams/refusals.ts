import type { OutputRecord } from './record.ts';

/** A record that cannot be written, and Kafka's name of the reason. */
export interface RefusedRecord {
  readonly record: OutputRecord;
  readonly reason: string;
}

/** Thrown by a send for records that the broker refuses, or that no client can write: sending them again cannot help. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  /** Kafka's name of the first reason. */
  readonly type: string;
  readonly refused: readonly RefusedRecord[];
  constructor(type: string, refused: readonly RefusedRecord[]) {
    super(`records were refused: ${type}`);
    this.type = type;
    this.refused = refused;
  }
}

import type { PunctuatorContext } from '../streams/index.ts';
import { generationChangelog } from './generation.ts';
import type { GenerationSupport } from './generation-state.ts';
import { ChangelogEntries } from './history.ts';

/** How often what the live generation has added is read. */
const readEveryMs = 10_000;

/**
 * What the live generation has told readers. It is read while that generation runs, so that only the end is left to read at the
 * cut, while readers wait.
 */
export class LiveTail {
  readonly alerts: ChangelogEntries;
  readonly revisions: ChangelogEntries;
  readonly #support: GenerationSupport;
  readonly #task: string;
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void>;
  #isEnding = false;
  #isClosed = false;

  constructor({ partition }: Pick<PunctuatorContext, 'partition'>, support: GenerationSupport) {
    const { applicationId, generation, admin, scanner } = support;
    // While it only follows, its reading must not hide a stalled task.
    const onRead = (): void => (this.#isEnding ? support.onRead?.() : undefined);
    const live = (store: string): ChangelogEntries =>
      new ChangelogEntries(
        { admin, scanner, onRead },
        generationChangelog(applicationId, generation.number - 1, store),
        partition,
      );
    this.alerts = live('alerts');
    this.revisions = live('revisions');
    this.#support = support;
    this.#task = `0_${partition}`;
    this.#reading = this.#follow();
  }

  /** Reads to the end, unless it is closed. Call it after the live generation has stopped. */
  async end(): Promise<void> {
    this.#stopFollowing();
    await this.#reading;
    const isWanted = (): boolean => !this.#isClosed;
    if (isWanted()) await Promise.all([this.alerts, this.revisions].map((entries) => entries.read(isWanted)));
  }

  close(): void {
    this.#isClosed = true;
    this.#stopFollowing();
  }

  #stopFollowing(): void {
    this.#isEnding = true;
    clearTimeout(this.#timer);
  }

  async #follow(): Promise<void> {
    try {
      await this.#support.turns.inTurn(() => this.#read());
    } catch (error) {
      if (!this.#isEnding)
        this.#support.log.warn(
          { task: this.#task, reason: error instanceof Error ? error.message : 'unknown' },
          'what the live generation has told readers cannot be read: trying again',
        );
    }
    if (this.#isEnding) return;
    this.#timer = setTimeout(() => {
      this.#reading = this.#follow();
    }, readEveryMs).unref();
  }

  async #read(): Promise<void> {
    // end() reads the rest without waiting for a turn.
    const isWanted = (): boolean => !this.#isEnding;
    for (const entries of [this.alerts, this.revisions]) if (isWanted()) await entries.read(isWanted);
  }
}

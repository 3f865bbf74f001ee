import {
  StreamsError,
  type PunctuatedTask,
  type Punctuator,
  type PunctuatorContext,
} from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import { Corrections } from './corrections.ts';
import { readState, startsOf, type GenerationSupport, type Steps } from './generation-state.ts';
import { LiveTail } from './live-tail.ts';
import { loadSeed } from './seeding.ts';
import { loadTakeover } from './takeover.ts';
import type { Starts } from './start.ts';

/** How long one transaction works on a phase of a task, and what it writes: the thread does nothing else meanwhile. */
const msPerTransaction = 50;
const writesPerTransaction = 2_000;
const bytesPerTransaction = 8 * 1024 * 1024;

/**
 * What a task of a generation above 0 does besides its records. It seeds its stores with what the raw log no longer
 * covers, holds back records that the live generation has not processed, takes over what readers were told when it
 * becomes live, and then corrects what they have. Each step is committed with the offsets, so that any crash repeats it
 * or finds it done.
 */
export class GenerationTask implements Punctuator {
  readonly #context: PunctuatorContext;
  readonly #support: GenerationSupport;
  #phase: 'seed' | 'follow' | 'take over' | 'correct' | 'live';
  /** The steps of the phase, each done in a transaction; undefined until what they need is read. */
  #steps: Iterator<number> | undefined;
  /** Makes the steps again after a transaction was aborted. */
  #begin: Steps | undefined;
  #task: PunctuatedTask | undefined;
  #isClosed = false;
  /** When it last made a step. */
  #steppedAt = performance.now();
  /** It waits for other tasks. */
  #isWaiting = false;
  /** The last step of the phase is in the open transaction. */
  #isEnding = false;
  readonly #corrections: Corrections;
  readonly #unsubscribe: () => void;
  /** What the live generation tells readers, from the seed to the takeover. */
  #live: LiveTail | undefined;
  /** Signals that a phase has ended for which others wait. */
  #phaseEnded = (): void => undefined;

  constructor(context: PunctuatorContext, support: GenerationSupport) {
    this.#context = context;
    this.#support = support;
    const seed = readState(context.stores, 'seed');
    if (seed?.done === true) this.#setStarts(startsOf(seed));
    this.#phase =
      seed?.done !== true
        ? 'seed'
        : readState(context.stores, 'takeover')?.done !== true
          ? 'follow'
          : readState(context.stores, 'corrections')?.done === true
            ? 'live'
            : 'correct';
    this.#corrections = new Corrections(context, support);
    if (
      this.#phase === 'follow' &&
      typeof support.origin === 'object' &&
      seed?.from !== support.origin.generation
    )
      this.#refuse(support.origin.generation);
    this.#unsubscribe = support.subscribe(context.wake);
    if (this.#phase === 'seed') this.#seed();
    if (this.#phase === 'follow') this.#live = new LiveTail(context, support);
    if (this.#phase === 'correct') this.#correct();
  }

  limit(topic: string): bigint | undefined {
    if (this.#phase === 'correct' || this.#phase === 'live') return undefined;
    if (this.#phase === 'seed') return 0n;
    const { partition } = this.#context;
    const { generation } = this.#support;
    return generation.cutOf(topic, partition) ?? this.#support.liveOffset(topic, partition) ?? 0n;
  }

  get isDue(): boolean {
    if (this.#phase === 'live') return false;
    if (this.#phase === 'correct') return this.#corrections.isDue;
    if (this.#phase === 'seed') return this.#steps !== undefined;
    // Asked again during the takeover too: an aborted transaction takes the task back to before the cut.
    if (!this.#isAtCut()) return false;
    if (this.#phase === 'follow') this.#takeOver();
    // The steps read only what is committed, so the last records before the cut must be committed first.
    return this.#steps !== undefined && !this.#context.stores.some(({ isDirty }) => isDirty);
  }

  get isOver(): boolean {
    return this.#phase === 'live';
  }

  get stalledMs(): number {
    if (this.#phase === 'follow' || this.#phase === 'live' || this.#isWaiting) return 0;
    return performance.now() - Math.max(this.#steppedAt, this.#support.readAt);
  }

  punctuate(task: PunctuatedTask): void {
    this.#steppedAt = performance.now();
    if (this.#phase === 'correct') {
      this.#corrections.punctuate(task);
      return;
    }
    this.#task = task;
    let bytes = 0;
    let writes = 0;
    const isFull = (): boolean => writes >= writesPerTransaction || bytes >= bytesPerTransaction;
    const until = performance.now() + msPerTransaction;
    while (this.#steps !== undefined && !isFull() && performance.now() < until) {
      const step = this.#steps.next();
      if (step.done === false) {
        bytes += step.value;
        if (step.value > 0) writes += 1;
      } else {
        this.#steps = undefined;
        this.#isEnding = true;
      }
    }
    this.#task = undefined;
  }

  settled(isCommitted: boolean): void {
    if (this.#phase === 'correct') {
      if (this.#corrections.settled(isCommitted)) this.#phase = 'live';
      return;
    }
    if (!isCommitted) {
      this.#isEnding = false;
      this.#steps = this.#begin?.(() => this.#open());
    } else if (this.#isEnding) {
      this.#isEnding = false;
      this.#begin = undefined;
      this.#endPhase();
      if (this.#phase === 'seed') {
        this.#phase = 'follow';
        this.#live = new LiveTail(this.#context, this.#support);
      }
      // A task that was not seeded corrects nothing.
      else if (readState(this.#context.stores, 'corrections')?.done === true) this.#phase = 'live';
      else {
        this.#phase = 'correct';
        this.#correct();
      }
      this.#context.wake();
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#live?.close();
    this.#endPhase();
    this.#unsubscribe();
    this.#corrections.close();
  }

  #refuse(from: number): void {
    const error = new StreamsError('START_AGAIN', `the candidate did not begin with --from ${from}`);
    // Only after the caller has what it is creating.
    queueMicrotask(() => this.#context.fail(error));
  }

  #open(): PunctuatedTask {
    if (this.#task === undefined) throw new Error('a step of a generation ran outside of a transaction');
    return this.#task;
  }

  /** One task at a time, until its seed is written, because the seed is in memory meanwhile. */
  #seed(): void {
    this.#isWaiting = true;
    this.#support.turns
      .inTurn(async () => {
        if (this.#isClosed) return;
        this.#go();
        const ended = new Promise<void>((resolve) => (this.#phaseEnded = resolve));
        const seed = loadSeed(this.#context, this.#support, (starts) => this.#setStarts(starts));
        // A task that is given up holds up nobody, though it may still be reading.
        await Promise.race([ended, seed.then((steps) => this.#begun(steps))]);
        await ended;
      })
      .catch((error: unknown) => this.#failed(error));
  }

  #takeOver(): void {
    const live = this.#live;
    if (live === undefined) throw new Error('a task takes over that has not followed');
    this.#phase = 'take over';
    this.#steppedAt = performance.now();
    this.#phaseEnded = this.#support.turns.beginTakeover();
    loadTakeover(this.#context, this.#support, live)
      .then((steps) => this.#begun(steps))
      .catch((error: unknown) => this.#failed(error));
  }

  /** Begins the corrections after the takeovers of other tasks, because readers wait for those. */
  #correct(): void {
    this.#isWaiting = true;
    this.#support.turns
      .takenOver()
      .then(() => {
        if (this.#isClosed) return undefined;
        this.#go();
        return this.#corrections.read();
      })
      .catch((error: unknown) => this.#failed(error));
  }

  #go(): void {
    this.#isWaiting = false;
    this.#steppedAt = performance.now();
  }

  /** Runs the steps of the phase. */
  #begun(begin: Steps): void {
    if (this.#isClosed) return;
    this.#begin = begin;
    this.#steps = begin(() => this.#open());
    this.#context.wake();
  }

  #endPhase(): void {
    const ended = this.#phaseEnded;
    this.#phaseEnded = () => undefined;
    if (this.#phase === 'take over') this.#live = undefined;
    ended();
  }

  #failed(error: unknown): void {
    if (!this.#isClosed) this.#context.fail(error instanceof Error ? error : new Error('unknown failure'));
  }

  #isAtCut(): boolean {
    const { topics, generation } = this.#support;
    const { partition } = this.#context;
    return Object.values(topics.raw).every((topic) => {
      const cut = generation.cutOf(topic, partition);
      return cut !== undefined && this.#context.position(topic) >= cut;
    });
  }

  #setStarts(starts: Starts): void {
    const { generation, topics } = this.#support;
    for (const vendor of vendorNames) {
      const start = starts.get(vendor);
      if (start !== undefined) generation.setStart(topics.raw[vendor], this.#context.partition, start);
    }
  }
}

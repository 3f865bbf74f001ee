import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { settlesWithin } from '../process/deadline.ts';
import { StreamsError, type StreamsErrorCode } from './errors.ts';
import type { State } from './metrics.ts';

/** What runs in a worker thread: a KafkaStreams, as far as its owner sees it. */
export interface ServedStreams {
  readonly state: State;
  readonly silentForMs: number | undefined;
  readonly failed: Promise<never>;
  start(): Promise<void>;
  pause(): void;
  resume(): void;
  close(): Promise<void>;
}

type Order =
  { readonly type: 'close' | 'pause' | 'resume' } | { readonly type: 'metrics'; readonly id: number };
type News =
  | { readonly type: 'started' }
  | { readonly type: 'beat'; readonly state: State; readonly silentForMs: number }
  | { readonly type: 'failed'; readonly code: StreamsErrorCode | undefined; readonly message: string }
  | { readonly type: 'metrics'; readonly id: number; readonly metrics: unknown };

interface WorkerSettings {
  readonly threadName: string;
  readonly data: unknown;
}

/** How often a worker tells how it is. */
const beatMs = 250;
/** How long one may take to answer for its metrics. */
const metricsMs = 2_000;

interface StreamWorker {
  readonly worker: Worker;
  readonly exited: Promise<unknown>;
  beatAt: number;
  state: State;
  silentForMs: number;
}

export interface StreamWorkersOptions {
  /** Calls serveStreamWorker(). */
  readonly module: URL;
  readonly threads: number;
  /** Given to it; must be cloneable. */
  readonly data: unknown;
  readonly closeTimeoutMs: number;
}

/** Several stream threads, each a worker thread with a consumer, a producer and tasks of its own. */
export class StreamWorkers implements ServedStreams {
  /** Rejects with the reason when one of them cannot go on; never resolves. */
  readonly failed: Promise<never>;
  readonly #options: StreamWorkersOptions;
  readonly #workers: StreamWorker[] = [];
  readonly #questions = new Map<number, (metrics: unknown) => void>();
  #asked = 0;
  #isClosing = false;
  #fail: (error: unknown) => void = () => undefined;

  constructor(options: StreamWorkersOptions) {
    this.#options = options;
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject;
    });
    this.failed.catch(() => undefined);
  }

  /** The least ready state of all threads. */
  get state(): State {
    const states = this.#workers.map(({ state }) => state);
    const order: State[] = ['ERROR', 'CREATED', 'NOT_RUNNING', 'PENDING_SHUTDOWN', 'REBALANCING', 'RUNNING'];
    return order.find((state) => states.includes(state)) ?? 'CREATED';
  }

  /** The longest silence of a thread; one whose event loop hangs sends no beats and is silent too. */
  get silentForMs(): number | undefined {
    if (this.#workers.length === 0) return undefined;
    return Math.max(
      ...this.#workers.map(({ beatAt, silentForMs }) => performance.now() - beatAt + silentForMs),
    );
  }

  /** Starts the threads; resolves when all have joined, rejects when one cannot start. */
  async start(): Promise<void> {
    const { threads } = this.#options;
    await Promise.all(Array.from({ length: threads }, (_, at) => this.#startWorker(String(at + 1))));
  }

  pause(): void {
    this.#tell({ type: 'pause' });
  }

  resume(): void {
    this.#tell({ type: 'resume' });
  }

  /** What each thread's `metrics` answered; one that does not answer in time is left out. */
  async metrics(): Promise<unknown[]> {
    const answers = this.#workers.map(async ({ worker }) => {
      const id = (this.#asked += 1);
      const answer = new Promise<unknown>((resolve) => this.#questions.set(id, resolve));
      worker.postMessage({ type: 'metrics', id } satisfies Order);
      const isAnswered = await settlesWithin(answer, metricsMs);
      this.#questions.delete(id);
      return isAnswered ? answer : undefined;
    });
    return (await Promise.all(answers)).filter((metrics) => metrics !== undefined);
  }

  /** Closes all threads; what has not ended within `closeTimeoutMs` is terminated. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#tell({ type: 'close' });
    await Promise.all(
      this.#workers.map(async ({ worker, exited }) => {
        if (!(await settlesWithin(exited, this.#options.closeTimeoutMs))) await worker.terminate();
      }),
    );
  }

  #tell(order: Order): void {
    for (const { worker } of this.#workers) worker.postMessage(order);
  }

  async #startWorker(threadName: string): Promise<void> {
    const { module, data } = this.#options;
    const settings: WorkerSettings = { threadName, data };
    const worker = new Worker(module, { workerData: settings });
    const exited = once(worker, 'exit');
    const entry: StreamWorker = {
      worker,
      exited,
      beatAt: performance.now(),
      state: 'CREATED',
      silentForMs: 0,
    };
    this.#workers.push(entry);
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        entry.state = 'ERROR';
        reject(error);
        this.#fail(error);
      };
      worker.on('message', (news: News) => {
        if (news.type === 'started') resolve();
        else if (news.type === 'metrics') this.#questions.get(news.id)?.(news.metrics);
        else if (news.type === 'failed') fail(failureOf(news));
        else
          Object.assign(entry, {
            state: news.state,
            silentForMs: news.silentForMs,
            beatAt: performance.now(),
          });
      });
      worker.on('error', fail);
      worker.on('exit', () => {
        if (!this.#isClosing)
          fail(new StreamsError('INVARIANT', `stream thread ${threadName} ended by itself`));
      });
    });
  }
}

function failureOf({ code, message }: Extract<News, { type: 'failed' }>): Error {
  return code === undefined ? new Error(message) : new StreamsError(code, message);
}

/**
 * The other side, called by the worker's module: builds what the thread runs and obeys its owner.
 * @param build - gets the owner's data and the thread's name, `1`, `2`, …; `metrics` answers with something cloneable.
 */
export async function serveStreamWorker(
  build: (
    data: unknown,
    threadName: string,
  ) => Promise<{ streams: ServedStreams; metrics: () => Promise<unknown> }>,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new StreamsError('INVALID_CONFIG', 'this module runs in a worker thread only');
  const { threadName, data } = workerData as WorkerSettings;
  const say = (news: News): void => port.postMessage(news);
  const fail = (error: unknown): void =>
    say({
      type: 'failed',
      code: error instanceof StreamsError ? error.code : undefined,
      message: error instanceof Error ? error.message : 'unknown',
    });
  try {
    const { streams, metrics } = await build(data, threadName);
    const beat = setInterval(
      () => say({ type: 'beat', state: streams.state, silentForMs: streams.silentForMs ?? 0 }),
      beatMs,
    );
    const close = async (): Promise<void> => {
      await streams.close();
      clearInterval(beat);
      port.close();
    };
    port.on('message', (order: Order) => {
      if (order.type === 'close') void close();
      else if (order.type === 'metrics')
        void metrics().then((m) => say({ type: 'metrics', id: order.id, metrics: m }));
      else streams[order.type]();
    });
    streams.failed.catch(fail);
    await streams.start();
    say({ type: 'started' });
  } catch (error) {
    fail(error);
  }
}

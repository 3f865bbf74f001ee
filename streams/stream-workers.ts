import { once } from 'node:events';
import { parentPort, Worker, workerData } from 'node:worker_threads';
import { settlesWithin } from '../process/deadline.ts';
import { StreamsError, type StreamsErrorCode } from './errors.ts';
import type { State } from './metrics.ts';
import { failure } from '../process/lifecycle.ts';

/** What runs in a worker thread: a KafkaStreams, as far as its owner needs it. */
export interface ServedStreams {
  readonly state: State;
  readonly silentForMs: number | undefined;
  readonly failed: Promise<never>;
  start(): Promise<void>;
  close(): Promise<void>;
}

/** From the owner to a worker. */
type Command = { readonly type: 'close' } | { readonly type: 'metrics'; readonly id: number };
/** From a worker to its owner. */
type Report =
  | { readonly type: 'started' }
  | { readonly type: 'beat'; readonly state: State; readonly silentForMs: number }
  | { readonly type: 'failed'; readonly code: StreamsErrorCode | undefined; readonly message: string }
  | { readonly type: 'metrics'; readonly id: number; readonly metrics: unknown };

interface WorkerSettings {
  readonly threadName: string;
  readonly data: unknown;
}

/** How often a worker reports its state. */
const beatMs = 250;
/** How long a worker may take to answer for its metrics. */
const metricsMs = 2_000;

interface StreamWorker {
  readonly worker: Worker;
  readonly exited: Promise<unknown>;
  beatAt: number;
  state: State;
  silentForMs: number;
}

interface StreamWorkersOptions {
  /** The worker's module, which calls serveStreamWorker(). */
  readonly module: URL;
  readonly threads: number;
  /** Passed to serveStreamWorker(); must be cloneable. */
  readonly data: unknown;
  readonly closeTimeoutMs: number;
}

/** Several stream threads, each a worker thread with a consumer, a producer and tasks of its own. */
export class StreamWorkers implements ServedStreams {
  /** Rejects with the reason when one of the threads cannot continue; never resolves. */
  readonly failed: Promise<never>;
  readonly #fail: (error: unknown) => void;
  readonly #options: StreamWorkersOptions;
  readonly #workers: StreamWorker[] = [];
  /** The metrics requests that are not answered yet, by id. */
  readonly #requests = new Map<number, (metrics: unknown) => void>();
  #lastRequest = 0;
  #isClosing = false;

  constructor(options: StreamWorkersOptions) {
    this.#options = options;
    ({ failed: this.failed, fail: this.#fail } = failure());
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

  /** The answers of each thread's `metrics`, without those of threads that do not answer in time. */
  async metrics(): Promise<unknown[]> {
    const answers = this.#workers.map(async ({ worker }) => {
      const id = (this.#lastRequest += 1);
      const answer = new Promise<unknown>((resolve) => this.#requests.set(id, resolve));
      worker.postMessage({ type: 'metrics', id } satisfies Command);
      const isAnswered = await settlesWithin(answer, metricsMs);
      this.#requests.delete(id);
      return isAnswered ? answer : undefined;
    });
    return (await Promise.all(answers)).filter((metrics) => metrics !== undefined);
  }

  /** Closes all threads; terminates those that have not ended within `closeTimeoutMs`. */
  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all(
      this.#workers.map(async ({ worker, exited }) => {
        worker.postMessage({ type: 'close' } satisfies Command);
        if (!(await settlesWithin(exited, this.#options.closeTimeoutMs))) await worker.terminate();
      }),
    );
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
      worker.on('message', (report: Report) => {
        if (report.type === 'started') resolve();
        else if (report.type === 'metrics') this.#requests.get(report.id)?.(report.metrics);
        else if (report.type === 'failed') fail(failureOf(report));
        else {
          entry.state = report.state;
          entry.silentForMs = report.silentForMs;
          entry.beatAt = performance.now();
        }
      });
      worker.on('error', fail);
      worker.on('exit', () => {
        if (!this.#isClosing)
          fail(new StreamsError('INVARIANT', `stream thread ${threadName} ended by itself`));
      });
    });
  }
}

function failureOf({ code, message }: Extract<Report, { type: 'failed' }>): Error {
  return code === undefined ? new Error(message) : new StreamsError(code, message);
}

/**
 * Runs a stream thread in a worker: call it in the worker's module.
 * @param build - gets the owner's data and the thread's name, `1`, `2`, …; `metrics` must answer something cloneable.
 */
export async function serveStreamWorker(
  build: (
    data: unknown,
    threadName: string,
  ) => Promise<{ streams: ServedStreams; metrics: () => Promise<unknown> }>,
): Promise<void> {
  const port = parentPort;
  if (port === null) throw new StreamsError('INVALID_CONFIG', 'this module runs only in a worker thread');
  const { threadName, data } = workerData as WorkerSettings;
  const send = (report: Report): void => port.postMessage(report);
  const fail = (error: unknown): void =>
    send({
      type: 'failed',
      code: error instanceof StreamsError ? error.code : undefined,
      message: error instanceof Error ? error.message : 'unknown',
    });
  try {
    const { streams, metrics } = await build(data, threadName);
    const beat = setInterval(
      () => send({ type: 'beat', state: streams.state, silentForMs: streams.silentForMs ?? 0 }),
      beatMs,
    );
    const close = async (): Promise<void> => {
      await streams.close();
      clearInterval(beat);
      port.close();
    };
    port.on('message', (command: Command) => {
      if (command.type === 'close') void close();
      else void metrics().then((m) => send({ type: 'metrics', id: command.id, metrics: m }));
    });
    streams.failed.catch(fail);
    await streams.start();
    send({ type: 'started' });
  } catch (error) {
    fail(error);
  }
}

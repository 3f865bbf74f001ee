/** Work on raw partitions in threads: each takes the next task when it is done with one, over connections of its own. */
import { parentPort, Worker } from 'node:worker_threads';
import { Interrupted } from './exit.ts';

type ToThread<T> = { readonly type: 'task'; readonly task: T } | { readonly type: 'end' };

type FromThread<P, R> =
  | { readonly type: 'ready' }
  | { readonly type: 'progress'; readonly progress: P }
  | { readonly type: 'done'; readonly result: R }
  | { readonly type: 'failed'; readonly reason: string };

interface ThreadsOptions<T, P, R> {
  /** The module next to this one that calls serveTasks(), without its ending. */
  readonly module: string;
  /** What each thread finds as `workerData`. */
  readonly workerData: object;
  readonly tasks: readonly T[];
  readonly threads: number;
  /** Ends the threads. They only read, so nothing needs to be finished. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: P) => void;
  readonly onDone: (task: T, result: R) => void;
}

/** Nearly everything that a record leaves behind dies young: with the default of 16 MiB, a fifth of the time went to moving it. */
const resourceLimits = { maxYoungGenerationSizeMb: 64 };

/** Runs tasks in threads. @throws Interrupted, or Error with the reason why a thread failed. */
export async function runInThreads<T, P, R>(options: ThreadsOptions<T, P, R>): Promise<void> {
  const { signal, tasks, threads } = options;
  if (signal.aborted) throw new Interrupted();
  const queue = [...tasks];
  const workers = Array.from({ length: Math.min(threads, tasks.length) }, () => startThread(options));
  let end = (): void => undefined;
  const interrupted = new Promise<never>((_, reject) => {
    end = () => reject(new Interrupted());
    signal.addEventListener('abort', end);
  });
  const work = workers.map((worker) => runThread(worker, queue, options));
  try {
    await Promise.race([Promise.all(work), interrupted]);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
    await Promise.allSettled(work);
    signal.removeEventListener('abort', end);
  }
}

function startThread({
  module,
  workerData,
}: Pick<ThreadsOptions<never, never, never>, 'module' | 'workerData'>): Worker {
  const settings = { workerData, resourceLimits };
  if (!import.meta.url.endsWith('.ts')) {
    return new Worker(new URL(`./${module}.js`, import.meta.url), settings);
  }
  // The sources run under tsx, which a thread does not inherit, and which --import does not load a second time.
  const [tsx, file] = ['tsx/esm/api', `./${module}.ts`].map((name) =>
    JSON.stringify(import.meta.resolve(name)),
  );
  const code = `import(${tsx}).then(({ register }) => { register(); return import(${file}); });`;
  return new Worker(code, { eval: true, ...settings });
}

/** Runs a thread until the queue is empty. */
function runThread<T, P, R>(
  worker: Worker,
  queue: T[],
  { module, onProgress, onDone }: ThreadsOptions<T, P, R>,
): Promise<void> {
  let task: T | undefined;
  const next = (): void => {
    task = queue.shift();
    const message: ToThread<T> = task === undefined ? { type: 'end' } : { type: 'task', task };
    worker.postMessage(message);
  };
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`a thread of ${module} ended with ${code}`));
    });
    worker.on('message', (message: FromThread<P, R>) => {
      switch (message.type) {
        case 'ready':
          return next();
        case 'progress':
          return onProgress(message.progress);
        case 'done':
          if (task !== undefined) onDone(task, message.result);
          return next();
        case 'failed':
          return reject(new Error(message.reason));
      }
    });
  });
}

/** What a thread does with its tasks, and how it ends. */
interface TaskServer<T, P, R> {
  run(task: T, tell: (progress: P) => void): Promise<R>;
  close(): Promise<void>;
}

/** The whole life of a thread that runInThreads() has started. */
export async function serveTasks<T, P, R>(open: () => Promise<TaskServer<T, P, R>>): Promise<void> {
  const tell = (message: FromThread<P, R>): void => parentPort?.postMessage(message);
  // An error loses its class between threads.
  const fail = (error: unknown): void =>
    tell({ type: 'failed', reason: error instanceof Error ? error.message : 'unknown failure' });
  try {
    const server = await open();
    const take = async (message: ToThread<T>): Promise<void> => {
      if (message.type === 'task') {
        const result = await server.run(message.task, (progress) => tell({ type: 'progress', progress }));
        tell({ type: 'done', result });
        return;
      }
      await server.close();
      parentPort?.close();
    };
    parentPort?.on('message', (message: ToThread<T>) => void take(message).catch(fail));
    tell({ type: 'ready' });
  } catch (error) {
    fail(error);
  }
}

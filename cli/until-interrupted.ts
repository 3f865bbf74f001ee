/** Runs work whose signal SIGINT and SIGTERM abort. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const end = (): void => abort.abort();
  process.once('SIGINT', end);
  process.once('SIGTERM', end);
  try {
    return await work(abort.signal);
  } finally {
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
  }
}

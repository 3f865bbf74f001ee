/** Whether `promise` has settled within `timeoutMs`; how it settled is its owner's affair. */
export async function settlesWithin(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, false);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  try {
    return await Promise.race([settled, late]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The outcome of `promise`, or a DeadlineError after `timeoutMs`. What comes later of an abandoned promise is ignored.
 * @param what - names the step in the error.
 */
export async function within<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  if (await settlesWithin(promise, timeoutMs)) return promise;
  throw new DeadlineError(`${what} took longer than ${timeoutMs} ms`);
}

/** A step did not end in time; whether it will still have an effect is not known. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

/** Whether `promise` settles within `timeoutMs`, resolved or rejected; its owner handles the outcome. */
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
 * Settles as `promise` does, or rejects with DeadlineError after `timeoutMs`; a later outcome is ignored.
 * @param what - names the step in the error.
 */
export async function within<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  if (await settlesWithin(promise, timeoutMs)) return promise;
  throw new DeadlineError(`${what} took longer than ${timeoutMs} ms`);
}

/** A step did not end in time; it may still take effect. */
export class DeadlineError extends Error {
  override readonly name = 'DeadlineError';
}

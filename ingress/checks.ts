import { within } from '../process/deadline.ts';

/** Something that is looked at now and then in the background, so that asking costs nothing and cannot hang. */
export interface Check {
  /** `ok`, or in words what is wrong. */
  readonly state: string;
  /** Resolves after the first look, whatever it found. */
  readonly first: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Looks every `okEveryMs` while all is well and every `failingEveryMs` while it is not.
 * @param look - rejects when something is wrong; `describe` turns that into words that quote no secret.
 */
export function startCheck(options: {
  readonly look: () => Promise<void>;
  readonly describe: (error: unknown) => string;
  readonly okEveryMs: number;
  readonly failingEveryMs: number;
  readonly timeoutMs: number;
  readonly onChange?: (state: string) => void;
  /** Releases what `look` keeps. */
  readonly close?: () => Promise<void>;
}): Check {
  let state = 'not looked at yet';
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> = Promise.resolve();

  async function look(): Promise<void> {
    let found: string;
    try {
      await within(options.look(), options.timeoutMs, 'the check');
      found = 'ok';
    } catch (error) {
      found = options.describe(error);
    }
    if (stopped) return;
    if (found !== state) {
      state = found;
      options.onChange?.(state);
    }
    timer = setTimeout(
      () => {
        looking = look();
      },
      state === 'ok' ? options.okEveryMs : options.failingEveryMs,
    );
  }

  looking = look();
  const first = looking;
  return {
    get state() {
      return state;
    },
    first,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      await looking;
      await options.close?.();
    },
  };
}

import { bridgeScript, projectRoot } from '../process/root.ts';
import type { LocalGeneration } from './generation.ts';
import { isOk, processPart, type Part } from './part.ts';

/** How the bridge's own processes run on this machine. */
export interface BridgeOptions {
  /** The stack's directory: logs and pid files go there. */
  readonly directory: string;
  /** The whole environment of the processes, including the stack's. */
  readonly env: NodeJS.ProcessEnv;
  /** The generation of the topology. */
  readonly generation: LocalGeneration;
  readonly ports: { readonly ingress: number; readonly topology: number; readonly sink: number };
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Sink, topology and ingress, each a process of its own as in production, known by pid files like every part of the
 * stack. They stop from the last to the first, so that what was accepted still flows.
 */
export function bridgeParts(options: BridgeOptions): readonly Part[] {
  const { generation } = options;
  const part = (name: 'ingress' | 'topology' | 'sink', env: NodeJS.ProcessEnv, args: string[] = []): Part =>
    processPart({
      name,
      directory: options.directory,
      program: () => ({
        command: process.execPath,
        args: [bridgeScript(), name, ...args],
        cwd: projectRoot(),
        env: { ...options.env, ...env },
      }),
      healthy: () => isOk(`http://127.0.0.1:${options.ports[name]}/readyz`),
      startDeadlineMs: 30_000,
      stopDeadlineMs: 15_000,
      onProgress: options.onProgress,
      signal: options.signal,
    });
  return [
    part('sink', { ADMIN_PORT: String(options.ports.sink) }),
    // The same instance at every start: it settles at once what a killed predecessor left open.
    part(
      'topology',
      {
        ADMIN_PORT: String(options.ports.topology),
        INSTANCE_ID: 'local',
        GENERATION: String(generation.number),
      },
      generation.isNext ? ['--unseeded'] : [],
    ),
    part('ingress', { PORT: String(options.ports.ingress), ADMIN_PORT: '' }),
  ];
}

import { request } from 'node:http';
import { join } from 'node:path';
import { projectRoot } from '../process/root.ts';
import { processPart, type Part } from './part.ts';

/** How the bridge's own processes run on this machine. */
export interface BridgeOptions {
  /** The stack's directory: logs and pid files go there. */
  readonly directory: string;
  /** The whole environment of the processes, that of the stack included. */
  readonly env: NodeJS.ProcessEnv;
  readonly ports: { readonly ingress: number; readonly topology: number; readonly sink: number };
  readonly onProgress: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Ingress, topology and sink, each a process of its own as in production, known by pid files like every part of the
 * stack. In the order in which they start; they stop in the same order, so that what was accepted still flows.
 */
export function bridgeParts(options: BridgeOptions): { ingress: Part; topology: Part; sink: Part } {
  const part = (name: 'ingress' | 'topology' | 'sink', env: NodeJS.ProcessEnv): Part =>
    processPart({
      name,
      directory: options.directory,
      prepare: () => Promise.resolve(),
      program: () => ({
        command: process.execPath,
        args: [join(projectRoot(), 'cli', 'bridge.mjs'), name],
        cwd: projectRoot(),
        env: { ...options.env, ...env },
      }),
      healthy: () => isReady(options.ports[name]),
      startDeadlineMs: 30_000,
      stopDeadlineMs: 15_000,
      onProgress: options.onProgress,
      signal: options.signal,
    });
  return {
    ingress: part('ingress', { PORT: String(options.ports.ingress), ADMIN_PORT: '' }),
    // The same instance at every start: it settles at once what a killed predecessor left open.
    topology: part('topology', { ADMIN_PORT: String(options.ports.topology), INSTANCE_ID: 'local' }),
    sink: part('sink', { ADMIN_PORT: String(options.ports.sink) }),
  };
}

function isReady(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({ host: '127.0.0.1', port, path: '/readyz', timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    probe.on('timeout', () => probe.destroy());
    probe.on('error', () => resolve(false));
    probe.end();
  });
}

/** `bridge replay promote` as a process of its own, which ends itself after one of its steps. Settings as JSON. */
import { readConfig } from '../../process/config.ts';
import { Generations, generationsVariables } from '../../replay/generations.ts';
import type { PromoteOptions, PromoteStep } from '../../replay/promote.ts';
import { silentLog } from '../streams/log.ts';
import { promoteTo } from './reprocessing.ts';

export interface PromoteSettings {
  readonly env: Readonly<Record<string, string>>;
  readonly generation: number;
  readonly dieAfter: PromoteStep;
  readonly options: Partial<Pick<PromoteOptions, 'isReadersReady' | 'announce' | 'removeUnreadable'>>;
}

const { env, generation, dieAfter, options } = JSON.parse(process.argv[2] ?? '{}') as PromoteSettings;
const generations = await Generations.open(readConfig(generationsVariables, env), silentLog);
await promoteTo(generations, generation, {
  ...options,
  afterStep: (step) => {
    if (step === dieAfter) process.kill(process.pid, 'SIGKILL');
  },
});
await generations.close();

/** `bridge replay promote` as a process of its own, which ends itself after one of its steps. Settings as JSON. */
import { readConfig } from '../../process/config.ts';
import { Generations, generationsVariables } from '../../replay/generations.ts';
import type { PromoteStep } from '../../replay/promote.ts';
import { silentLog } from '../streams/log.ts';
import { promoteTo } from './reprocessing.ts';

export interface PromoteSettings {
  readonly env: Readonly<Record<string, string>>;
  readonly generation: number;
  readonly dieAfter: PromoteStep;
}

const { env, generation, dieAfter } = JSON.parse(process.argv[2] ?? '{}') as PromoteSettings;
const generations = await Generations.open(readConfig(generationsVariables, env), silentLog);
await promoteTo(generations, generation, {
  afterStep: (step) => {
    if (step === dieAfter) process.kill(process.pid, 'SIGKILL');
  },
});
await generations.close();

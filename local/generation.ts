/** Which generation of the topology runs on this machine: the live one, or the next where this build cannot read its state. */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { kafkaClient, type Admin, type KafkaConnection, type KafkaLog } from '../kafka/client.ts';
import { LogScanner } from '../kafka/scan.ts';
import { bridgeScript } from '../process/root.ts';
import { isReadable, storeNames } from '../topology/changelogs.ts';
import { ControlWatch } from '../topology/control.ts';
import { generationChangelog } from '../topology/generation.ts';
import { changelogEntries } from '../topology/history.ts';
import { StackError } from './errors.ts';

/** The generation to run. */
export interface LocalGeneration {
  readonly number: number;
  /** Whether it has to replace the live one, whose state this build cannot read. */
  readonly isNext: boolean;
}

/**
 * Finds the generation to run. In production nothing of this is automatic: a promotion there concerns readers that others own.
 * @param applicationId - of generation 0.
 */
export async function localGeneration(
  connection: KafkaConnection,
  { applicationId, log }: { applicationId: string; log: KafkaLog },
): Promise<LocalGeneration> {
  const clientId = `${applicationId}-start`;
  const control = await ControlWatch.open(connection, { applicationId, clientId, log });
  const live = control?.state.live ?? 0;
  await control?.close();
  const admin = kafkaClient(connection, { clientId, log }).admin();
  const scanner = new LogScanner(connection, { clientId, log });
  try {
    await admin.connect();
    const isNext = !(await canRead({ admin, scanner }, applicationId, live));
    return { number: isNext ? live + 1 : live, isNext };
  } finally {
    await Promise.all([scanner.close(), admin.disconnect()]);
  }
}

async function canRead(
  reader: { admin: Admin; scanner: LogScanner },
  applicationId: string,
  generation: number,
): Promise<boolean> {
  const existing = new Set(await reader.admin.listTopics());
  for (const store of storeNames) {
    const name = generationChangelog(applicationId, generation, store);
    if (!existing.has(name)) continue;
    const { length } = await reader.admin.fetchTopicOffsets(name);
    for (let partition = 0; partition < length; partition += 1)
      for (const { value } of await changelogEntries(reader, name, partition))
        if (!isReadable(store, value)) return false;
  }
  return true;
}

/** How long the next generation may take to compute what the raw topics hold. */
const promotedWithinMs = 10 * 60_000;
const askEveryMs = 1_000;
/** The exit code of a command whose precondition is not met: here that the candidate is not far enough yet. */
const refused = 4;

/**
 * Promotes the generation that was started, once it has caught up.
 * @throws StackError when it does not.
 */
export async function promoteLocal(
  generation: number,
  { env, write, signal }: { env: NodeJS.ProcessEnv; write: (line: string) => void; signal: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + promotedWithinMs;
  for (;;) {
    const { code, output } = await bridge(
      ['replay', 'promote', String(generation), '--readers-ready', '--wait', '30'],
      env,
    );
    if (code === 0) {
      for (const line of output.trim().split('\n')) write(`generation ${generation}: ${line}`);
      return;
    }
    if (code !== refused || performance.now() > deadline || signal.aborted)
      throw new StackError('PART_FAILED', `generation ${generation} could not be promoted: ${output.trim()}`);
    await sleep(askEveryMs, undefined, { signal }).catch(() => undefined);
  }
}

function bridge(args: readonly string[], env: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bridgeScript(), ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: `${stdout}${stderr}` });
    });
  });
}

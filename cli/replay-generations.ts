import { Option } from 'commander';
import { silentLog } from '../kafka/client.ts';
import { exitCode } from '../replay/exit.ts';
import { Generations, generationsVariables } from '../replay/generations.ts';
import { abortPromotion, discard, promote } from '../replay/promote.ts';
import { statusText } from '../replay/status-text.ts';
import { readStatus } from '../replay/status.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { generationOf, secondsOf } from './options.ts';
import { interruptible } from './interrupt.ts';

const statusDescription = `Show which generation is live, how far its candidate is, and in how many resources the candidate comes to something else than readers were told. It reads changelogs and offsets and changes nothing.

Exits with 1 when a generation that is no longer live should have been discarded 7 days ago, or on a failure, and with 4 without a control topic.`;

const promoteDescription = `Make a candidate live. The instances of the live generation finish what they have begun, leave their group and stay idle; the offsets that they have committed become the cut; the candidate takes over what readers were told, publishes from the cut on, and corrects what it says otherwise about earlier records. Readers wait for some seconds meanwhile.

Run it again after an interruption: it goes on where it was, with the options that it was begun with. Nobody publishes meanwhile. Until the candidate is live, --abort gives the promotion up. Exits with 4, and the reason, when a precondition is not met.`;

/** Adds `status`, `promote` and `discard` to `bridge replay`. */
export function defineGenerations(command: Command): void {
  command
    .command('status')
    .summary('Show the live generation, and how far its candidate is.')
    .description(statusDescription)
    .option('--json', 'print a JSON object')
    .environment(generationsVariables)
    .does(status);
  command
    .command('promote')
    .summary('Make a candidate live.')
    .description(promoteDescription)
    .argument('<generation>', 'the candidate, which is the live generation plus 1', generationOf)
    .option('--readers-ready', 'every reader is on contract version 2 and compares generations')
    .option(
      '--wait <seconds>',
      'how long the live instances may take to leave; after that the promotion gives itself up',
      secondsOf,
      600,
    )
    .option('--no-announce', 'announce no alert by a correction, not even one of the last 48 hours')
    .option(
      '--remove-unreadable',
      'remove events of records that the candidate cannot read, and dead-letter those',
    )
    .addOption(
      new Option(
        '--from <generation>',
        'refuse unless the candidate goes back to this generation: it was started with `bridge topology --from`',
      ).argParser(generationOf),
    )
    .addOption(
      new Option('--abort', 'give up a promotion that was begun: the live generation goes on').conflicts([
        'readersReady',
        'removeUnreadable',
        'from',
      ]),
    )
    .environment(generationsVariables)
    .does(promoteCommand);
  command
    .command('discard')
    .summary('Delete what a generation leaves behind.')
    .description(
      'Delete the group, the changelogs and the shadow topic of a generation that is live no more, or of a candidate that is not to be promoted. Stop its instances first. There is no way back to it afterwards.',
    )
    .argument('<generation>', 'the generation to delete', generationOf)
    .environment(generationsVariables)
    .does(discardCommand);
}

async function withGenerations<T>(work: (generations: Generations) => Promise<T>): Promise<T> {
  const generations = await Generations.open(configured(generationsVariables), silentLog);
  try {
    return await work(generations);
  } finally {
    await generations.close();
  }
}

function status({ json }: { json?: true }): Promise<number> {
  return withGenerations(async (generations) => {
    const found = await readStatus(generations);
    process.stdout.write(json === true ? `${JSON.stringify(found)}\n` : statusText(found));
    return found.to_discard.some(({ overdue }) => overdue) ? exitCode.failed : exitCode.done;
  });
}

interface PromoteFlags {
  readonly readersReady?: true;
  readonly wait: number;
  readonly announce: boolean;
  readonly removeUnreadable?: true;
  readonly from?: number;
  readonly abort?: true;
}

function promoteCommand(generation: number, flags: PromoteFlags): Promise<number> {
  const onStep = (text: string): void => void process.stdout.write(`${text}\n`);
  return withGenerations(async (generations) => {
    if (flags.abort === true) {
      await abortPromotion(generations, generation);
      onStep(`given up: generation ${generation - 1} goes on`);
      return exitCode.done;
    }
    await interruptible((signal) =>
      promote(generations, {
        generation,
        isReadersReady: flags.readersReady === true,
        waitMs: flags.wait * 1_000,
        announce: flags.announce,
        removeUnreadable: flags.removeUnreadable === true,
        from: flags.from,
        onStep,
        signal,
      }),
    );
    onStep('`bridge replay status` shows its corrections');
    return exitCode.done;
  });
}

function discardCommand(generation: number): Promise<number> {
  return withGenerations(async (generations) => {
    const topics = await discard(generations, generation);
    process.stdout.write(
      topics.length === 0 ? 'nothing to delete\n' : topics.map((name) => `deleted  ${name}\n`).join(''),
    );
    return exitCode.done;
  });
}

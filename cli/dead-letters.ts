import { writeFileSync } from 'node:fs';
import { InvalidArgumentError, Option } from 'commander';
import { silentLog } from '../kafka/client.ts';
import { parsePosition, positionName, readRecord, type Position, type Watch } from '../replay/reading.ts';
import {
  LetterCounts,
  lettersOf,
  readLetter,
  type DeadLetter,
  type LetterFilter,
} from '../replay/dead-letters.ts';
import { Deployment, replayVariables } from '../replay/deployment.ts';
import { exitCode, RefusedCommand } from '../replay/exit.ts';
import { progressBar } from '../replay/progress.ts';
import { retryLetters, type LeftOut, type Retried } from '../replay/retry.ts';
import { vendorNames } from '../vendors/index.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { interruptible } from './interrupt.ts';
import {
  letterJson,
  letterLine,
  letterText,
  retriedJson,
  retriedLines,
  shownLetter,
  table,
} from './letters-text.ts';

interface FilterOptions {
  readonly reason?: readonly string[];
  readonly operator?: readonly string[];
  readonly device?: readonly string[];
  readonly user?: readonly string[];
  readonly from?: number;
  readonly to?: number;
  readonly limit?: number;
}

interface RetryFlags extends FilterOptions {
  readonly older?: true;
  readonly again?: true;
  readonly commit?: true;
  readonly json?: true;
}

/** Letters that a list shows as text, unless it is asked for more. */
const shownLetters = 100;

/** `bridge dead-letters`. */
export function define(command: Command): void {
  command
    .description(
      'Look at the records that the topology could not process, and append them to their raw topics again. Prints no payload and no health value unless --values asks for them. Exits with 0 when done, 1 after a failure, 2 after a usage fault, 4 when it refuses, 130 when it was interrupted; it can be run again then.',
    )
    .environment(replayVariables);
  filtered(command.command('list'))
    .description(
      `Count the dead letters by device, operator and reason, then list the newest ${shownLetters}: their place, the place of the raw record, when that was received, operator, reason and message.`,
    )
    .option('--json', 'print each letter as one line of JSON instead, without the counts')
    .does(list);
  command
    .command('show')
    .description('Show one dead letter: headers, error and size.')
    .argument('<place>', 'topic:partition:offset of the letter', place)
    .option('--values', "show its body, and the values of the vendor's headers")
    .option('--out <file>', 'write the exact bytes of its body to a new file with mode 0600')
    .option('--json', 'print one line of JSON')
    .does(show);
  filtered(command.command('retry'))
    .description(
      'Show what the present topology, with its present state, makes of dead letters: events with topic, priority, triggers and event_id, why they are dropped, or why they fail again. With --commit, append them to their raw partitions: the original bytes, headers and timestamp, and the headers retry_of and retried_at. Takes the letters at the places, else those of the filters; none older than 7 days, and none that was appended again before.',
    )
    .argument('[places...]', 'topic:partition:offset of letters', places)
    .option('--commit', 'append; without it, nothing changes')
    .option(
      '--older',
      'also letters older than 7 days: a copy stays for another 28 days, and one that is older than the raw topic keeps records may be deleted before it is processed',
    )
    .option('--again', 'also letters that were appended again before: the topology drops what it knows')
    .option('--json', 'print each letter as one line of JSON')
    .does(retry);
}

function filtered(command: Command): Command {
  const several = (text: string, before: readonly string[] = []): string[] => [...before, ...text.split(',')];
  return command
    .option('--reason <code>', 'only of this reason; several by commas or repetition', several)
    .option('--operator <name>', 'only of this operator; several likewise', several)
    .addOption(
      new Option(
        '--device <name>',
        `only of this device (${vendorNames.join(', ')}); several likewise`,
      ).argParser((text: string, before: readonly string[] | undefined) => devices(several(text, before))),
    )
    .option(
      '--user <id>',
      'only of this user; several by repetition',
      (text: string, before?: readonly string[]) => [...(before ?? []), text],
    )
    .option('--from <instant>', 'only received at or after it: RFC 3339, or a date, UTC', instant)
    .option('--to <instant>', 'only received before it', instant)
    .option('--limit <number>', 'at most so many letters', whole);
}

function devices(names: readonly string[]): readonly string[] {
  const unknown = names.find((name) => !vendorNames.some((vendor) => vendor === name));
  if (unknown !== undefined) throw new InvalidArgumentError(`It must be one of ${vendorNames.join(', ')}.`);
  return names;
}

function instant(text: string): number {
  const isInstant = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d))?$/.test(text);
  const epochMs = Date.parse(text);
  if (!isInstant || Number.isNaN(epochMs))
    throw new InvalidArgumentError('It must be a date (2026-11-01) or RFC 3339 (2026-11-01T06:00:00Z).');
  return epochMs;
}

function whole(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number above 0.');
  return Number(text);
}

function place(text: string): Position {
  const position = parsePosition(text);
  if (position === undefined) throw new InvalidArgumentError('It must be topic:partition:offset.');
  return position;
}

function places(text: string, before: readonly Position[] = []): readonly Position[] {
  return [...before, place(text)];
}

function filterOf({ reason, operator, device, user, from, to }: FilterOptions): LetterFilter {
  return {
    ...(reason === undefined ? {} : { reasons: new Set(reason) }),
    ...(operator === undefined ? {} : { operators: new Set(operator) }),
    ...(device === undefined ? {} : { vendors: new Set(device) }),
    ...(user === undefined ? {} : { users: new Set(user) }),
    ...(from === undefined ? {} : { fromMs: from }),
    ...(to === undefined ? {} : { toMs: to }),
  };
}

/** Runs `work` on the deployment of the environment. */
async function onDeployment(
  label: string,
  work: (deployment: Deployment, watch: Watch) => Promise<number>,
): Promise<number> {
  const config = configured(replayVariables);
  return interruptible(async (signal) => {
    const deployment = await Deployment.open(config, { clientId: 'bridge-dead-letters', log: silentLog });
    const progress = progressBar(label, 0);
    try {
      return await work(deployment, { signal, progress });
    } finally {
      progress.stop();
      await deployment.close();
    }
  });
}

async function list(options: FilterOptions & { readonly json?: true }): Promise<number> {
  const json = on(options.json);
  const { limit = json ? Infinity : shownLetters } = options;
  const filter = filterOf(options);
  return onDeployment('dead letters', async (deployment, watch) => {
    const counts = new LetterCounts();
    let newest: DeadLetter[] = [];
    let foreign = 0;
    const keep = (most: number): void => {
      if (newest.length <= most) return;
      newest = newest.sort((a, b) => a.receivedAt - b.receivedAt).slice(-limit);
    };
    for (let partition = 0; partition < deployment.partitions; partition += 1)
      for await (const { letter } of lettersOf(deployment, partition, filter, {
        ...watch,
        onForeign: () => (foreign += 1),
      })) {
        counts.add(letter);
        if (!json) newest.push(letter);
        else if (counts.total <= limit) print(letterJson(letter));
        keep(2 * limit);
      }
    watch.progress.stop();
    if (foreign > 0)
      warn(`${foreign} records of ${deployment.topics.deadLetters} are no letters of this topology`);
    if (json) return exitCode.done;
    if (counts.total === 0) {
      print('no dead letters');
      return exitCode.done;
    }
    keep(0);
    print(table(counts.rows));
    print('');
    for (const letter of newest) print(letterLine(letter));
    if (counts.total > newest.length)
      print(`the newest ${newest.length} of ${counts.total}; --limit shows more`);
    return exitCode.done;
  });
}

interface ShowOptions {
  readonly values?: true;
  readonly out?: string;
  readonly json?: true;
}

async function show(position: Position, { values, out, json }: ShowOptions): Promise<number> {
  return onDeployment('dead letter', async (deployment, watch) => {
    checkTopic(deployment, [position]);
    const record = await readRecord(deployment, position, watch);
    const letter = record && readLetter(record, deployment.topics);
    if (record === undefined || letter === undefined)
      throw new RefusedCommand(`there is no dead letter at ${positionName(position)}, or no longer`);
    watch.progress.stop();
    const shown = shownLetter(letter, record, on(values));
    print(json === true ? JSON.stringify(shown) : letterText(shown));
    if (out === undefined) return exitCode.done;
    if (record.value === null) throw new RefusedCommand(`the letter has no body: ${out} was not written`);
    writeOut(out, record.value);
    warn(`wrote ${record.value.length} bytes to ${out}`);
    return exitCode.done;
  });
}

/** Writes a file that nobody else may read. @throws RefusedCommand when it exists: it might be readable for others. */
function writeOut(file: string, bytes: Buffer): void {
  try {
    writeFileSync(file, bytes, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    if (code === 'EEXIST') throw new RefusedCommand(`${file} exists: name a new file, or remove it`);
    throw new Error(`${file} cannot be written (${code})`, { cause: error });
  }
}

/** @throws InvalidArgumentError when a place is in another topic than that of the dead letters. */
function checkTopic({ topics }: Deployment, positions: readonly Position[]): void {
  const other = positions.find(({ topic }) => topic !== topics.deadLetters);
  if (other !== undefined)
    throw new InvalidArgumentError(
      `${positionName(other)} is no place of the dead-letter topic, ${topics.deadLetters}`,
    );
}

async function retry(positions: readonly Position[] | undefined, options: RetryFlags): Promise<number> {
  const { limit = Infinity, json } = options;
  const [older, again, commit] = [on(options.older), on(options.again), on(options.commit)];
  const filter = filterOf(options);
  const chosen = positions ?? [];
  if (chosen.length > 0 && Object.keys(filter).length > 0)
    throw new InvalidArgumentError('name either places or filters');
  return onDeployment('retry', async (deployment, watch) => {
    checkTopic(deployment, chosen);
    const all: Retried[] = [];
    let leftOut: LeftOut = { tooOld: 0, beyondLimit: 0 };
    try {
      leftOut = await retryLetters(
        deployment,
        { positions: chosen, filter, limit, older, again, commit, nowMs: Date.now(), log: silentLog },
        watch,
        (retried) => all.push(retried),
      );
    } finally {
      watch.progress.stop();
      // Also after an interruption or a failure: what was appended stays.
      for (const retried of all) print(json === true ? retriedJson(retried) : retriedLines(retried));
      if (json !== true) print(summary(all, leftOut, commit));
    }
    const isFailed = ({ did }: Retried): boolean => did === 'refused' || (commit && did === 'not_retriable');
    return all.some(isFailed) ? exitCode.failed : exitCode.done;
  });
}

function summary(all: readonly Retried[], { tooOld, beyondLimit }: LeftOut, commit: boolean): string {
  const count = (did: Retried['did']): number => all.filter((one) => one.did === did).length;
  const parts = [
    `${count('appended')} appended`,
    ...(commit ? [] : [`${count('previewed')} to append`]),
    `${count('already_retried')} appended before`,
    `${count('not_retriable')} not retriable`,
    `${count('refused')} refused by the broker`,
    `${tooOld} older than 7 days`,
    `${beyondLimit} beyond the limit`,
  ].filter((part) => !part.startsWith('0 ') || part === '0 appended' || part === '0 to append');
  const hint = !commit && count('previewed') > 0 ? '; --commit appends' : '';
  return `${parts.join(', ')}${hint}`;
}

function on(flag: true | undefined): boolean {
  return flag === true;
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function warn(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** What `bridge replay diff` prints: no measurement, so that it can be pasted anywhere, unless values are asked for. */
import {
  apartClasses,
  counted,
  countedClasses,
  type DifferenceClass,
  type DifferenceLine,
} from './diff-counts.ts';
import type { DeviceDiff } from './diff-run.ts';

const titles: Readonly<Record<DifferenceClass, string>> = {
  changed: 'changed',
  re_routed: 're-routed',
  added: 'added',
  removed: 'removed',
  now_dead_lettered: 'now dead-lettered',
  no_longer_dead_lettered: 'no longer dead-lettered',
  superseded: 'in versions that newer ones have replaced',
  incomplete_day: 'in HealthKit days that began before the records',
  not_comparable: 'added, or published once and deleted since',
  before_promotion: 'dead letters alone, from before the last promotion',
  baseline_only: 'in nothing but the baseline',
  other_reason: 'dead-lettered for another reason',
};

/** The report as text. */
export function diffText(devices: readonly DeviceDiff[]): string {
  const all = devices.reduce((sum, device) => sum + counted(device), 0);
  const end = all === 0 ? 'no difference' : `${amount(all)} ${all === 1 ? 'difference' : 'differences'}`;
  return `${devices.map(deviceText).join('\n')}\n${end}\n`;
}

function deviceText(found: DeviceDiff): string {
  const { device, compared, unchanged, classes, fields, routes } = found;
  const lines = [`${device}: ${amount(compared)} raw records compared, ${amount(unchanged)} unchanged`];
  for (const name of countedClasses) lines.push(...classText(name, found));
  if (Object.keys(fields).length > 0) lines.push(`  fields: ${tally(fields)}`);
  if (Object.keys(routes).length > 0) lines.push(`  routes: ${tally(routes)}`);
  if (apartClasses.some((name) => classes[name] !== undefined)) lines.push('  apart, and no differences:');
  for (const name of apartClasses) lines.push(...classText(name, found).map((line) => `  ${line}`));
  lines.push(...notes(found).map((note) => `  note: ${note}`));
  return `${lines.join('\n')}\n`;
}

function classText(name: DifferenceClass, { classes, examples }: DeviceDiff): string[] {
  const count = classes[name];
  if (count === undefined) return [];
  return [
    `  ${titles[name]}: ${amount(count)}`,
    ...(examples[name] ?? []).map((line) => `    ${exampleText(line)}`),
  ];
}

function exampleText({ raw, fields, events, dead_letter: letter }: DifferenceLine): string {
  const parts = [raw];
  if (letter !== undefined)
    parts.push(`${letter.published ?? 'no dead letter'} -> ${letter.recomputed ?? 'none'}`);
  for (const { published, recomputed, values } of events) {
    const ids = [published?.event_id, recomputed?.event_id].filter((id) => id !== undefined);
    parts.push(`event ${[...new Set(ids)].join(' -> ')}`);
    if (values !== undefined) parts.push(JSON.stringify(values));
  }
  if (fields.length > 0) parts.push(`(${fields.join(', ')})`);
  return parts.join(' ');
}

/** What the reader needs to know about how far the comparison reaches. */
function notes({
  device,
  startMs,
  completeFromMs,
  seeded,
  uncertain,
  outOfOrder,
  unreadable,
}: DeviceDiff): string[] {
  const all: string[] = [];
  if (startMs !== undefined)
    all.push(
      `records before ${instant(startMs)} are not compared; ${amount(seeded)} entries of state stand for them`,
    );
  if (completeFromMs === Infinity)
    all.push('an output topic has lost all it held: what was added cannot be told from what was deleted');
  else if (completeFromMs > -Infinity)
    all.push(
      `outputs from before ${instant(completeFromMs)} may be deleted: what was added is reported from then on`,
    );
  if (uncertain > 0)
    all.push(
      `${amount(uncertain)} rows of state are of a build that noted no offsets: a record of ${device} may be compared with itself until they have expired, 35 days after that build`,
    );
  if (outOfOrder > 0)
    all.push(`${amount(outOfOrder)} outputs are out of order, or there twice; bridge audit names them`);
  if (unreadable > 0)
    all.push(`${amount(unreadable)} records of output topics are no outputs of the topology`);
  return all;
}

/** The report as one JSON object. */
export function diffJson(devices: readonly DeviceDiff[]): string {
  const differences = devices.reduce((sum, device) => sum + counted(device), 0);
  const all = devices.map(({ startMs, completeFromMs, outOfOrder, examples, ...counts }) => ({
    ...counts,
    out_of_order: outOfOrder,
    compared_from: startMs === undefined ? null : instant(startMs),
    // Infinity when an output topic has lost everything.
    outputs_complete_from: Number.isFinite(completeFromMs) ? instant(completeFromMs) : null,
    examples: Object.fromEntries(
      Object.entries(examples).map(([name, lines]) => [
        name,
        // A user id is useful only in the file that lists everything.
        lines.map((line) => ({ ...line, user: undefined })),
      ]),
    ),
  }));
  return `${JSON.stringify({ differences, devices: all })}\n`;
}

function tally(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${name} ${amount(count)}`)
    .join(', ');
}

function amount(count: number): string {
  return count.toLocaleString('en-US');
}

function instant(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** What an audit prints: a table per vendor, and its exceptions. */
import { doubts, type Doubt } from './audit-judge.ts';
import {
  ends,
  exceptionKinds,
  sumOf,
  type AuditException,
  type Counts,
  type ExceptionKind,
  type VendorFigures,
} from './audit-figures.ts';
import type { AuditResult } from './audit.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';

/** What an audit prints besides its figures. */
export interface AuditListing {
  readonly vendors: readonly VendorName[];
  /** The first exceptions; the figures say how many there are. */
  readonly exceptions: readonly AuditException[];
  readonly nowMs: number;
}

/** The number of all exceptions. */
export function exceptionsIn({ figures }: AuditResult): number {
  return vendorNames.reduce((sum, vendor) => sum + sumOf(figures[vendor].exceptions), 0);
}

export function auditText(result: AuditResult, { vendors, exceptions, nowMs }: AuditListing): string {
  const lines = vendors.flatMap((vendor) => vendorLines(vendor, result.figures[vendor], nowMs));
  for (const note of result.notes) lines.push(`note: ${note}`, '');
  const all = exceptionsIn(result);
  if (all === 0) lines.push('No exceptions.');
  else {
    lines.push(`${number(all)} ${all === 1 ? 'exception' : 'exceptions'}:`);
    for (const kind of Object.keys(exceptionKinds) as ExceptionKind[]) {
      const of = vendors.reduce((sum, vendor) => sum + (result.figures[vendor].exceptions.get(kind) ?? 0), 0);
      if (of > 0) lines.push(`  ${kind}: ${exceptionKinds[kind]} (${number(of)})`);
    }
    lines.push('');
    for (const { kind, raw, output, what } of exceptions) {
      const place = [raw, output === undefined ? undefined : `output ${output}`].filter(Boolean).join(', ');
      lines.push(`${kind}  ${place}: ${what}`);
    }
    if (all > exceptions.length)
      lines.push(`The first ${exceptions.length} of ${number(all)}; --out writes all of them to a file.`);
  }
  return `${lines.join('\n')}\n`;
}

const nameWidth = 44;

function vendorLines(vendor: VendorName, figures: VendorFigures, nowMs: number): string[] {
  const outside =
    figures.outside === 0 ? '' : `, ${number(figures.outside)} more processed outside the range`;
  const lines = [row(vendor, figures.records, ` raw records${outside}`)];
  const { oldestPending } = figures;
  for (const end of ends) {
    const counts = figures.ends[end];
    const sum = sumOf(counts);
    if (sum === 0) continue;
    const waits = end === 'pending' && oldestPending !== undefined;
    lines.push(row(`  ${end}`, sum, waits ? `  the oldest for ${age(nowMs - oldestPending)}` : ''));
    if (end === 'pending' || (end === 'events' && counts.size === 1)) continue;
    lines.push(...rows(counts));
  }
  const groups: [string, Counts][] = [
    ['outputs', figures.outputs],
    ['not compared in full', figures.uncompared],
    ['notifications', figures.notifications],
    ['exceptions by kind', figures.exceptions],
  ];
  for (const [name, counts] of groups) if (sumOf(counts) > 0) lines.push(`  ${name}`, ...rows(counts));
  const used = new Set([...figures.ends.unprovable.keys(), ...figures.uncompared.keys()]);
  for (const reason of used) if (reason in doubts) lines.push(`  ${reason}: ${doubts[reason as Doubt]}`);
  return [...lines, ''];
}

function rows(counts: Counts): string[] {
  return [...counts]
    .filter(([, of]) => of > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, of]) => row(`    ${name}`, of));
}

function row(name: string, of: number, more = ''): string {
  return `${name.padEnd(nameWidth)}${number(of).padStart(12)}${more}`;
}

function number(value: number): string {
  return value.toLocaleString('en');
}

function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} days`;
}

/** One JSON object: figures by vendor, the first exceptions, and the number of all. */
export function auditJson(result: AuditResult, { vendors, exceptions }: AuditListing): string {
  const object = (counts: Counts): object => Object.fromEntries(counts);
  const figures = vendors.map((vendor) => {
    const of = result.figures[vendor];
    return [
      vendor,
      {
        records: of.records,
        outside: of.outside,
        ends: Object.fromEntries(ends.map((end) => [end.replace(' ', '_'), object(of.ends[end])])),
        outputs: object(of.outputs),
        uncompared: object(of.uncompared),
        notifications: object(of.notifications),
        exceptions: object(of.exceptions),
        oldest_pending: of.oldestPending === undefined ? null : new Date(of.oldestPending).toISOString(),
      },
    ];
  });
  const { build, applicationId, notes } = result;
  return `${JSON.stringify({
    build,
    group: applicationId,
    devices: Object.fromEntries(figures) as object,
    exceptions: exceptionsIn(result),
    examples: exceptions,
    notes,
  })}\n`;
}

/** Figures: what was measured in pairs of runs, ours and the peer's, and how it compares. */

/** What a figure has to be: of our own values, or of ours over the peer's. */
export interface Goal {
  readonly of: 'ours' | 'ratio';
  readonly is: 'at least' | 'at most';
  readonly value: number;
}

/** One run of one side. */
export interface Run {
  readonly value: number;
  /** What the broker took meanwhile; undefined where the broker is no process of ours. */
  readonly brokerCpuSeconds?: number | undefined;
}

/** Two runs one right after the other, in whichever order. The peer's is absent where there is no peer. */
export interface Pair {
  readonly ours: Run;
  readonly peer?: Run | undefined;
}

export interface Figure {
  readonly figure: string;
  readonly unit: string;
  readonly pairs: readonly Pair[];
  /** All of them have to hold. */
  readonly goals: readonly Goal[];
  readonly details?: Readonly<Record<string, unknown>>;
}

/** A figure as it is written, one JSON line. */
export interface FigureLine {
  readonly figure: string;
  readonly unit: string;
  readonly ours: number;
  readonly peer: number | null;
  readonly ratio: number | null;
  readonly ours_min: number;
  readonly ours_max: number;
  readonly peer_min: number | null;
  readonly peer_max: number | null;
  readonly ratio_min: number | null;
  readonly ratio_max: number | null;
  readonly broker_cpu_s_ours: number | null;
  readonly broker_cpu_s_peer: number | null;
  readonly pairs: number;
  readonly goal: string | null;
  /** Null where there is no goal, or no peer to tell by. */
  readonly met: boolean | null;
  readonly [detail: string]: unknown;
}

/** The middle value, or the mean of the two in the middle; null of none. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const above = sorted[Math.floor(sorted.length / 2)];
  const below = sorted[Math.ceil(sorted.length / 2) - 1];
  return above === undefined || below === undefined ? null : (above + below) / 2;
}

/** The value below which that part of all lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}

/** Medians, extremes and the verdict. The ratio is the median of the pairs' own, so that a slow minute hits both sides. */
export function summarize({ figure, unit, pairs, goals, details }: Figure): FigureLine {
  const ours = pairs.map((pair) => pair.ours.value);
  const peers = pairs.flatMap(({ peer }) => (peer === undefined ? [] : [peer.value]));
  const ratios = pairs.flatMap(({ ours, peer }) => (peer === undefined ? [] : [ours.value / peer.value]));
  const middle = { ours: median(ours), ratio: median(ratios) };
  if (middle.ours === null) throw new Error(`figure ${figure} was not measured`);
  return {
    figure,
    unit,
    ours: rounded(middle.ours),
    peer: roundedOrNull(median(peers)),
    ratio: roundedOrNull(middle.ratio),
    ours_min: rounded(Math.min(...ours)),
    ours_max: rounded(Math.max(...ours)),
    peer_min: peers.length === 0 ? null : rounded(Math.min(...peers)),
    peer_max: peers.length === 0 ? null : rounded(Math.max(...peers)),
    ratio_min: ratios.length === 0 ? null : rounded(Math.min(...ratios)),
    ratio_max: ratios.length === 0 ? null : rounded(Math.max(...ratios)),
    broker_cpu_s_ours: brokerCpu(pairs.map((pair) => pair.ours)),
    broker_cpu_s_peer: brokerCpu(pairs.map((pair) => pair.peer)),
    pairs: pairs.length,
    goal: goals.length === 0 ? null : goals.map(inWords).join(' and '),
    met: isMet(goals, { ours: middle.ours, ratio: middle.ratio }),
    ...details,
  };
}

/** Lines for people: a table of all figures. */
export function table(lines: readonly FigureLine[]): string {
  const head = ['figure', 'unit', 'ours', 'peer', 'ratio', 'goal', 'met?'];
  const rows = lines.map(({ figure, unit, ours, peer, ratio, goal, met }) => [
    figure,
    unit,
    shownNumber(ours),
    peer === null ? '' : shownNumber(peer),
    ratio === null ? '' : ratio.toFixed(2),
    goal ?? '',
    met === null ? '' : met ? 'yes' : 'no',
  ]);
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => (row[at] ?? '').length)));
  const isNumber = (at: number): boolean => at >= 2 && at <= 4;
  return [head, widths.map((width) => '-'.repeat(width)), ...rows]
    .map((row) =>
      row
        .map((cell, at) => (isNumber(at) ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function inWords({ of, is, value }: Goal): string {
  return `${of} ${is === 'at least' ? '>=' : '<='} ${value >= 10_000 ? value.toLocaleString('en') : value}`;
}

/** One goal that is missed decides, also where another cannot be judged. */
function isMet(goals: readonly Goal[], middle: { ours: number; ratio: number | null }): boolean | null {
  const verdicts = goals.map(({ of, is, value }) => {
    const measured = middle[of];
    if (measured === null) return null;
    return is === 'at least' ? measured >= value : measured <= value;
  });
  if (verdicts.includes(false)) return false;
  return verdicts.length === 0 || verdicts.includes(null) ? null : true;
}

function brokerCpu(runs: readonly (Run | undefined)[]): number | null {
  const seconds = runs.flatMap((run) => run?.brokerCpuSeconds ?? []);
  return roundedOrNull(median(seconds));
}

/** Four significant digits, and whole numbers whole: more would claim what no two runs agree in. */
export function rounded(value: number): number {
  return Math.abs(value) >= 1_000 ? Math.round(value) : Number(value.toPrecision(4));
}

function roundedOrNull(value: number | null): number | null {
  return value === null ? null : rounded(value);
}

function shownNumber(value: number): string {
  return value.toLocaleString('en', { maximumSignificantDigits: Math.abs(value) >= 1_000 ? 21 : 4 });
}

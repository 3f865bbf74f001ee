/** What a process took of the machine, as Linux counts it. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** @throws Error on a system without /proc. */
export function assertLinux(): void {
  if (!existsSync('/proc/self/stat'))
    throw new Error('the bench reads processor time and memory from /proc, so it needs Linux');
}

let ticks: number | undefined;

/** Seconds of processor time that a process has taken since its start, in all its threads. */
export function cpuSeconds(pid: number): number {
  ticks ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name in parentheses may hold anything; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticks;
}

/** The most memory that a process has held so far (VmHWM), in MiB. */
export function peakMiB(pid: number | 'self'): number {
  return statusMiB(pid, 'VmHWM');
}

/** The memory that a process holds now (VmRSS), in MiB. */
export function residentMiB(pid: number | 'self'): number {
  return statusMiB(pid, 'VmRSS');
}

function statusMiB(pid: number | 'self', name: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN) / 1_024;
}

/** The disk that the files of a directory take, in MiB: Kafka's indexes are longer than what is in them. */
export function allocatedMiB(directory: string): number {
  const blocks = readdirSync(directory).map(
    // The broker deletes and renames files meanwhile.
    (name) => statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0,
  );
  return blocks.reduce((sum, count) => sum + count * 512, 0) / 1_048_576;
}

/** Milliseconds on the clock that all processes of the machine share and nobody sets. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** How often a property is tried; ALERT_RUNS multiplies it. */
export function runs(usual: number): number {
  return usual * Number(process.env['ALERT_RUNS'] ?? '1');
}

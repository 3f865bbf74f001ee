/** How a program of the bench is told what to do, and how it answers: one line of JSON each. */
export function settings(): unknown {
  return JSON.parse(process.argv[2] ?? '{}');
}

export function answer(result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

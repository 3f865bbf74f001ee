import { InvalidArgumentError } from 'commander';

/** A generation as an argument. */
export function generationOf(text: string): number {
  return wholeNumber(text, 0, 1_000_000);
}

/** Seconds as an option, at most a day. */
export function secondsOf(text: string): number {
  return wholeNumber(text, 1, 86_400);
}

function wholeNumber(text: string, min: number, max: number): number {
  const number = Number(text);
  if (!/^\d{1,7}$/.test(text) || number < min || number > max)
    throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`);
  return number;
}

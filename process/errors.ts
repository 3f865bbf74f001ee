/**
 * The chain of causes of an error, the error itself first. Follows `cause` and kafkajs' own `originalError`, at most
 * eight links.
 */
export function causes(error: unknown): Error[] {
  const chain: Error[] = [];
  let link: unknown = error;
  while (link instanceof Error && chain.length < 8) {
    chain.push(link);
    link = link.cause ?? ('originalError' in link ? link.originalError : undefined);
  }
  return chain;
}

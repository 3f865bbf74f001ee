/**
 * Extracts path and query of a request's target, also from the absolute form that proxies may use. Undefined for anything
 * else: URL parsers throw on some targets or print them with a warning, and a target may hold a token.
 */
export function originForm(target: string): string | undefined {
  if (/^\/[!-"$-~]*$/.test(target)) return target;
  if (!/^https?:\/\/[!-"$-~]*$/i.test(target) || !URL.canParse(target)) return undefined;
  const { pathname, search } = new URL(target);
  return pathname + search;
}

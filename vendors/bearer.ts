import { isUtf8 } from 'node:buffer';
import { createHmac } from 'node:crypto';
import { idText } from './json.ts';

/**
 * Creates the bearer token of a user: `<u>.<HMAC-SHA256 over the text u>`, where u is the user's id, both in base64url
 * without padding. It needs no database and stays valid until its secret is retired or its user is revoked.
 * @param userId - an id that `idText` accepts; a token of any other id never verifies.
 */
export function bearerToken(userId: string, secret: string): string {
  const signed = Buffer.from(userId, 'utf8').toString('base64url');
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** Parses an Authorization header without verifying it; undefined when it holds no token of this form. */
export function readBearer(
  header: string,
): { readonly signed: string; readonly userId: string; readonly digest: string } | undefined {
  const [, signed, digest] = /^Bearer +([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)$/i.exec(header) ?? [];
  if (signed === undefined || digest === undefined) return undefined;
  const bytes = Buffer.from(signed, 'base64url');
  // Refuse a second encoding of an id, and bytes that are not UTF-8: decoding could make them another user's id.
  if (bytes.toString('base64url') !== signed || !isUtf8(bytes)) return undefined;
  const userId = idText(bytes.toString('utf8'));
  return userId === null ? undefined : { signed, userId, digest };
}

import { createHmac } from 'node:crypto';

/**
 * The headers that senders prove themselves with, written from the vendors' side: nothing of the ingress is used here,
 * so that a fault of its own would be seen in the sample traffic.
 */
export type Signature = (secret: string, body: Buffer) => Record<string, string>;

/** The bridge's own scheme: the hex HMAC-SHA256 of the body. */
export function plainSignature(secret: string, body: Buffer): Record<string, string> {
  return { signature: createHmac('sha256', secret).update(body).digest('hex') };
}

/** Oura's: upper-case hex over the timestamp's text and the body. */
export function ouraSignature(secret: string, body: Buffer): Record<string, string> {
  const timestamp = String(Date.now());
  const digest = createHmac('sha256', secret).update(timestamp).update(body).digest('hex');
  return { 'x-oura-timestamp': timestamp, 'x-oura-signature': digest.toUpperCase() };
}

/** WHOOP's: base64 over the timestamp's text and the body. */
export function whoopSignature(secret: string, body: Buffer): Record<string, string> {
  const timestamp = String(Date.now());
  const digest = createHmac('sha256', secret).update(timestamp).update(body).digest('base64');
  return { 'x-whoop-signature-timestamp': timestamp, 'x-whoop-signature': digest };
}

/** Terra's: the time in seconds and hex over it, a dot and the body, in one header under its new and its old name. */
export function terraSignature(secret: string, body: Buffer): Record<string, string> {
  const t = String(Math.floor(Date.now() / 1_000));
  const digest = createHmac('sha256', secret).update(`${t}.`).update(body).digest('hex');
  const header = `t=${t},v1=${digest}`;
  return { 'x-terra-signature': header, 'terra-signature': header };
}

/** The header of a phone that bears the token of its user. */
export function healthkitToken(secret: string, user: string): Record<string, string> {
  const signed = Buffer.from(user, 'utf8').toString('base64url');
  const digest = createHmac('sha256', secret).update(signed).digest('base64url');
  return { authorization: `Bearer ${signed}.${digest}` };
}

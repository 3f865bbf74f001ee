/** Requests that no vendor sends, as bytes, which follow from random numbers; and now and then one that a vendor does. */
import { hex } from '../ingress/harness.ts';

export interface StrangeRequest {
  readonly bytes: Buffer;
  /** Bodies in it that were signed for that device: they may be kept, and nothing else may. */
  readonly authentic: readonly { readonly device: Device; readonly body: Buffer }[];
}

export const fuzzDevices = ['oura', 'whoop', 'terra', 'healthkit'] as const;
export type Device = (typeof fuzzDevices)[number];

/** @param secrets - of each device. */
export function strangeRequest(
  random: () => number,
  secrets: Readonly<Record<Device, string>>,
): StrangeRequest {
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const bytesOf = (length: number): Buffer => Buffer.from(Array.from({ length }, () => below(256)));
  const text = (length: number): string =>
    Array.from({ length }, () => String.fromCharCode(33 + below(94))).join('');

  const device = pick(fuzzDevices);
  const json = (): Buffer => {
    const value = pick<unknown>([
      { user_id: text(1 + below(12)), hrv_data: { rmssd: below(200) }, n: random() },
      { user_id: below(1e9), user: { user_id: text(3), reference_id: pick([null, text(4)]) }, n: random() },
      [random(), text(below(40)), null],
      random(),
      text(below(2_000)),
    ]);
    return Buffer.from(JSON.stringify(value));
  };
  const body = pick([
    json,
    json,
    () => bytesOf(below(300)),
    () => Buffer.from('['.repeat(below(3_000))),
    () => Buffer.from(JSON.stringify({ user_id: '\ud83d\ude00'.repeat(below(90)), n: random() })),
    () => Buffer.alloc(below(3) === 0 ? 90_000 : 2_000, text(1)),
    () => Buffer.alloc(0),
  ])();
  const signature = hex(secrets[device], body);
  const target = pick([
    `/webhook/${device}`,
    `/webhook/${device}`,
    `/webhook/${device}?${text(below(30)).replaceAll('#', '')}`,
    `http://edge/webhook/${device}`,
  ]);
  const request = (options: {
    method?: string;
    target?: string;
    version?: string;
    headers?: readonly (readonly [string, string])[];
    body?: Buffer;
  }): Buffer =>
    Buffer.concat([
      Buffer.from(
        `${options.method ?? 'POST'} ${options.target ?? target} HTTP/${options.version ?? '1.1'}\r\nhost: edge\r\n` +
          (options.headers ?? []).map(([name, value]) => `${name}: ${value}\r\n`).join('') +
          '\r\n',
        'latin1',
      ),
      options.body ?? body,
    ]);
  const length = ['content-length', String(body.length)] as const;
  const signed = [['signature', pick(['', 'sha256=']) + signature], length] as const;
  const chunked = (given: Buffer): Buffer => {
    const parts: Buffer[] = [];
    for (let at = 0; at < given.length;) {
      const size = Math.min(given.length - at, 1 + below(5_000));
      parts.push(Buffer.from(`${size.toString(16)}\r\n`), given.subarray(at, at + size), Buffer.from('\r\n'));
      at += size;
    }
    return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
  };
  const authentic = [{ device, body }];
  const none = (bytes: Buffer): StrangeRequest => ({ bytes, authentic: [] });
  const some = (bytes: Buffer): StrangeRequest => ({ bytes, authentic });

  return pick<() => StrangeRequest>([
    // Valid requests: whole, in chunks, two in one write, after a 100 Continue.
    () => some(request({ headers: signed })),
    () => some(request({ headers: [signed[0], ['transfer-encoding', 'chunked']], body: chunked(body) })),
    () => ({
      bytes: Buffer.concat([request({ headers: signed }), request({ headers: signed })]),
      authentic: [...authentic, ...authentic],
    }),
    () =>
      some(request({ headers: [...signed, ['expect', pick(['100-continue', '100-Continue', text(5)])]] })),
    // Signatures: of others, malformed, doubled, long, of another route.
    () => none(request({ headers: [['signature', hex(text(8), body)], length] })),
    () => none(request({ headers: [['signature', text(below(200))], length] })),
    () => none(request({ headers: [...signed, ['signature', signature]] })),
    () => none(request({ headers: [length] })),
    () => none(request({ target: `/webhook/${pick(fuzzDevices)}x`, headers: signed })),
    () => none(request({ headers: [['authorization', `Bearer ${text(below(300))}`], length] })),
    () =>
      none(request({ headers: [['x-oura-signature', signature], ['x-oura-timestamp', text(13)], length] })),
    () => none(request({ headers: [['terra-signature', `t=${below(2e9)},v1=${signature}`], length] })),
    // Methods and targets.
    () =>
      none(
        request({
          method: pick(['GET', 'PUT', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'BREW']),
          headers: signed,
        }),
      ),
    () => none(request({ target: `/${text(below(60))}`, headers: signed })),
    () =>
      none(
        request({
          target: pick([
            '/webhook/%6fura',
            '//webhook/oura',
            '/webhook/oura/',
            '*',
            '/..%2f',
            '/%',
            `/${'a/'.repeat(900)}`,
          ]),
          headers: signed,
        }),
      ),
    () =>
      none(
        request({
          method: 'GET',
          target: `/webhook/oura?verification_token=${text(5)}&challenge=${text(5)}`,
          body: Buffer.alloc(0),
        }),
      ),
    () =>
      none(request({ method: 'GET', target: pick(['/health', '/livez', '/readyz']), body: Buffer.alloc(0) })),
    // Encodings and framing.
    () =>
      none(
        request({
          headers: [...signed, ['content-encoding', pick(['gzip', 'br', text(4), 'identity, gzip'])]],
        }),
      ),
    () => some(request({ headers: [...signed, ['content-encoding', pick(['identity', 'IDENTITY'])]] })),
    () =>
      some(
        request({
          headers: [...signed, ['transfer-encoding', pick(['chunked', 'gzip', 'chunked, gzip'])]],
          body: chunked(body),
        }),
      ),
    () => some(request({ headers: [...signed, ['content-length', String(below(1_000))]] })),
    () =>
      some(
        request({
          headers: [
            signed[0],
            [
              'content-length',
              pick(['-1', '1e3', '0x10', '99999999999999999999', '104857600', ' ', text(4)]),
            ],
          ],
        }),
      ),
    () =>
      none(
        request({
          headers: [signed[0], ['transfer-encoding', 'chunked']],
          body: Buffer.from(`${text(3)}\r\n${text(20)}\r\n`),
        }),
      ),
    () =>
      none(
        request({
          headers: [
            ['signature', 'a'.repeat(64)],
            ['transfer-encoding', 'chunked'],
          ],
          body: chunked(Buffer.alloc(150_000, 'x')),
        }),
      ),
    () =>
      none(
        request({
          headers: [...signed.slice(0, 1), ['content-length', String(body.length + 1 + below(1_000))]],
        }),
      ),
    // Heads: large, many, without a host, other versions, bytes that no head holds.
    () => none(request({ headers: [[text(3).replaceAll(':', '-'), 'x'.repeat(17_000)], ...signed] })),
    () =>
      some(
        request({
          headers: [
            ...Array.from({ length: below(300) }, (_, n) => [`x-${n}`, text(10)] as const),
            ...signed,
          ],
        }),
      ),
    () => some(request({ version: pick(['1.0', '0.9', '2.0', '1.1', '9']), headers: signed })),
    () =>
      some(
        request({ headers: [...signed, ['upgrade', pick(['h2c', 'websocket'])], ['connection', 'upgrade']] }),
      ),
    () =>
      some(
        Buffer.from(request({ headers: signed }).toString('latin1').replace('host: edge\r\n', ''), 'latin1'),
      ),
    () =>
      some(
        request({
          headers: [
            ...signed,
            ['x-terra-trace-id', bytesOf(below(40)).toString('latin1')],
            ['traceparent', text(55)],
          ],
        }),
      ),
    // Anything.
    () => none(bytesOf(1 + below(500))),
    () => none(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')),
    () => none(Buffer.from(`${text(below(20_000))}\r\n\r\n`)),
    // A valid one with a few bytes changed, or truncated.
    () => {
      const bytes = request({ headers: signed });
      for (let change = 0; change <= below(4); change += 1) bytes[below(bytes.length)] = below(256);
      return some(bytes);
    },
    () => {
      const bytes = request({ headers: signed });
      return some(bytes.subarray(0, below(bytes.length + 1)));
    },
  ])();
}

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { VendorSecrets } from '../../ingress/config.ts';
import { projectRoot } from '../../process/root.ts';
import { firstId } from '../../vendors/payload.ts';
import type { Vendor } from '../../vendors/vendor.ts';

// The document is followed in a copy of the sources, block by block and in its order.

const page = 'docs/adding-a-vendor.md';
const root = projectRoot();
const copy = mkdtempSync(join(tmpdir(), 'fifth-vendor-'));
after(() => rmSync(copy, { recursive: true }));

/** A fenced block. One with a file is a new file, or a change of one; sh is run; console is run and compared. */
interface Block {
  readonly language: string;
  readonly text: string;
  /** Named at the beginning of the paragraph before the block. */
  readonly file: string | undefined;
}

function blocksOf(markdown: string): Block[] {
  const fenced = /(?:^`([^`\n]+\/[^`\n]+)`[^\n]*(?:\n[^\n]+)*\n\n)?^```(\w+)\n(.*?)^```$/gms;
  return [...markdown.matchAll(fenced)].map(([, file, language = '', text = '']) => ({
    file,
    language,
    text,
  }));
}

/** Applies the hunks of a diff, each a run of lines that stands in the file once. */
function patched(source: string, diff: string, file: string): string {
  return diff.split(/^@@\n/m).reduce((now, hunk) => {
    const lines = hunk.split('\n').slice(0, -1);
    const side = (other: string): string =>
      lines
        .filter((line) => !line.startsWith(other))
        .map((line) => `${line.slice(1)}\n`)
        .join('');
    const [old, changed] = [side('+'), side('-')];
    assert.equal(now.split(old).length, 2, `${page}: a change of ${file} has to fit in one place:\n${hunk}`);
    return now.replace(old, () => changed);
  }, source);
}

// What the tests' own environment says of topics and brokers is not of the copy.
const env = { PATH: process.env['PATH'], HOME: process.env['HOME'] };
const execute = promisify(execFile);

/** What a command line prints in the copy. @throws with all that it printed when it fails. */
async function run(line: string): Promise<string> {
  const ran = execute('sh', ['-c', line], { cwd: copy, env }).catch((error: unknown) => {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    assert.fail(`${page}: ${line} fails\n${stdout}\n${stderr}`);
  });
  return (await ran).stdout;
}

function inCopy<T>(file: string): Promise<T> {
  return import(pathToFileURL(join(copy, file)).href) as Promise<T>;
}

const blocks = blocksOf(readFileSync(join(root, page), 'utf8'));
const [posted] = blocks.filter(({ language, file }) => language === 'json' && file === undefined);

before(() => {
  // Neither what is fetched nor what is made here, which may be in use at this moment.
  const left = new Set(['.git', '.local', 'dist', 'node_modules'].map((name) => join(root, name)));
  cpSync(root, copy, { recursive: true, filter: (path) => !left.has(path) });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  for (const { file, language, text } of blocks) {
    if (file === undefined) continue;
    const path = join(copy, file);
    mkdirSync(dirname(path), { recursive: true });
    if (language === 'diff') writeFileSync(path, patched(readFileSync(path, 'utf8'), text, file));
    else {
      assert.ok(
        !existsSync(path),
        `${file} exists already: the vendor of ${page} has to be one that does not`,
      );
      writeFileSync(path, text);
    }
  }
});

describe('a vendor added as docs/adding-a-vendor.md says', () => {
  test('passes every command of the page: contract, types, golden cases', async () => {
    const [contract = [], ...checks] = blocks
      .filter(({ language }) => language === 'sh')
      .map(({ text }) => text.trim().split('\n'));
    const lines = [...contract, ...checks.flat()];
    assert.ok(lines.length >= 5);
    const version = /schemas\/history\/\S+/.exec(lines.join('\n'))?.[0] ?? '';
    assert.ok(!existsSync(join(root, version)), `${page}: ${version} is released, take the next number`);
    for (const line of contract) await run(line);
    // What follows the new contract changes nothing, and takes the compiler's time.
    await Promise.all(checks.flat().map(run));
  });

  test('has an event for the payload of the page', async () => {
    assert.ok(posted !== undefined);
    writeFileSync(join(copy, 'posted.json'), posted.text);
    const printed = await run('npx bridge explain acme posted.json --json');
    const record = JSON.parse(printed) as Record<'topic' | 'key', string> & {
      headers: Record<string, string>;
      value: Record<string, unknown>;
    };
    assert.equal(record.topic, 'biometric-events.high');
    assert.equal(record.key, '7');
    assert.equal(record.headers['device_type'], 'acme');
    const { device_type, user_id, kind, timestamp, local_date, hrv, sleep_score, priority, raw } =
      record.value;
    assert.deepEqual(
      { device_type, user_id, kind, timestamp, local_date, hrv, sleep_score, priority, raw },
      {
        device_type: 'acme',
        user_id: '7',
        kind: 'sleep',
        timestamp: '2026-06-10T04:30:00.000Z',
        local_date: '2026-06-10',
        hrv: 21.5,
        sleep_score: 81,
        priority: 'HIGH',
        raw: { topic: 'raw.acme', partition: 0, offset: 0 },
      },
    );
  });

  test('is explained as the page shows', async () => {
    const [shown] = blocks.filter(({ language }) => language === 'console');
    const [, line = '', output] = /^\$ (.*?)\n(.*)$/s.exec(shown?.text ?? '') ?? [];
    assert.equal((await run(line)).trimEnd(), output?.trimEnd());
  });

  test('has a page that says what is read', () => {
    const text = readFileSync(join(copy, 'docs/vendors/acme.md'), 'utf8');
    assert.match(text, /^\| `hrv` +\| RMSSD in ms, never SDNN +\| `night`: `hrv_us \/ 1000` +\|$/m);
    assert.match(text, /^ +hrv +21\.5 +night: hrv_us \/ 1000$/m);
  });

  test('has a route, a topic and a secret, and only what it signed is taken', async () => {
    type Config = typeof import('../../ingress/config.ts');
    type Topics = typeof import('../../schemas/topics.ts');
    type Index = { vendors: Record<string, Vendor>; vendorNames: string[] };
    const { readIngressConfig, vendorSecrets } = await inCopy<Config>('ingress/config.ts');
    const { topicNames, topicSpecs } = await inCopy<Topics>('schemas/topics.ts');
    const { publicRoutes } = await inCopy<typeof import('../../ingress/app.ts')>('ingress/app.ts');
    const { vendors, vendorNames } = await inCopy<Index>('vendors/index.ts');
    const { verify } = await inCopy<typeof import('../../vendors/verify.ts')>('vendors/verify.ts');
    const { webhook } = vendors['acme']!;

    assert.ok(topicSpecs(topicNames('', vendorNames)).some(({ name }) => name === 'raw.acme'));
    const routes = publicRoutes({} as Parameters<typeof publicRoutes>[0]);
    assert.ok(routes.some(({ path }) => path === '/webhook/acme'));
    const secret = 'the secret that Acme signs with';
    const config = readIngressConfig({ KAFKA_BOOTSTRAP_SERVERS: 'broker:1', ACME_WEBHOOK_SECRET: secret });
    const known = (vendorSecrets(config) as Record<string, VendorSecrets>)['acme'];
    assert.deepEqual([known?.secrets, known?.toleranceS], [[secret], 3_600]);

    const body = Buffer.from(posted?.text ?? '');
    const timestamp = '1781065863';
    const signature = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
    const taken = (sent: Buffer, ageMs = 0): unknown =>
      verify({
        schemes: webhook.schemes,
        headers: { 'x-acme-timestamp': timestamp, 'x-acme-signature': signature },
        body: sent,
        secrets: known!.secrets,
        window: { pastMs: known!.toleranceS * 1_000, futureMs: 300_000 },
        nowMs: Number(timestamp) * 1_000 + ageMs,
      });
    assert.deepEqual(taken(body), { ok: true, scheme: 'acme', secretIndex: 0 });
    assert.deepEqual(taken(Buffer.from('{}')), { ok: false, reason: 'signature_wrong' });
    assert.deepEqual(taken(body, 3_600_001), { ok: false, reason: 'timestamp_too_old' });
    assert.equal(firstId(JSON.parse(body.toString()), webhook.userId), '7');
  });
});

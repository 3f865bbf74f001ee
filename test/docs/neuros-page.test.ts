import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { Client } from 'pg';
import { sample } from '../../consumers/neuros/samples/index.ts';
import { projectRoot } from '../../process/root.ts';
import { redisUrl } from '../consumers/neuros/alerts/redis.ts';
import { neurosStack, type NeurosStack } from '../consumers/neuros/harness.ts';
import { stackVariable, until } from '../consumers/priority-stack.ts';
import { run } from '../package/pack.ts';
import { startReader, type RunningReader } from './readers.ts';

const root = projectRoot();
const page = readFileSync(join(root, 'docs', 'neuros.md'), 'utf8');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

function blocksOf(markdown: string, language: string): string[] {
  const fenced = new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms');
  return [...markdown.matchAll(fenced)].map(([, text = '']) => text);
}

/** The only block of the page that has this in it. */
function blockWith(part: string): string {
  const found = blocksOf(page, 'ts').filter((text) => text.includes(part));
  assert.equal(found.length, 1, `docs/neuros.md has ${found.length} blocks with ${part}`);
  return found[0]!;
}

const tenLines = blocksOf(page, 'ts')[0]!;
// Inside of the clone, whose package.json makes biometric-bridge what it is.
const folder = join(root, '.local', `neuros-page-${randomUUID()}`);
before(() => mkdirSync(folder, { recursive: true }));
after(() => rmSync(folder, { recursive: true }));

/** Compiles the blocks as the sources are. @returns what the compiler prints. */
function compile(): Promise<string> {
  for (const [at, text] of blocksOf(page, 'ts').entries())
    writeFileSync(join(folder, `block-${at}.ts`), text);
  const config = { extends: join(root, 'tsconfig.json'), include: ['block-*.ts'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  return run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder], root);
}

describe('docs/neuros.md', { timeout: 120_000 }, () => {
  const { event: night } = sample('whoop-sleep-west-of-greenwich-poor');
  const { event: deletion } = sample('whoop-pair-of-deletions-1');
  const [alert] = night.triggers;
  const readers: RunningReader[] = [];
  let stack: NeurosStack;
  let compiled: Promise<string>;
  before(async () => {
    // Next to the tests, because it takes as long as all of them.
    compiled = compile();
    compiled.catch(() => undefined);
    stack = await neurosStack();
  });
  after(async () => {
    await compiled.catch(() => undefined);
    await Promise.all(readers.map((reader) => reader.stop()));
    await stack.close();
  });

  /** Runs a block on the stack of the test, with another group for each. */
  function started(text: string, env: Record<string, string> = {}): RunningReader {
    const file = join(folder, `${randomUUID()}.ts`);
    const changed = [
      ["'localhost:19092'", stack.brokers.map((broker) => `'${broker}'`).join(', ')],
      ['http://localhost:18081/apis/ccompat/v7', stack.registryUrl],
      ["groupId: 'neuros',", `groupId: 'neuros', topicPrefix: '${stack.prefix}',`],
    ].reduce((now, [from = '', to = '']) => {
      assert.equal(now.split(from).length, 2, from);
      return now.replace(from, to);
    }, text);
    writeFileSync(file, changed);
    const args = ['--conditions=bridge-source', '--import', 'tsx', file];
    const reader = startReader({ command: process.execPath, args, env }, {});
    readers.push(reader);
    return reader;
  }

  async function printed(reader: RunningReader, what: string, holds: () => boolean): Promise<void> {
    await until(what, () => {
      assert.ok(!reader.hasEnded(), reader.errors());
      return holds();
    });
  }

  test('has ten lines that the README shows too, and they print what both show', async () => {
    assert.ok(blocksOf(readme, 'ts').includes(tenLines));
    assert.ok(tenLines.trimEnd().split('\n').length <= 11);
    const reader = started(tenLines);
    await stack.send([night]);
    await printed(reader, 'the alert', () => reader.lines.length === 1);
    await stack.send([deletion]);
    await printed(reader, 'the withdrawal', () => reader.lines.length === 2);
    await reader.stop();
    const recommendation = alert?.recommendation ?? '';
    const said = [`${night.user_id}: ${recommendation}`, `${night.user_id}: forget about ${recommendation}`];
    assert.deepEqual(reader.lines, said);
    for (const text of [page, readme])
      for (const line of blocksOf(text, 'console')
        .find((one) => one.includes('forget about'))!
        .trim()
        .split('\n'))
        assert.match(
          line,
          /^(\$ .*|…|\S+( å)?: (forget about )?(breathing_exercise|immediate_stress_protocol|sleep_optimization))$/,
        );
  });

  test('has code that compiles', async () => {
    await compiled;
  });

  test('has a test of handlers that passes', async () => {
    const file = join(folder, 'handlers.test.ts');
    writeFileSync(file, blockWith('NeurosTestDriver'));
    const args = ['--conditions=bridge-source', '--import', 'tsx', '--test', '--test-reporter=tap', file];
    const tests = startReader({ command: process.execPath, args, env: {} }, {});
    assert.equal(await tests.ended(), 0, tests.lines.join('\n'));
    assert.ok(tests.lines.includes('# pass 1'), tests.lines.join('\n'));
  });

  test('has a reader with a transaction, whose writes and withdrawals are in the database', async () => {
    const url = new URL(stackVariable('POSTGRES_URL'));
    const database = `neuros_page_${randomUUID().slice(0, 8)}`;
    const admin = new Client({ connectionString: url.href });
    await admin.connect();
    await admin.query(`CREATE DATABASE ${database}`);
    url.pathname = `/${database}`;
    const client = new Client({ connectionString: url.href });
    await client.connect();
    try {
      const reader = started(blockWith('transactional({ pool })'), { POSTGRES_URL: url.href });
      const rows = async (): Promise<unknown[]> =>
        (await client.query('SELECT alert_id FROM advice').catch(() => ({ rows: [] }))).rows;
      const again = { ...night, event_id: 'again', resource_id: 'again', user_id: 'of a transaction' };
      await stack.send([again]);
      await until('the row', async () => {
        assert.ok(!reader.hasEnded(), reader.errors());
        return (await rows()).length > 0;
      });
      assert.ok((await rows()).some((row) => (row as { alert_id: string }).alert_id === alert?.alert_id));
      await reader.stop();
    } finally {
      await client.end();
      await admin.query(`DROP DATABASE ${database} WITH (FORCE)`);
      await admin.end();
    }
  });

  test('has a reader that claims its alerts in Redis', { skip: redisUrl() === undefined }, async () => {
    const reader = started(blockWith('claims(redisStore({'), { REDIS_URL: redisUrl() ?? '' });
    const event = {
      ...night,
      event_id: 'claimed',
      resource_id: 'claimed',
      user_id: `claimed ${randomUUID()}`,
    };
    await stack.send([event]);
    const line = `push ${alert?.alert_id} to ${event.user_id}`;
    await printed(reader, 'the claimed alert', () => reader.lines.includes(line));
    await reader.stop();
  });

  test('has a reader with probes and metrics that ends on SIGTERM', async () => {
    const taken = createServer().listen(0);
    const { port } = taken.address() as AddressInfo;
    await new Promise((resolve) => taken.close(resolve));
    const reader = started(blockWith('/readyz').replace('listen(3000)', `listen(${port})`));
    const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${port}${path}`);
    await until('it is ready', async () => {
      assert.ok(!reader.hasEnded(), reader.errors());
      return (await get('/readyz').catch(() => undefined))?.status === 200;
    });
    await stack.send([{ ...night, event_id: 'counted', resource_id: 'counted' }]);
    await printed(reader, 'an event', () => reader.lines.some((line) => line.startsWith('NORMAL sleep of ')));
    const metrics = await (await get('/metrics')).text();
    const named = [...page.matchAll(/`(neuros_[a-z_]+(?:_seconds|_total|_records|_work))`/g)].map(
      ([, name]) => name!,
    );
    assert.ok(named.length >= 6);
    for (const name of named) assert.match(metrics, new RegExp(`^# TYPE ${name} `, 'm'));
    await reader.stop();
    assert.equal(await reader.ended(), 0, reader.errors());
  });

  test('names every option and every code of a refused start', () => {
    const source = (file: string): string => readFileSync(join(root, 'consumers', 'neuros', file), 'utf8');
    const codes = /type NeurosStartErrorCode =(.*?);/s.exec(source('start-checks.ts'))?.[1] ?? '';
    const names = [...codes.matchAll(/'(\w+)'/g)].map(([, code]) => code!);
    const options = ['HandlingOptions', 'NeurosOptions', 'NeurosHandlers'].flatMap((name) => {
      const body = new RegExp(`export interface ${name} .*?\\{\n(.*?)\n\\}`, 's').exec(source('options.ts'));
      return [...(body?.[1] ?? '').matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, option]) => option!);
    });
    assert.ok(names.length >= 7 && options.length >= 19, `${names.length} ${options.length}`);
    for (const name of [...names, ...options])
      assert.match(page, new RegExp(`^\\| .*\`${name}\``, 'm'), `docs/neuros.md has no row with ${name}`);
    const headers = [...source('dead-letters.ts').matchAll(/'__neuros\.errors(\.\w+)'/g)].map(
      ([, name]) => name!,
    );
    assert.ok(headers.length >= 8);
    for (const header of headers) assert.match(page, new RegExp(`^\\| .*\\${header}\``, 'm'), header);
  });
});

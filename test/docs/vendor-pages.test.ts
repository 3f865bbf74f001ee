import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { projectRoot } from '../../process/root.ts';
import { rememberedMs } from '../../topology/packed.ts';
import { keptMs, maxDayPoints } from '../../topology/stored-day.ts';
import { dayMs } from '../../vendors/instant.ts';
import { vendorNames } from '../../vendors/index.ts';
import { goldenCases } from '../topology/golden.ts';
import { textOf, vendorPages } from './vendor-pages.ts';

const pages = await vendorPages();
const shared = pages.get('docs/vendors.md') ?? '';

describe('the pages of the vendors', () => {
  test('are what the code and the golden cases say: npm run generate writes them', () => {
    for (const [path, text] of pages)
      assert.equal(textOf(path), text, `${path} is missing or stale: run npm run generate`);
  });

  test('are those of the vendors that there are', () => {
    assert.deepEqual(
      readdirSync(join(projectRoot(), 'docs/vendors')).sort(),
      vendorNames.map((name) => `${name}.md`).sort(),
    );
  });

  test('cannot be made without the text of a vendor, or without its tables', async () => {
    const without = vendorPages((path) => (path === 'vendors/whoop/about.md' ? undefined : textOf(path)));
    await assert.rejects(without, /^Error: vendors\/whoop\/about\.md is missing/);
    const text = textOf('vendors/oura/about.md')!;
    const changed = (from: string, to: string): Promise<unknown> =>
      vendorPages((path) => (path === 'vendors/oura/about.md' ? text.replaceAll(from, to) : textOf(path)));
    await assert.rejects(changed('<!-- fields -->', ''), /oura\/about\.md lacks, .*: <!-- fields -->$/);
    await assert.rejects(
      changed('<!-- fields -->', '<!-- feilds -->'),
      /there is no block feilds, only fields/,
    );
    await assert.rejects(changed('example sleep-naps', 'example naps'), /there is no golden case naps/);
  });

  test('name every form of an id, flag, reason of a drop, and code of a dead letter that golden cases have', () => {
    const missing = new Set<string>();
    for (const { device, name, expected } of goldenCases()) {
      const needs = (page: string, text: string): void => {
        if (!(pages.get(page) ?? '').includes(text))
          missing.add(`${page} lacks ${text} of ${device}/${name}`);
      };
      for (const { event } of expected.events) {
        const [, form] = /^([a-z_]+):/.exec(String(event['resource_id'])) ?? [];
        if (form !== undefined) needs(`docs/vendors/${device}.md`, `\`${form}:<`);
        for (const flag of (event['flags'] ?? []) as string[])
          needs('docs/vendors.md', `\`${flag.replace(/:.*/, ':<field>')}\``);
      }
      for (const reason of Object.keys(expected.dropped ?? {}))
        needs('docs/vendors.md', `\`${reason.replace(/.*\//, '')}\``);
      for (const letter of expected.deadLetters ?? [])
        needs('docs/vendors.md', `\`${letter.replace(/:.*/, '')}\``);
    }
    assert.deepEqual([...missing], []);
  });

  test('name the times and limits of the code', () => {
    const healthkit = pages.get('docs/vendors/healthkit.md') ?? '';
    const remembered = `for ${rememberedMs / dayMs} days`;
    const points = maxDayPoints.toLocaleString('en-US');
    for (const [text, phrase] of [
      [shared, remembered],
      [shared, `more than ${points} points`],
      [healthkit, remembered],
      [healthkit, `for ${keptMs / dayMs} days`],
      [healthkit, `more than ${points} points`],
    ] as const)
      assert.ok(text.replaceAll('\n', ' ').includes(phrase), phrase);
  });

  test('link to files that there are', () => {
    for (const [path, text] of pages)
      for (const [, target = ''] of text.matchAll(/\]\(([^)#]+)/g))
        assert.ok(existsSync(join(projectRoot(), dirname(path), target)), `${path} links to ${target}`);
  });
});

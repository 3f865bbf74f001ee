/**
 * Writes docs/vendors.md from vendors/about.md, and docs/vendors/<vendor>.md from vendors/<vendor>/about.md: `npm run generate`.
 * The text is written by hand. Each comment on a line of its own, `<!-- fields -->`, is replaced by what the code says:
 * a list of its tables, or a golden case with what `bridge explain` prints of it.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format, resolveConfig } from 'prettier';
import { asDelivery, deliveriesOf } from '../../cli/explain.ts';
import { asText, meanings } from '../../cli/explanation.ts';
import { projectRoot } from '../../process/root.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';
import { topicNames } from '../../schemas/topics.ts';
import { dailyOrigins } from '../../topology/daily-totals.ts';
import { explain } from '../../topology/explain.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { exportedMetrics } from '../../vendors/healthkit/metrics.ts';
import { vendorNames, vendors, type VendorName } from '../../vendors/index.ts';
import {
  activityMetrics,
  noMeasurements,
  ranges,
  type ActivityMetric,
  type Measurements,
} from '../../vendors/reading.ts';
import { simpleFields, terraFields } from '../../vendors/simple.ts';
import type { DocumentKind, Vendor } from '../../vendors/vendor.ts';
import { goldenReceivedAt } from '../topology/golden.ts';

type ScalarField = Exclude<keyof Measurements, 'activity_data'>;
type Field = ScalarField | ActivityMetric;

/** What a block is made of; `words` follow its name. */
type Block = (words: readonly string[]) => string | Promise<string>;

/** The text of a file by its path from the root; undefined where there is none. */
export function textOf(path: string): string | undefined {
  const file = join(projectRoot(), path);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/**
 * Every page by its path from the root.
 * @param read - reads the texts that the pages are made of.
 * @throws Error that says what a page lacks.
 */
export async function vendorPages(read = textOf): Promise<Map<string, string>> {
  const shared = blocksOfAll(read);
  const pages = new Map([
    ['docs/vendors.md', await page('vendors/about.md', read, shared, Object.keys(shared))],
  ]);
  for (const name of vendorNames) {
    const needed = [
      'fields',
      'documents',
      'example',
      ...(vendorOf(name).ignored === undefined ? [] : ['ignored']),
    ];
    pages.set(`docs/vendors/${name}.md`, await page(aboutOf(name), read, blocksOf(name), needed));
  }
  return pages;
}

/** The text of a vendor's page. */
function aboutOf(name: VendorName): string {
  return `vendors/${name}/about.md`;
}

/** The text of a page with its blocks filled in. @param needed - the blocks that it must have. */
async function page(
  from: string,
  read: typeof textOf,
  blocks: Readonly<Record<string, Block>>,
  needed: readonly string[],
): Promise<string> {
  const text = read(from);
  if (text === undefined)
    throw new Error(
      `${from} is missing: it tells users what is read (docs/adding-a-vendor.md, "Document it")`,
    );
  const found = new Set<string>();
  const filled = await Promise.all(
    // The first line is a note to those who edit the text.
    text
      .replace(/^<!--.*-->\n/, '')
      .split('\n')
      .map(async (line) => {
        const [name = '', ...words] = /^<!-- (.*) -->$/.exec(line)?.[1]?.split(' ') ?? [];
        if (name === '') return line;
        const block = blocks[name];
        if (block === undefined)
          throw new Error(`${from}: there is no block ${name}, only ${Object.keys(blocks).join(', ')}`);
        found.add(name);
        return await block(words);
      }),
  );
  const missing = needed.filter((name) => !found.has(name)).map((name) => `<!-- ${name} -->`);
  if (missing.length > 0) throw new Error(`${from} lacks, on a line of its own: ${missing.join(' ')}`);
  const note = `<!-- Generated from ${from}, the code and test/golden/: change those, and run npm run generate. -->`;
  const config = await resolveConfig(join(projectRoot(), 'docs/vendors.md'));
  return format(`${note}\n${filled.join('\n')}`, { ...config, parser: 'markdown' });
}

function vendorOf(name: VendorName): Vendor {
  return vendors[name];
}

/** What all vendors share. */
function blocksOfAll(read: typeof textOf): Readonly<Record<string, Block>> {
  const titleOf = (name: VendorName): string => /^# (.*)$/m.exec(read(aboutOf(name)) ?? '')?.[1] ?? name;
  return {
    vendors: () =>
      table(
        ['vendor', 'route', 'becomes events'],
        vendorNames.map((name) => [
          `[${titleOf(name)}](vendors/${name}.md)`,
          code(name),
          documentsOf(name).map(nameOf).join(', '),
        ]),
      ),
    contract: () =>
      table(
        ['field', 'meaning'],
        contractFields.map(({ name, doc }) => [code(name), doc]),
      ),
    activity: () =>
      table(
        ['key', 'meaning'],
        activityMetrics.map((metric) => [code(metric), activityUnits[metric]]),
      ),
    ranges: () =>
      table(
        ['field', 'from', 'to'],
        Object.entries(ranges).map(([field, [low, high]]) => [code(field), `${low}`, `${high}`]),
      ),
    simple: () =>
      table(
        ['field', 'path', "path on Terra's route"],
        Object.entries(simpleFields as unknown as SimplePaths).map(([field, paths]) => [
          code(field === 'user' ? 'user_id' : field),
          pathsText(paths),
          pathsText((terraFields as unknown as SimplePaths)[field] ?? []),
        ]),
      ),
    drops: () =>
      table(
        ['reason', 'meaning'],
        Object.entries(meanings).map(([reason, meaning]) => [code(reason), meaning]),
      ),
  };
}

type SimplePaths = Readonly<Record<string, readonly (readonly string[])[]>>;

function pathsText(paths: SimplePaths[string]): string {
  return paths.map((path) => code(path.join('.'))).join(' or ');
}

function blocksOf(name: VendorName): Readonly<Record<string, Block>> {
  return {
    fields: () => fieldsOf(name),
    documents: () => documentTable(name),
    ignored: () => ignoredOf(name),
    example: (words) => example(name, words),
    ...(name === 'healthkit' ? { metrics: metricTable } : {}),
  };
}

/** The fields of an event with the meaning that the contract gives them. */
const contractFields = (
  JSON.parse(biometricEventAvsc) as { fields: { name: string; doc?: string; type: unknown }[] }
).fields.map(({ name, doc, type }) => ({ name: name as keyof BiometricEvent, doc: doc ?? typeText(type) }));

/** What the contract says of a field by its type alone: the symbols of an enum, or the fields of a record. */
function typeText(type: unknown): string {
  const [one, ...others] = (Array.isArray(type) ? type : [type]).filter((branch) => branch !== 'null') as (
    { symbols?: string[]; fields?: { name: string }[]; items?: unknown; doc?: string } | undefined
  )[];
  if (others.length > 0) return '';
  if (one?.doc !== undefined) return one.doc;
  if (one?.items !== undefined) return `List of records: ${typeText(one.items)}`;
  const names = one?.symbols ?? one?.fields?.map(({ name }) => name) ?? [];
  return `${names.filter((symbol) => symbol !== 'unknown').join(', ')}.`;
}

const activityUnits: Readonly<Record<ActivityMetric, string>> = {
  steps: 'count',
  distance_m: 'metres',
  active_energy_kcal: 'kilocalories spent by moving',
  total_energy_kcal: 'kilocalories spent, at rest or moving',
  active_seconds: 'seconds of activity',
  strain: 'the vendor’s own measure of load; not comparable between vendors',
};

/** The kinds of documents of a vendor; the points of HealthKit become the totals of a day only in the topology. */
function documentsOf(name: VendorName): readonly DocumentKind[] {
  const { documents } = vendorOf(name);
  return name === 'healthkit'
    ? [...documents, { name: 'a local day', kind: 'daily', origins: dailyOrigins }]
    : documents;
}

/** Every measured field of an event, and where each kind of document keeps it. */
function fieldsOf(name: VendorName): string {
  const scalars = Object.keys(noMeasurements).filter((field) => field !== 'activity_data') as ScalarField[];
  const docOf = (field: ScalarField): string =>
    contractFields.find((known) => known.name === field)?.doc.replace(/\.$/, '') ?? '';
  const rows = [
    ...scalars.map((field) => [code(field), docOf(field), sourcesOf(name, field)]),
    ...activityMetrics.map((metric) => [
      code(`activity_data.${metric}`),
      activityUnits[metric],
      sourcesOf(name, metric),
    ]),
  ];
  return table(['field', 'meaning', 'read from'], rows);
}

/** The paths of one field, each with the documents that have it there. */
function sourcesOf(name: VendorName, field: Field): string {
  const byPath = new Map<string, string[]>();
  for (const document of documentsOf(name)) {
    const { origins, means } = document;
    const path = origins.fields[field];
    if (path === undefined) continue;
    const mean = means?.[field];
    const text = `${pathText(path)}${mean === undefined ? '' : `, or else ${pathText(mean)}`}`;
    byPath.set(text, [...(byPath.get(text) ?? []), nameOf(document)]);
  }
  if (byPath.size === 0) return 'never';
  return [...byPath].map(([path, documents]) => `${documents.join(', ')}: ${path}`).join('<br>');
}

const identities = ['user_id', 'source', 'timestamp', 'local_date', 'resource_id', 'revision'] as const;

/** What each kind of document becomes, and where its identity, its times and its version are from. */
function documentTable(name: VendorName): string {
  const documents = documentsOf(name);
  const originOf = ({ origins }: DocumentKind, field: (typeof identities)[number]): string => {
    const path = origins.fields[field];
    return path === undefined ? '' : pathText(path);
  };
  const isShared = (field: (typeof identities)[number]): boolean =>
    documents.every((document) => originOf(document, field) === originOf(documents[0] ?? document, field));
  const own = identities.filter((field) => !isShared(field));
  const shared = identities.filter(
    (field) => isShared(field) && documents.some((document) => originOf(document, field) !== ''),
  );
  const places = new Set(documents.map(({ origins }) => origins.at));
  const isOnePlace = places.size === 1;
  const rows = documents.map((document) => [
    nameOf(document),
    code(document.kind),
    ...(isOnePlace ? [] : [code(document.origins.at)]),
    ...own.map((field) => originOf(document, field)),
  ]);
  const header = ['document', 'kind', ...(isOnePlace ? [] : ['at']), ...own.map(code)];
  const ofAll = documents[0];
  return [
    table(header, rows),
    ...(isOnePlace
      ? [`Paths begin at \`${[...places].join('')}\` of the body, those with \`$.\` at its root.`]
      : []),
    ...(shared.length > 0 && ofAll !== undefined
      ? [
          `The same for all of them: ${shared.map((field) => `${code(field)} from ${originOf(ofAll, field)}`).join('; ')}.`,
        ]
      : []),
  ].join('\n\n');
}

function ignoredOf(name: VendorName): string {
  const { ignored = {} } = vendorOf(name);
  return table(
    ['types', 'counted as'],
    Object.entries(ignored).map(([reason, types]) => [types.map(code).join(', '), code(reason)]),
  );
}

/** The metrics of Health Auto Export, with the units in which each may come. */
function metricTable(): string {
  return table(
    ['metric', 'becomes', 'accepted units', 'plausible values of a point, in our unit'],
    [...exportedMetrics].map(
      ([
        metric,
        {
          metric: field,
          units,
          range: [low, high],
        },
      ]) => [
        code(metric),
        field === 'basal_energy_kcal' ? 'a part of `total_energy_kcal`' : code(field),
        [...units.keys()].map((unit) => (unit === '' ? 'none named' : code(unit))).join(', '),
        `${low} to ${high}`,
      ],
    ),
  );
}

/**
 * A golden case: what was posted, and what `bridge explain` prints. The words are its name and, after `without`, keys that are
 * not shown. Its deliveries, when they have no time of receipt, are received at that of all golden cases.
 */
async function example(vendor: VendorName, [name = '', ...words]: readonly string[]): Promise<string> {
  const folder = `test/golden/${vendor}`;
  const file = [`${folder}/${name}.json`, `${folder}/${name}.jsonl`].find((one) =>
    existsSync(join(projectRoot(), one)),
  );
  if (file === undefined)
    throw new Error(`${aboutOf(vendor)}: there is no golden case ${name} in ${folder}/`);
  const hidden = words[0] === 'without' ? words.slice(1) : [];
  const input = readFileSync(join(projectRoot(), file));
  const requests = deliveriesOf(input);
  if (file.endsWith('l') && requests[0]?.body.equals(input) === true)
    throw new Error(`${file}: bridge explain needs the keys body and headers in each line`);
  const user = vendor === 'healthkit' ? 'sam' : undefined;
  const deliveries = requests.map(({ body, headers }) =>
    asDelivery(vendor, { body, headers: { received_at: String(goldenReceivedAt), ...headers } }, user),
  );
  const explanations = await explain(deliveries, {
    vendor,
    topics: topicNames('', vendorNames),
    rules: defaultRules,
  });
  const isSeries = requests.length > 1;
  const posted = requests.map(({ body, headers }, at) => {
    const extra = Object.entries(headers).filter(([header]) => !['received_at', 'scheme'].includes(header));
    const intro = [
      isSeries ? `Delivery ${at + 1}` : 'Posted',
      ...(extra.length > 0 ? [` with ${extra.map((pair) => code(pair.join(': '))).join(', ')}`] : []),
      ...(at === 0 && hidden.length > 0 ? [`, here without ${hidden.map(code).join(', ')}`] : []),
    ];
    return `${intro.join('')}:\n\n\`\`\`json\n${shown(body, hidden)}\n\`\`\``;
  });
  const command = `npx bridge explain ${vendor} ${file}${user === undefined ? '' : ` --user ${user}`}`;
  const printed = explanations.map(asText).join('').trimEnd();
  return [...posted, 'What comes out:', `\`\`\`console\n$ ${command}\n${printed}\n\`\`\``].join('\n\n');
}

/** A body without some of its keys, at any depth. */
function shown(body: Buffer, hidden: readonly string[]): string {
  return JSON.stringify(JSON.parse(body.toString()), (key, value: unknown) =>
    hidden.includes(key) ? undefined : value,
  );
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

/** As the vendor calls it; what only we call so is no code. */
function nameOf({ name }: DocumentKind): string {
  return name.startsWith('a ') ? name : code(name);
}

/** The text of an origin, as `bridge explain` prints it. */
function pathText(origin: string): string {
  return origin.startsWith('the ') ? origin.replace(/\w+_\w+/g, (name) => code(name)) : code(origin);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [file, text] of await vendorPages()) {
    mkdirSync(dirname(join(projectRoot(), file)), { recursive: true });
    writeFileSync(join(projectRoot(), file), text);
  }
}

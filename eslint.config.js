import { readdirSync } from 'node:fs';
import js from '@eslint/js';
import importX from 'eslint-plugin-import-x';
import tseslint from 'typescript-eslint';

/** What each folder may import besides itself. A process never imports another, and nothing imports upwards. */
const mayImport = {
  ingress: ['vendors', 'schemas', 'kafka', 'process'],
  topology: ['streams', 'vendors', 'schemas', 'kafka', 'process'],
  consumers: ['schemas', 'kafka', 'postgres', 'process'],
  collector: ['vendors', 'schemas', 'kafka', 'postgres', 'process'],
  replay: ['topology', 'streams', 'vendors', 'schemas', 'kafka', 'postgres', 'process'],
  vendors: ['schemas', 'process'],
  streams: ['kafka', 'process'],
  schemas: ['process'],
  kafka: ['process'],
  postgres: ['process'],
  process: [],
  // What a user of the package can import: its name.
  examples: [],
};
/** They import whatever they need, and nothing but tests imports them. */
const top = ['cli', 'local', 'test'];
/** Nothing but cli/ imports it. */
const ofCli = ['replay'];

const unknown = readdirSync(import.meta.dirname, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && !/^(\.|dist$|node_modules$|docs$|patches$)/.test(entry.name))
  .map(({ name }) => name)
  .filter((name) => !(name in mayImport) && !top.includes(name));
if (unknown.length > 0)
  throw new Error(`eslint.config.js: say what ${unknown.join(', ')} may import, in the table mayImport`);

const zone = (target, from, message) => ({ target: `./${target}`, from: `./${from}`, message });
const zones = Object.entries(mayImport).flatMap(([folder, allowed]) =>
  [...Object.keys(mayImport), ...top]
    .filter((other) => other !== folder && !allowed.includes(other))
    .map((other) =>
      zone(
        folder,
        other,
        `${folder}/ may import ${allowed.length === 0 ? 'no other folder' : `only ${allowed.join('/, ')}/`}: move what both need to a folder below them.`,
      ),
    ),
);
zones.push(...ofCli.map((folder) => zone('local', folder, `Only cli/ imports ${folder}/.`)));

export default tseslint.config(
  { ignores: ['dist/**', '.local/**', 'node_modules/**'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    plugins: { 'import-x': importX },
    settings: {
      'import-x/resolver-next': [importX.createNodeResolver({ extensions: ['.ts', '.mjs', '.js'] })],
      'import-x/parsers': { '@typescript-eslint/parser': ['.ts'] },
      'import-x/extensions': ['.ts'],
    },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers and bigints (ports, offsets) are everyday material of our messages.
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      // State lives in #private fields and closures, so a method torn from its object fails at once, not subtly.
      '@typescript-eslint/unbound-method': 'off',
      'import-x/no-restricted-paths': ['error', { basePath: import.meta.dirname, zones }],
      'import-x/no-cycle': 'error',
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['kafkajs', 'kafkajs/*'],
              message: 'Only kafka/client.ts imports kafkajs: use what it exports.',
            },
          ],
        },
      ],
    },
  },
  {
    // What the rules above do not see: they read import and export declarations.
    files: Object.keys(mayImport).map((folder) => `${folder}/**`),
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector: 'ImportExpression, TSImportType',
          message: 'Import with a declaration, so that lint can check the import rules.',
        },
      ],
    },
  },
  {
    files: ['kafka/client.ts', 'test/patches/**/*.ts', 'test/local/three-brokers.test.ts'],
    rules: { 'no-restricted-imports': 'off' },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      // node:test's test() returns a promise that the runner itself awaits.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            { from: 'package', name: ['test', 'describe', 'it', 'suite'], package: 'node:test' },
          ],
        },
      ],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: {
      globals: { process: 'readonly', console: 'readonly', URL: 'readonly', Buffer: 'readonly' },
    },
  },
);

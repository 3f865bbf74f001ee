/** Writes schemas/biometric-event.ts from schemas/biometric-event.avsc: `npm run generate`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'prettier';
import { z } from 'zod';
import { projectRoot } from '../process/root.ts';

/**
 * Generates the TypeScript module of a record schema: one exported type per named Avro type (records as readonly
 * interfaces, enums as unions of their symbols, with a list of them), and the schema itself as `<name>Avsc`, so that no process reads files
 * for it. Every Avro number is a `number`: a long is a safe integer (the codec refuses others), a timestamp epoch ms.
 * @param avscText - the schema as JSON text; the outermost type is a record.
 * @throws Error naming an Avro type that this generator does not know.
 */
export async function generateTypes(avscText: string): Promise<string> {
  const schema = avroType.parse(JSON.parse(avscText));
  if (typeof schema === 'string' || Array.isArray(schema) || schema.type !== 'record') {
    throw new Error('the outermost type of a contract must be a record');
  }
  const declarations = new Map<string, string>();
  declare(schema, declarations);
  const constant = `${schema.name.charAt(0).toLowerCase()}${schema.name.slice(1)}Avsc`;
  const source = [
    '// Generated from the .avsc next to it by `npm run generate`: change the schema, not this file.',
    ...[...declarations.values()].reverse(),
    // Two stringifications: one drops the layout, the other makes a string literal.
    '/** The schema as registered: the registry finds a schema by its text. */\n' +
      `export const ${constant} = ${JSON.stringify(JSON.stringify(JSON.parse(avscText)))};`,
  ].join('\n\n');
  return format(source, { parser: 'typescript', singleQuote: true, printWidth: 110, trailingComma: 'all' });
}

type AvroField = { name: string; type: AvroType; doc?: string | undefined };
type AvroType =
  | string
  | AvroType[]
  | { type: 'record'; name: string; doc?: string | undefined; fields: AvroField[] }
  | { type: 'enum'; name: string; doc?: string | undefined; symbols: string[] }
  | { type: 'array'; items: AvroType }
  | { type: 'map'; values: AvroType }
  | { type: 'int' | 'long'; logicalType?: string | undefined };

const avroType: z.ZodType<AvroType> = z.lazy(() =>
  z.union([
    z.string(),
    z.array(avroType),
    z.object({
      type: z.literal('record'),
      name: z.string(),
      doc: z.string().optional(),
      fields: z.array(z.object({ name: z.string(), type: avroType, doc: z.string().optional() })),
    }),
    z.object({
      type: z.literal('enum'),
      name: z.string(),
      doc: z.string().optional(),
      symbols: z.array(z.string()),
    }),
    z.object({ type: z.literal('array'), items: avroType }),
    z.object({ type: z.literal('map'), values: avroType }),
    z.object({ type: z.enum(['int', 'long']), logicalType: z.string().optional() }),
  ]),
);

const primitives: Readonly<Record<string, string>> = {
  null: 'null',
  boolean: 'boolean',
  int: 'number',
  long: 'number',
  double: 'number',
  string: 'string',
};

// Returns the TypeScript of a type expression; adds the named types in it to the declarations.
function declare(type: AvroType, declarations: Map<string, string>): string {
  if (typeof type === 'string') {
    const known = primitives[type] ?? (declarations.has(type) ? type : undefined);
    if (known === undefined) throw new Error(`the generator does not know the Avro type ${type}`);
    return known;
  }
  if (Array.isArray(type)) {
    // Null reads better at the end.
    const branches = type.map((branch) => declare(branch, declarations));
    return branches.sort((a, b) => Number(a === 'null') - Number(b === 'null')).join(' | ');
  }
  switch (type.type) {
    case 'record': {
      const fields = type.fields.map((field) => {
        const text = declare(field.type, declarations);
        return `${docComment(fieldDoc(field))}readonly ${field.name}: ${text};`;
      });
      declarations.set(
        type.name,
        `${docComment(type.doc)}export interface ${type.name} {\n${fields.join('\n')}\n}`,
      );
      return type.name;
    }
    case 'enum': {
      const symbols = type.symbols.map((symbol) => `'${symbol}'`).join(' | ');
      const list = type.symbols.map((symbol) => `'${symbol}'`).join(', ');
      declarations.set(
        type.name,
        `${docComment(type.doc)}export type ${type.name} = ${symbols};\n\n` +
          `/** Every ${type.name}, in the order of the schema. */\n` +
          `export const ${plural(type.name)} = [${list}] as const satisfies readonly ${type.name}[];`,
      );
      return type.name;
    }
    case 'array':
      return `readonly (${declare(type.items, declarations)})[]`;
    case 'map':
      return `Readonly<Record<string, ${declare(type.values, declarations)}>>`;
    case 'int':
    case 'long':
      return 'number';
  }
}

/** The name of the list of an enum's symbols: `deviceTypes`, `priorities`. */
function plural(name: string): string {
  return `${name.charAt(0).toLowerCase()}${name.slice(1)}s`.replace(/ys$/, 'ies');
}

function fieldDoc(field: AvroField): string | undefined {
  const type = field.type;
  const timestamp = typeof type === 'object' && 'logicalType' in type ? type.logicalType : undefined;
  if (timestamp !== 'timestamp-millis') return field.doc;
  return field.doc === undefined ? 'Epoch ms.' : `${field.doc} Epoch ms.`;
}

function docComment(doc: string | undefined): string {
  return doc === undefined ? '' : `/** ${doc.replaceAll('*/', '*\\/')} */\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const folder = join(projectRoot(), 'schemas');
  const source = await generateTypes(readFileSync(join(folder, 'biometric-event.avsc'), 'utf8'));
  writeFileSync(join(folder, 'biometric-event.ts'), source);
}

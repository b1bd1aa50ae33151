/** Configuration values: from a JSON object and the command line to constants, checked against their declarations. */
import { didYouMean, HewError, type Span } from '../../ir/diagnostics.js';
import type { ConfigDeclaration } from './ast.js';
import { evaluate } from './expressions.js';
import type { SpecFiles } from './files.js';
import { type Context, report } from './session.js';
import { convertConstant } from './signature.js';
import { type ConstantTypeName, constantTypeNames } from './types.js';
import {
  bool,
  type Constant,
  describeValue,
  float,
  int,
  isConstant,
  poison,
  type SpecValue,
  text,
} from './values.js';

export interface ConfigSource {
  /** A parsed JSON object, in the style of Hugging Face's config.json. */
  readonly json?: unknown;
  /** Values that win over the JSON, by dotted name; strings are read as the declared kind. */
  readonly overrides?: Readonly<Record<string, unknown>>;
}

/** Reads and parses a JSON file that a spec names; undefined, with a report, when it is none. */
export function readJsonFile(file: string, files: SpecFiles, context: Context, span: Span): unknown {
  try {
    return JSON.parse(files.read(file)) as unknown;
  } catch (error) {
    if (error instanceof HewError) {
      for (const d of error.diagnostics) report(context, d.code, d.message, { span });
    } else if (error instanceof SyntaxError) {
      report(context, 'HEW3004', `'${file}' is not valid JSON: ${error.message}`, { span });
    } else throw error;
    return undefined;
  }
}

/** The value of a declaration: an override, the JSON's value, or the default. */
export function configValue(
  declaration: ConfigDeclaration,
  source: ConfigSource,
  context: Context,
): SpecValue {
  const kind = constantTypeNames.find((name) => name === declaration.type.name);
  if (kind === undefined) {
    report(context, 'HEW2001', `there is no configuration type '${declaration.type.name}'`, {
      span: declaration.type.span,
      help:
        didYouMean(declaration.type.name, constantTypeNames) ?? 'the types are int, float, bool and string',
    });
    return poison;
  }
  const { name } = declaration.name;
  const { overrides = {} } = source;
  const override = Object.hasOwn(overrides, name) ? overrides[name] : undefined;
  if (override !== undefined) {
    const parsed = typeof override === 'string' ? parseText(override, kind) : override;
    return checkedValue(parsed, kind, declaration, 'given on the command line', context);
  }
  const given = lookUp(source.json, name);
  if (given !== undefined && given !== null) {
    return checkedValue(given, kind, declaration, 'in the configuration', context);
  }
  if (declaration.fallback !== undefined) return fallbackValue(declaration, kind, context);
  report(context, 'HEW3002', `the configuration value '${name}' is missing`, {
    span: declaration.span,
    help: `give it in the JSON configuration, or with --set ${name}=...`,
  });
  return poison;
}

/** `a.b` is a member of `a`, or a key that itself contains the dot. */
function lookUp(json: unknown, name: string): unknown {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) return undefined;
  const object = json as Readonly<Record<string, unknown>>;
  if (Object.hasOwn(object, name)) return object[name];
  const dot = name.indexOf('.');
  const head = name.slice(0, dot);
  return dot > 0 && Object.hasOwn(object, head) ? lookUp(object[head], name.slice(dot + 1)) : undefined;
}

function parseText(value: string, kind: ConstantTypeName): unknown {
  if (kind === 'string') return value;
  if (kind === 'bool') return value === 'true' ? true : value === 'false' ? false : value;
  return value.trim() === '' || !Number.isFinite(Number(value)) ? value : Number(value);
}

const readers: Record<ConstantTypeName, (value: unknown) => Constant | undefined> = {
  int: (value) => (Number.isSafeInteger(value) ? int(value as number) : undefined),
  float: (value) => (typeof value === 'number' && Number.isFinite(value) ? float(value) : undefined),
  bool: (value) => (typeof value === 'boolean' ? bool(value) : undefined),
  string: (value) => (typeof value === 'string' ? text(value) : undefined),
};

const kindWords: Record<ConstantTypeName, string> = {
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  string: 'a string',
};

function checkedValue(
  value: unknown,
  kind: ConstantTypeName,
  declaration: ConfigDeclaration,
  where: string,
  context: Context,
): SpecValue {
  const constant = readers[kind](value);
  if (constant !== undefined) return constant;
  const shown = JSON.stringify(value)?.slice(0, 60);
  report(
    context,
    'HEW3003',
    `'${declaration.name.name}' must be ${kindWords[kind]}; ${where} it is ${shown}`,
    {
      span: declaration.span,
    },
  );
  return poison;
}

function fallbackValue(declaration: ConfigDeclaration, kind: ConstantTypeName, context: Context): SpecValue {
  const { fallback } = declaration;
  const value = fallback ? evaluate(fallback, context) : poison;
  if (value.kind === 'poison') return poison;
  const converted = isConstant(value) ? convertConstant(value, kind, context) : undefined;
  if (converted !== undefined) return converted;
  report(
    context,
    'HEW3003',
    `the default of '${declaration.name.name}' must be ${kindWords[kind]}, not ${describeValue(value)}`,
    {
      span: fallback?.span ?? declaration.span,
    },
  );
  return poison;
}

/** The JSON must be an object, and every override must name a declared value: both would otherwise be ignored in silence. */
export function checkSource(
  source: ConfigSource,
  declarations: readonly ConfigDeclaration[],
  context: Context,
  root: Span,
): void {
  const { json } = source;
  if (json !== undefined && (typeof json !== 'object' || json === null || Array.isArray(json))) {
    report(context, 'HEW3004', 'the configuration is not a JSON object', {
      span: root,
      help: 'a configuration is an object of values by name: { "hidden_size": 128 }',
    });
  }
  const names = declarations.map((declaration) => declaration.name.name);
  for (const name of Object.keys(source.overrides ?? {})) {
    if (names.includes(name)) continue;
    report(
      context,
      'HEW3008',
      `the model has no configuration value '${name}'`,
      { span: root, help: didYouMean(name, names) },
      name,
    );
  }
}

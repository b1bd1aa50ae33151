/** A flat module, such as an imported graph, as the text of a spec: one statement per op, weights by their names. */
import { constantOf, type Dim, printDim } from '../../ir/dim.js';
import { entriesOf, type Func, type Module, type Op, type Value } from '../../ir/module.js';
import type { AttrSpec, AttrValue, OpDecl } from '../../ir/op.js';
import { opTable } from '../../ir/ops/table.js';
import type { TensorType } from '../../ir/type.js';

/** Operators of the language that are no calls. */
const operators: Readonly<Record<string, (operands: readonly string[]) => string>> = {
  and: ([a, b]) => `${a} and ${b}`,
  or: ([a, b]) => `${a} or ${b}`,
  not: ([a]) => `not ${a}`,
};

/** `references` are the lines that name weights and tokenizer. */
export function specText(module: Module, comment: string, references: readonly string[]): string {
  const dims = [...module.dims].map(([name, decl]) =>
    'value' in decl ? `dim ${name} = ${decl.value}` : `dim ${name} in ${decl.min}..${decl.max}`,
  );
  return [
    `// ${comment}`,
    '',
    ...dims,
    ...entriesOf(module).flatMap((entry) => ['', ...entryText(module, entry)]),
    '',
    ...references,
    '',
  ].join('\n');
}

function entryText(module: Module, entry: Func): string[] {
  const names = new Map<Value, string>();
  const taken = new Set([...entry.args.map((arg) => arg.name as string), ...module.dims.keys()]);
  for (const arg of entry.args) names.set(arg, arg.name as string);
  let next = 0;
  const fresh = (prefix: string): string => {
    let name = `${prefix}${next++}`;
    while (taken.has(name)) name = `${prefix}${next++}`;
    return name;
  };
  const lines = entry.body.flatMap((op) => {
    if (op.name === 'dim_size') {
      // A dimension is a value where one is needed.
      names.set(op.results[0] as Value, `(${printDim(op.attrs.dim)})`);
      return [];
    }
    const results = op.results.map((result) => {
      const name = fresh(op.name === 'param' ? 'w' : 'v');
      names.set(result, name);
      return name;
    });
    return [
      `  ${statement(
        op,
        results,
        op.operands.map((operand) => names.get(operand) as string),
      )}`,
    ];
  });
  const inputs = entry.args.map((arg) => `${arg.name}: ${typeText(arg.type)}`);
  const outputs = (entry.outputs ?? []).map(
    (name, i) => `${name}: ${typeText((entry.results[i] as Value).type)}`,
  );
  const returned = (entry.outputs ?? []).map(
    (name, i) => `${name} = ${names.get(entry.results[i] as Value)}`,
  );
  return [
    `entry ${entry.name}(${inputs.join(', ')}) -> (${outputs.join(', ')}) {`,
    ...lines,
    `  return (${returned.join(', ')})`,
    '}',
  ];
}

function statement(op: Op, results: readonly string[], operands: readonly string[]): string {
  if (op.name === 'param') {
    return `weight ${results[0]}: ${typeText((op.results[0] as Value).type)} = ${quoted(op.attrs.name)}`;
  }
  const left = results.length === 1 ? results[0] : `(${results.join(', ')})`;
  return `let ${left} = ${operators[op.name]?.(operands) ?? call(op, operands)}`;
}

/** Attributes that are as by default are left out. */
function call(op: Op, operands: readonly string[]): string {
  const decl: OpDecl = opTable[op.name];
  const attrs = Object.entries(decl.attrs).flatMap(([key, spec]) => {
    const value = op.attrs[key] as AttrValue;
    return JSON.stringify(value) === JSON.stringify(spec.default)
      ? []
      : [`${key} = ${attrText(spec, value)}`];
  });
  return `${op.name}(${[...operands, ...attrs].join(', ')})`;
}

function attrText({ kind }: AttrSpec, value: AttrValue): string {
  switch (kind) {
    case 'dim':
      return printDim(value as Dim);
    case 'dims':
      return `[${(value as readonly Dim[]).map(printDim).join(', ')}]`;
    case 'ints':
      return `[${(value as readonly number[]).join(', ')}]`;
    case 'float':
      return floatText(value as number);
    case 'string':
      return quoted(value as string);
    default:
      return String(value);
  }
}

function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? '0.0 / 0.0' : `${Math.sign(value)}.0 / 0.0`;
  const text = String(value);
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function quoted(text: string): string {
  return `"${text.replaceAll(/["\\{}]/g, (character) => `\\${character}`)}"`;
}

function typeText({ dtype, shape }: TensorType): string {
  if (shape.length === 0) return `${dtype}[]`;
  const dims = shape.map((size) => String(constantOf(size) ?? printDim(size)));
  return `${dtype === 'f32' ? '' : dtype}[${dims.join(', ')}]`;
}

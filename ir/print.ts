/** The text form of a module. `parse(print(m))` equals `m`; two functions are equal when their text is equal. */
import { isAttrValue } from './builder.js';
import { type Dim, printDim } from './dim.js';
import type { DimDecl, Func, Module, Op, Value } from './module.js';
import type { AttrKind, Attrs, AttrValue } from './op.js';
import { isOpName, opTable } from './ops/table.js';
import type { Recipe } from './recipe.js';
import { printType } from './type.js';

export interface PrintOptions {
  /** False prints every value by number, so that names do not matter. */
  readonly names?: boolean;
}

export function printModule(module: Module): string {
  const lines = [
    ...[...module.dims].map(([name, decl]) => `dim ${name} ${printDimDecl(decl)}`),
    ...[...module.loops].map(
      ([name, loop]) =>
        `loop ${name} over ${printDim(loop.count)}${loop.first ? ` from ${printDim(loop.first)}` : ''} = [${loop.indices.join(', ')}]`,
    ),
    ...[...module.states].map(
      ([name, state]) => `state ${symbol(name)}${inLoop(state.loop)} : ${printType(state.type)}`,
    ),
    ...[...module.params].map(
      ([name, param]) =>
        `param ${symbol(name)}${inLoop(param.loop)} : ${printType(param.type)} = ${printRecipe(param.recipe)}`,
    ),
    ...(module.tokenizer ? [`tokenizer ${JSON.stringify(module.tokenizer.file)}`] : []),
    ...(module.sampler ? [`sampler ${module.sampler.kind} ${JSON.stringify(module.sampler.settings)}`] : []),
  ];
  const functions = [...module.functions.values()].map((f) => printFunc(f));
  const sections = [...(lines.length > 0 ? [lines.join('\n')] : []), ...functions];
  return `module ${symbol(module.name)} {\n${sections.map((text) => `${indent(text)}\n`).join('\n')}}\n`;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, '  ');
}

function inLoop(loop: string | undefined): string {
  return loop === undefined ? '' : ` in ${loop}`;
}

function printDimDecl(decl: DimDecl): string {
  return 'value' in decl ? `= ${decl.value}` : `in ${decl.min}..${decl.max}`;
}

export function symbol(name: string): string {
  return /^[\w.{}+-]+$/.test(name) ? `@${name}` : `@${JSON.stringify(name)}`;
}

export function printRecipe(recipe: Recipe): string {
  switch (recipe.kind) {
    case 'source':
      return `source(${JSON.stringify(recipe.name)}, ${printType(recipe.type)})`;
    case 'constant':
      return `constant(${printType(recipe.type)}, "${Buffer.from(recipe.bytes).toString('base64')}")`;
    case 'stack':
      return `stack(${[printDim(recipe.count), ...recipe.parts.map(printRecipe)].join(', ')})`;
    case 'per_index':
      return `per_index(${recipe.parts.map(printRecipe).join(', ')})`;
    case 'op':
      return `${recipe.op}(${[...recipe.args.map(printRecipe), ...printAttrs(recipe.op, recipe.attrs)].join(', ')})`;
  }
}

/** Attributes that differ from their defaults, as `key=value`. Ops that the verifier rejects are printed too. */
function printAttrs(opName: string, attrs: Attrs): string[] {
  const schema = isOpName(opName) ? opTable[opName].attrs : {};
  return Object.entries(schema).flatMap(([key, spec]) => {
    const text = printAttr(spec.kind, attrs[key]);
    const isDefault = spec.default !== undefined && printAttr(spec.kind, spec.default) === text;
    return isDefault ? [] : [`${key}=${text}`];
  });
}

const attrPrinters: Record<AttrKind, (value: never) => string> = {
  int: (v: number) => String(v),
  float: (v: number) => (Object.is(v, -0) ? '-0' : String(v)),
  bool: (v: boolean) => String(v),
  string: (v: string) => JSON.stringify(v),
  ints: (v: readonly number[]) => `[${v.join(', ')}]`,
  dim: (v: Dim) => printDim(v),
  dims: (v: readonly Dim[]) => `[${v.map(printDim).join(', ')}]`,
  dtype: (v: string) => v,
  symbol: (v: string) => symbol(v),
};

function printAttr(kind: AttrKind, value: AttrValue | undefined): string {
  return isAttrValue(kind, value) ? attrPrinters[kind](value as never) : `<${JSON.stringify(value)}>`;
}

/** Names for the values of one function: hints where they are usable and unique, numbers otherwise. */
class ValueNames {
  private readonly names = new Map<Value, string>();
  private readonly taken = new Set<string>();
  private counter = 0;

  constructor(private readonly useHints: boolean) {}

  define(value: Value): string {
    const name =
      this.useHints && value.name !== undefined && /^[A-Za-z_]\w*$/.test(value.name)
        ? this.unique(value.name)
        : String(this.counter++);
    this.names.set(value, name);
    return `%${name}`;
  }

  private unique(hint: string): string {
    let name = hint;
    for (let i = 2; this.taken.has(name); i++) name = `${hint}_${i}`;
    this.taken.add(name);
    return name;
  }

  use(value: Value): string {
    return `%${this.names.get(value) ?? '<undefined>'}`;
  }
}

export function printFunc(func: Func, options: PrintOptions = {}): string {
  const names = new ValueNames(options.names ?? true);
  const args = func.args.map((arg) => `${names.define(arg)}: ${printType(arg.type)}`).join(', ');
  const results = func.results.map((r, i) =>
    func.outputs ? `${func.outputs[i]}: ${printType(r.type)}` : printType(r.type),
  );
  const keyword = func.outputs ? 'entry' : 'func';
  const kernel = func.kernel === undefined ? '' : ` kernel ${func.kernel}`;
  const head = `${keyword} ${symbol(func.name)}${inLoop(func.loop)}${kernel}(${args}) -> (${results.join(', ')}) {`;
  const body = func.body.map((op) => `  ${printOp(op, names)}`);
  return [head, ...body, `  return ${func.results.map((r) => names.use(r)).join(', ')}`.trimEnd(), '}'].join(
    '\n',
  );
}

function printOp(op: Op, names: ValueNames): string {
  const args = [...op.operands.map((o) => names.use(o)), ...printAttrs(op.name, op.attrs)].join(', ');
  const call = `${op.name}(${args})`;
  if (op.results.length === 0) return call;
  const results = op.results.map((r) => names.define(r)).join(', ');
  return `${results} = ${call} : ${op.results.map((r) => printType(r.type)).join(', ')}`;
}

/** The function's text with a caret line under the op to blame, for verifier messages. */
export function printFuncMarking(func: Func, index: number, note: string): string {
  const lines = printFunc(func).split('\n');
  const line = lines[index + 1] ?? '';
  const lead = ' '.repeat(line.length - line.trimStart().length);
  lines.splice(index + 2, 0, `${lead}${'^'.repeat(Math.max(1, line.trim().length))} ${note}`);
  return lines.join('\n');
}

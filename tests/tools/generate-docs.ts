/**
 * Writes the pages of docs/ that are made from tables in the sources (`npm run docs`):
 * passes.md from the registry and the rewrite rules, errors.md from the diagnostic codes, ops.md from the op table.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { legalisationRules } from '../../backends/wasm/legalise.js';
import { exportOpset } from '../../compiler/onnx/export/export.js';
import { exportTable } from '../../compiler/onnx/export/operators.js';
import { operatorTables } from '../../compiler/onnx/operators.js';
import { type DiagnosticCode, diagnosticCodes, exitCodes } from '../../ir/diagnostics.js';
import { printDim } from '../../ir/dim.js';
import type { AttrSpec, OpDecl, OperandSpec } from '../../ir/op.js';
import { opNames, opTable } from '../../ir/ops/table.js';
import { canonicalRules } from '../../passes/canonicalize.js';
import { liftRules } from '../../passes/lift/lift.js';
import type { Pass } from '../../passes/pass.js';
import { passes, standardPipeline } from '../../passes/registry.js';
import type { Rule } from '../../passes/rules/rule.js';

/** Text of every generated page, by its name in docs/. */
export function generatedPages(): ReadonlyMap<string, string> {
  return new Map([
    ['passes.md', passesPage()],
    ['errors.md', errorsPage()],
    ['ops.md', opsPage()],
    ['onnx.md', onnxPage()],
  ]);
}

const notice = '<!-- Made by `npm run docs`; change the tables in the sources instead. -->';

function page(title: string, ...parts: readonly string[]): string {
  return `${[notice, `# ${title}`, ...parts].join('\n\n')}\n`;
}

function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(titles), `|${'---|'.repeat(titles.length)}`, ...rows.map(line)].join('\n');
}

const code = (text: string): string => `\`${text}\``;

// ---- passes.md

function passesPage(): string {
  return page(
    'Passes',
    'A pass takes a module to a module and reports what it did. An exact pass keeps the meaning of the module up to\nrounding; an approximate one says what it costs. The verifier runs after every pass.',
    'A pipeline is a list of passes with options, `canonicalize,fuse{epilogues=false},dce`, given to\n`hew compile --pipeline` or to `parsePipeline`. The standard one is:',
    `    ${standardPipeline}`,
    'A backend follows it with passes of its own; what they did is shown by `--time-passes`, and the module after any of\nthem by `--print-after`.',
    ...passes.map(passSection),
    '## Rules of canonicalize',
    'Each rule is named and counted. It is applied wherever its left side occurs, until none matches.',
    rulesTable(canonicalRules),
    '## Rules of lift',
    'They run together with those of canonicalize. The two ends of a mixture of experts, weights and indices, are found by `lift-moe-route`, which is no rule of one op.',
    rulesTable(liftRules),
    '## Legalisation for wasm',
    'Before fusion, the WebAssembly backend rewrites what it has no kernels for.',
    rulesTable(legalisationRules),
  );
}

function passSection({ name, kind, summary, options, dimensionOption, notAfter = {}, data }: Pass): string {
  const rows = Object.entries(options).map(([key, spec]) => [
    code(key),
    spec.kind,
    spec.default === '' ? '' : code(String(spec.default)),
    spec.doc,
  ]);
  if (dimensionOption !== undefined) {
    rows.unshift(['*a dimension*', dimensionOption.kind, '', dimensionOption.doc]);
  }
  const needs = data === undefined ? [] : ['Needs calibration data: it runs in `hew prune`.'];
  const order = Object.entries(notAfter).map(([earlier, why]) => `Not after ${code(earlier)}: ${why}.`);
  const parts = [`## ${name}`, [`${summary} *(${kind})*`, ...needs, ...order].join(' ')];
  return [...parts, ...(rows.length > 0 ? [table(['Option', 'Type', 'Default', 'Meaning'], rows)] : [])].join(
    '\n\n',
  );
}

function rulesTable(rules: readonly Rule[]): string {
  return table(
    ['Rule', 'At', 'Algebra'],
    rules.map(({ name, op, algebra }) => [code(name), code(op), algebra]),
  );
}

// ---- errors.md

/** Themes by the first digit of the code. */
const themes: Readonly<Record<string, string>> = {
  1: 'Syntax of specs',
  2: 'Names, types and shapes in specs',
  3: 'Configuration and files',
  4: 'Checkpoints',
  5: 'IR text and verifier',
  6: 'Passes and backends',
  7: 'Bundles and running',
  8: 'Command line and gates',
  9: 'Hew itself',
};

function errorsPage(): string {
  const codes = Object.keys(diagnosticCodes) as DiagnosticCode[];
  const sections = Object.entries(themes).flatMap(([digit, theme]) => [
    `## ${theme}`,
    table(['Code', 'Title', 'Meaning', 'Exit code'], codes.filter((name) => name[3] === digit).map(errorRow)),
  ]);
  return page(
    'Errors',
    'Every error and warning has a code. The message names the place and what was found there; this page says what the\ncode stands for. The exit code of a run is that of its first error.',
    table(['Exit code', 'Meaning'], exitRows()),
    ...sections,
  );
}

const exitMeanings: Readonly<Record<keyof typeof exitCodes, string>> = {
  ok: 'success',
  badInput: 'something is wrong with the input',
  usage: 'the command line is not as it should be',
  gateFailed: 'a measured value is beyond its limit',
  unsupported: 'the input is sound, but Hew or the target cannot do it',
  internal: 'a mistake in Hew',
};

function exitRows(): string[][] {
  return Object.entries(exitCodes).map(([name, value]) => [
    String(value),
    exitMeanings[name as keyof typeof exitCodes],
  ]);
}

function errorRow(name: DiagnosticCode): string[] {
  const info: { title: string; doc: string; exit?: number } = diagnosticCodes[name];
  return [name, info.title, info.doc, String(info.exit ?? exitCodes.badInput)];
}

// ---- ops.md

function opsPage(): string {
  const byCategory = Map.groupBy(opNames, (name) => opTable[name].category);
  const sections = [...byCategory].flatMap(([category, names]) => [
    `## ${category}`,
    ...names.map((name) => opSection(name, opTable[name])),
  ]);
  return page(
    'Operations',
    'The operations of the IR. All but those under *structure* can be called in a spec by name: operands first, then\nattributes by name. Each is declared once, in `ir/ops/`, with its typing, its meaning, its cost and, for operations\nthat are more than primitive, a decomposition into others that the tests compare it with.',
    ...sections,
  );
}

function opSection(name: string, decl: OpDecl): string {
  const signature = `${name}(${decl.operands.map(operandName).join(', ')})`;
  const traits = [
    ...(decl.decompose === undefined ? [] : ['decomposes']),
    ...(decl.effects ? ['has effects'] : []),
  ];
  const suffix = traits.length > 0 ? ` *(${traits.join(', ')})*` : '';
  const items = [
    ...decl.operands.map((operand) => `- ${code(operand.name)}: ${operand.doc}${operandTraits(operand)}`),
    ...Object.entries(decl.attrs).map(attributeItem),
  ];
  return [
    `### ${name}`,
    `${code(signature)}: ${decl.doc}${suffix}`,
    ...(items.length > 0 ? [items.join('\n')] : []),
  ].join('\n\n');
}

function operandName({ name, optional, variadic }: OperandSpec): string {
  return `${name}${variadic ? '…' : ''}${optional ? '?' : ''}`;
}

function operandTraits({ widens }: OperandSpec): string {
  return widens ? ' (f32, f16 or bf16)' : '';
}

function attributeItem([name, { kind, doc, default: fallback, oneOf }]: [string, AttrSpec]): string {
  const choices = oneOf === undefined ? kind : oneOf.map(code).join(', ');
  const ending = fallback === undefined ? '' : `; default ${code(showDefault(fallback))}`;
  return `- ${code(`${name} =`)} ${doc} (${choices}${ending})`;
}

function showDefault(value: NonNullable<AttrSpec['default']>): string {
  if (Array.isArray(value)) return `[${value.map((item) => showDefault(item)).join(', ')}]`;
  return typeof value === 'object' && 'terms' in value ? printDim(value) : String(value);
}

// ---- onnx.md

function onnxPage(): string {
  const decomposed = opNames.filter((name) => exportTable[name] === 'decomposed').map(code);
  const sections = Object.entries(operatorTables).flatMap(([domain, operators]) => [
    `### ${domain === '' ? 'Standard operators' : domain}`,
    table(
      ['operator', 'since opset', 'limits'],
      Object.entries(operators).map(([name, { since, limits }]) => [name, String(since), limits ?? '']),
    ),
  ]);
  return page(
    'ONNX',
    'An `.onnx` file is accepted wherever a spec is: `hew compile`, `eval`, `inspect`, `check`, `export`, and `prune` with\n`--bundle-only`. Its graph is the only entry, `main`; `hew run` needs the entries `prefill` and `decode`, which it does\nnot have.\n`hew import model.onnx -o DIR` writes a spec of the graph, one statement per node, and its weights as safetensors.\n`hew export SPEC --format onnx --entry NAME -o model.onnx` writes one entry of a model.',
    '## Reading',
    '- Opsets 1 to 24 of the standard operators and version 1 of `com.microsoft`; a newer opset is read as opset 24, with a warning. Functions of the model are expanded, also where their operator is known under another domain.\n- Symbolic dimensions stay symbols. `--set batch=1` fixes one, `--set sequence=1..512` bounds it, `--set total=past+sequence` says that one is a formula of others. Memory is planned for 1 to 256 of those that nothing is said about.\n- Shapes, axes, pads and the like must be constant or follow from the shapes of inputs (HEW3108 otherwise). Loops and scans with a known number of turns are unrolled; sequences exist only while compiling.\n- Tensors stay in the file, or in the files of external data, and are read by ranges. External data must lie in the folder of the model or below it.\n- 64-bit floats are computed as f32, with a warning. Strings, complex numbers, 8-bit floats and the integers that Hew lacks (16-bit, unsigned 32- and 64-bit) are refused (HEW3109).\n- An index into a table of weights must not be negative: it fails at run time, where ONNX counts from the end.\n- Afterwards the pass `lift` raises decomposed norms, activations, attention, rotary positions and experts to their own ops; see [passes.md](passes.md).',
    'Everything that is not supported is reported at once by `hew check model.onnx`, with the node, the operator and the nearest form that is.',
    '## Writing',
    `The opset is ${exportOpset}. Layers are written out; states are inputs, and outputs named \`…_next\`. Weights above 1 GiB go into a file \`model.onnx.data\` beside the model. Quantized layers are float operators between QuantizeLinear and DequantizeLinear, a scale per row being one block; \`hew quantize --onnx\` writes all entries of a quantized model so. Reading them, \`lift\` makes integer layers of them again. These ops are written by their decomposition, the others by one operator or two: ${decomposed.join(', ')}.`,
    '## Operators that are read',
    ...sections,
  );
}

if (import.meta.main) {
  for (const [name, text] of generatedPages()) {
    writeFileSync(fileURLToPath(new URL(`../../docs/${name}`, import.meta.url)), text);
  }
}

/** `hew inspect`: tables of what is in a model or a bundle. */
import type { Command } from 'commander';
import {
  type BundleSummary,
  type EntrySummary,
  type Flops,
  inspectManifest,
  inspectModule,
  type ModelSummary,
  openModel,
  readManifest,
  type TensorSummary,
} from '../../api.js';
import { type Column, formatBytes, formatCount, renderTable } from '../format.js';
import { addModelOptions, type ModelFlags, modelOptions } from '../options.js';
import type { Output } from '../output.js';
import type { Session } from '../program.js';
import { resolveSource } from '../source.js';

export function inspectCommand(program: Command, { output }: Session): void {
  const command = program
    .command('inspect <model>')
    .description('show dimensions, parameters, states, entry points and costs');
  addModelOptions(command)
    .addHelpText('after', example)
    .action((model: string, flags: ModelFlags) => run(model, flags, output));
}

const example = `
Example:
  hew inspect examples/pangu-2m/model.hew`;

async function run(path: string, flags: ModelFlags, output: Output): Promise<void> {
  const source = resolveSource(path);
  if (source.kind === 'bundle') {
    const summary = inspectManifest(await readManifest(source.path));
    output.result(summary, bundleText(summary));
    return;
  }
  const model = openModel(modelOptions(source.path, flags));
  try {
    output.diagnostics(model.warnings);
    const summary = inspectModule(model.module);
    output.result(summary, modelText(summary));
  } finally {
    model.close();
  }
}

const right = 'right' as const;

function sections(parts: readonly (readonly [title: string, text: string])[]): string {
  return parts
    .filter(([, text]) => text !== '')
    .map(([title, text]) => `${title}\n${text.replace(/^(?=.)/gm, '  ')}`)
    .join('\n');
}

function tableOf(columns: readonly Column[], rows: readonly (readonly (string | number)[])[]): string {
  return rows.length === 0 ? '' : renderTable(columns, rows);
}

function modelText(summary: ModelSummary): string {
  const { parameters, parameterBytes, stateBytes } = summary.totals;
  const totals = `${formatCount(parameters)} parameters, ${formatBytes(parameterBytes)}; states ${formatBytes(stateBytes)}\n`;
  return sections([
    [summary.name, totals],
    ['dimensions', dimTable(summary)],
    ['parameters', tensorTable(summary.parameters)],
    ['states', tensorTable(summary.states)],
    ['entry points', entryTable(summary.entries)],
    ...summary.entries.map(({ name, flops }) => [`operations of ${name}`, flopsTable(flops)] as const),
  ]);
}

function dimTable({ dims }: ModelSummary): string {
  const rows = dims.map(({ name, value, min, max }) => [name, value ?? `${min}..${max}`]);
  return tableOf([{ title: 'name' }, { title: 'value', align: right }], rows);
}

function tensorTable(tensors: readonly TensorSummary[]): string {
  const rows = tensors.map(({ name, type, shape, count, bytes }) => [
    name,
    type,
    shape.length === 0 ? 'scalar' : shape.join(' x '),
    count,
    formatBytes(bytes),
  ]);
  return tableOf(
    [
      { title: 'name' },
      { title: 'type' },
      { title: 'shape' },
      { title: 'count', align: right },
      { title: 'bytes', align: right },
    ],
    rows,
  );
}

function entryTable(entries: readonly Omit<EntrySummary, 'flops'>[]): string {
  const list = (slots: EntrySummary['inputs']): string =>
    slots.map(({ name, type }) => `${name}: ${type}`).join(', ');
  const rows = entries.map(({ name, inputs, outputs }) => [name, list(inputs), list(outputs)]);
  return tableOf([{ title: 'name' }, { title: 'inputs' }, { title: 'outputs' }], rows);
}

function flopsTable(flops: readonly Flops[]): string {
  const largest = flops.at(-1);
  if (largest === undefined || largest.total === 0) return '';
  const title = ({ symbols }: Flops): string =>
    Object.entries(symbols)
      .map(([name, value]) => `${name} = ${value}`)
      .join(', ') || 'FLOPs';
  const rows = Object.keys(largest.byCategory).map((category) => [
    category,
    ...flops.map(({ byCategory }) => formatCount(byCategory[category as keyof typeof byCategory] ?? 0)),
    `${((100 * (largest.byCategory[category as keyof typeof largest.byCategory] ?? 0)) / largest.total).toFixed(1)} %`,
  ]);
  const total = ['total', ...flops.map((cost) => formatCount(cost.total)), ''];
  return tableOf(
    [
      { title: 'class' },
      ...flops.map((cost) => ({ title: title(cost), align: right })),
      { title: 'share', align: right },
    ],
    [...rows, total],
  );
}

function bundleText(summary: BundleSummary): string {
  const { target, compiler, features, variants, memoryBytes, symbols, files, states, entries } = summary;
  const faster = variants.map((variant) => `; faster with ${variant.features.join(', ')}`).join('');
  const head = `${target} (${features.join(', ')}${faster}), compiled by hew ${compiler}, memory ${formatBytes(memoryBytes)}\n`;
  const byteColumns: Column[] = [{ title: 'name' }, { title: 'bytes', align: right }];
  return sections([
    [summary.name, head],
    [
      'symbols',
      tableOf(
        [{ title: 'name' }, { title: 'bounds' }],
        Object.entries(symbols).map(([name, { min, max }]) => [name, `${min}..${max}`]),
      ),
    ],
    [
      'files',
      tableOf(
        byteColumns,
        files.map(({ name, bytes }) => [name, formatBytes(bytes)]),
      ),
    ],
    [
      'states',
      tableOf(
        [{ title: 'name' }, { title: 'type' }, { title: 'bytes', align: right }],
        states.map(({ name, type, bytes }) => [name, type, formatBytes(bytes)]),
      ),
    ],
    ['entry points', entryTable(entries)],
  ]);
}

/** A language model: prefill and decode, against its own linear layers in plain JavaScript. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  compile,
  entriesOf,
  load,
  type ModelOptions,
  type Module,
  openModel,
  parsePipeline,
  runPipeline,
  standardPipeline,
} from '../../compiler/api.js';
import { entryFlops } from '../../compiler/inspect.js';
import { evalDim, productOfDims } from '../../ir/dim.js';
import { type Func, modelDims } from '../../ir/module.js';
import { baselineRunner, type LinearShape } from './baseline.js';
import { compare, median, printTable } from './measure.js';
import type { Peaks } from './probe.js';

interface WorkloadOptions {
  readonly name: string;
  readonly model: ModelOptions;
  readonly tokens: number;
}

/** Shapes of the linear layers of an entry, as often as they run; `outputs` limits them to what is asked for. */
function linearShapes(
  module: Module,
  func: Func,
  dims: ReadonlyMap<string, number>,
): { once: LinearShape[]; turns: number }[] {
  const own: LinearShape[] = [];
  const nested: { once: LinearShape[]; turns: number }[] = [];
  for (const op of func.body) {
    if (op.name === 'linear') {
      const [x, w] = op.operands;
      const [columns, inner] = (w?.type.shape ?? []).map((d) => evalDim(d, dims)) as [number, number];
      own.push({ rows: evalDim(productOfDims(x?.type.shape.slice(0, -1) ?? []), dims), inner, columns });
    }
    if (op.name !== 'repeat') continue;
    const turns = module.loops.get(op.attrs.loop)?.indices.length ?? 0;
    const callee = module.functions.get(op.attrs.callee) as Func;
    nested.push(
      ...linearShapes(module, callee, dims).map((part) => ({ ...part, turns: part.turns * turns })),
    );
  }
  return own.length > 0 ? [{ once: own, turns: 1 }, ...nested] : nested;
}

/** Milliseconds of an entry's linear layers in JavaScript: each distinct layer is timed once and counted. */
function baselineTime(module: Module, entry: string, symbols: Readonly<Record<string, number>>): number {
  const func = entriesOf(module).find((f) => f.name === entry) as Func;
  const dims = new Map([...modelDims(module), ...Object.entries(symbols)]);
  return linearShapes(module, func, dims)
    .map(
      ({ once, turns }) =>
        (compare([{ name: 'js', run: baselineRunner(once) }], 3, 0)[0]?.median ?? 0) * turns,
    )
    .reduce((sum, ms) => sum + ms, 0);
}

/** Operations of the linear layers: attention depends on how full the cache is, and is left out. */
function linearFlops(module: Module, func: Func, symbols: Readonly<Record<string, number>>): number {
  return entryFlops(module, func, symbols).byCategory.contraction ?? 0;
}

function weightBytes(module: Module): number {
  const dims = modelDims(module);
  return [...module.params.values()].reduce((sum, { type, loop }) => {
    const turns = loop === undefined ? 1 : (module.loops.get(loop)?.indices.length ?? 0);
    return sum + evalDim(productOfDims(type.shape), dims) * (type.dtype === 'f32' ? 4 : 2) * turns;
  }, 0);
}

function timed(run: () => void, rounds: number): number {
  return median(
    Array.from({ length: rounds }, () => {
      const start = performance.now();
      run();
      return performance.now() - start;
    }),
  );
}

export async function benchModel(
  { name, model: options, tokens }: WorkloadOptions,
  peaks: Peaks,
): Promise<void> {
  const opened = openModel(options);
  const { module } = runPipeline(opened.module, parsePipeline(standardPipeline));
  opened.close();
  const prefill = entriesOf(module).find((f) => f.name === 'prefill') as Func;
  const decode = entriesOf(module).find((f) => f.name === 'decode') as Func;
  const flops = linearFlops(module, prefill, { T: tokens });
  const rows: string[][] = [];
  for (const relaxedSimd of [false, true]) {
    const output = mkdtempSync(join(tmpdir(), 'hew-bench-'));
    try {
      const report = await compile({ ...options, output, relaxedSimd });
      const running = await load(output);
      const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 37) % 4000);
      const prefillOnce = () => {
        running.reset();
        running.run('prefill', { ids }, { outputs: ['logits'] });
      };
      for (let i = 0; i < 3; i++) prefillOnce();
      const prefillMs = timed(prefillOnce, 7);
      const decodeMs = timed(() => void running.run('decode', { ids: Int32Array.of(7) }), 64);
      const traffic = weightBytes(module) / decodeMs / 1e6;
      const kind = relaxedSimd ? 'relaxed' : 'simd128';
      const rate = flops / prefillMs / 1e6;
      const share = (rate / (relaxedSimd ? peaks.relaxed : peaks.simd)) * 100;
      const prefillJs = baselineTime(module, 'prefill', { T: tokens });
      const decodeJs = baselineTime(module, 'decode', {});
      rows.push([
        `prefill ${tokens}, all logits`,
        kind,
        prefillMs.toFixed(1),
        rate.toFixed(1),
        '-',
        `${share.toFixed(0)}% of compute`,
        `${(prefillJs / prefillMs).toFixed(1)}x`,
      ]);
      rows.push([
        `decode after ${tokens}`,
        kind,
        decodeMs.toFixed(2),
        (linearFlops(module, decode, {}) / decodeMs / 1e6).toFixed(1),
        traffic.toFixed(1),
        `${((traffic / peaks.bandwidth) * 100).toFixed(0)}% of bandwidth`,
        `${(decodeJs / decodeMs).toFixed(1)}x`,
      ]);
      rows.push([
        `compile (${(report.bytes.code / 1024).toFixed(0)} KiB of code)`,
        kind,
        (report.seconds * 1000).toFixed(0),
        '-',
        '-',
        '-',
        '-',
      ]);
    } finally {
      rmSync(output, { recursive: true, force: true });
    }
  }
  printTable(
    `${name}, one thread; ratio is against its linear layers alone in plain JavaScript`,
    ['work', 'code', 'ms', 'linear GFLOP/s', 'weight GB/s', 'of the peak', 'ratio'],
    rows,
  );
}

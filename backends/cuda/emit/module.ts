/** The CUDA source of a module: the parts of the device library that it uses, then one global function per kernel. */

import { constantOf, type Dim } from '../../../ir/dim.js';
import type { Func, Module } from '../../../ir/module.js';
import { printFunc } from '../../../ir/print.js';
import type { Grid, PlannedVariant } from '../../native/plan.js';
import { constantArguments } from '../constant-arguments.js';
import { libraries } from '../device/libraries.js';
import { prelude } from '../device/prelude.js';
import { runtime } from '../device/runtime.js';
import { sampling } from '../device/sampling.js';
import type { Tuning } from '../tuning.js';
import {
  isPhases,
  type KernelContext,
  kernelContext,
  type Library,
  type Phase,
  scratch,
  threads,
  type Variant,
} from './kernel.js';
import { storageType } from './size.js';
import { emitterOf, scratchOf } from './table.js';

export interface EmittedLaunch {
  readonly name: string;
  readonly grid: Grid;
  readonly variants: readonly PlannedVariant[];
}

export interface EmittedKernel {
  readonly launches: readonly EmittedLaunch[];
  readonly symbols: readonly string[];
  readonly code: string;
}

/** Kernels by the names of their functions. `prefix` keeps the global names of several modules apart. */
export function emitKernels(
  module: Module,
  funcs: readonly Func[],
  used: Set<Library>,
  tuning: Tuning,
  prefix = '',
): Map<string, EmittedKernel> {
  const taken = new Set<string>();
  const constant = constantArguments(module);
  return new Map(
    funcs.map((func) => {
      const name = globalName(`${prefix}${func.name}`, taken);
      const context = kernelContext(module, func, used, constant.get(func.name) ?? new Set(), tuning);
      return [func.name, emitKernel(context, name, scratchOf(module, func, tuning))];
    }),
  );
}

/** A C identifier that no other kernel has. */
function globalName(name: string, taken: Set<string>): string {
  const stem = name.replaceAll(/[^A-Za-z0-9]/g, '_');
  let unique = /^[0-9]/.test(stem) ? `k_${stem}` : stem;
  while (taken.has(unique)) unique = `${unique}_`;
  taken.add(unique);
  return unique;
}

function emitKernel(context: KernelContext, name: string, scratchBytes: Dim): EmittedKernel {
  const { func } = context;
  const made = emitterOf(func)(context);
  const phases: readonly Phase[] = isPhases(made) ? made : [{ suffix: '', grid: made, code: context.code }];
  const comment = printFunc({ ...func, name: func.name })
    .trimEnd()
    .split('\n')
    .map((line) => `// ${line.trim()}`);
  const launches = phases.map(({ suffix, grid, variants = [] }) => ({
    name: `${name}${suffix}`,
    grid,
    variants: variants.map((variant) => emittedVariant(func, name, variant)),
  }));
  const list = parameters(context, scratchBytes);
  const functions = phases.flatMap(({ suffix, code, variants = [], resident }) => [
    globalFunction(
      `__launch_bounds__(${[threads, resident || []].flat().join(', ')}) ${name}${suffix}`,
      list,
      String(code),
    ),
    ...variants.map((variant) => variantFunction(list, name, variant)),
  ]);
  return { launches, symbols: context.symbols, code: [...comment, ...functions].join('\n') };
}

function globalFunction(head: string, parameters: string, code: string): string {
  return [
    `extern "C" __global__ void ${head}(${parameters}) {`,
    '  release_successor();',
    '  const unsigned block = blockIdx.x;',
    code,
    '}',
  ].join('\n');
}

/** Where the instructions are missing only the name is left: the runtime does not launch it. */
function variantFunction(parameters: string, name: string, variant: Variant): string {
  const maps = variant.maps.map((_, i) => `const __grid_constant__ TensorMap map${i}`);
  const head = `__launch_bounds__(${variant.threads}, 1) ${name}${variant.suffix}`;
  const code = `#if HEW_WGMMA\n${variant.code}\n#endif`;
  return globalFunction(head, [...maps, parameters].join(', '), code);
}

function emittedVariant(func: Func, name: string, variant: Variant): PlannedVariant {
  const { suffix, grid, threads, shared, cost, preferred, least = 0 } = variant;
  const maps = variant.maps.map(({ value, ...map }) => ({
    ...map,
    pointer: func.args.indexOf(value),
    dtype: value.type.dtype,
  }));
  return { name: `${name}${suffix}`, grid, threads, shared, cost, preferred, least, maps };
}

/** Pointers that are read are not `__restrict__`: an append may write its argument. */
function parameters({ func, symbols, pointer }: KernelContext, scratchBytes: Dim): string {
  return [
    ...func.args.map((arg) => `const ${storageType[arg.type.dtype]}* ${pointer(arg)}`),
    ...func.results.map((result) => `${storageType[result.type.dtype]}* ${pointer(result)}`),
    ...(constantOf(scratchBytes) === 0 ? [] : [`char* ${scratch}`]),
    ...symbols.map((symbol) => `const int ${symbol}`),
  ].join(', ');
}

/** The whole source. */
export function sourceText(
  title: string,
  used: ReadonlySet<Library>,
  kernels: Iterable<EmittedKernel>,
): string {
  const parts = (Object.keys(libraries) as Library[]).filter((name) => used.has(name));
  return [
    `// ${title}\n`,
    prelude,
    ...parts.map((name) => libraries[name]),
    runtime,
    sampling,
    '// ---- kernels of the model ----\n',
    ...[...kernels].map(({ code }) => `${code}\n`),
  ].join('\n');
}

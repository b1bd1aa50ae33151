/**
 * What every kernel emitter receives, and the calling convention of an emitted kernel: addresses of the arguments
 * (`in0`, `in1`, …), of the results (`out0`, …), of scratch memory where the kernel has some, then the run-time symbols
 * that it mentions, in sorted order, as uint32_t.
 *
 * A kernel is one class with Init, Process, CopyIn, Compute and CopyOut, and the entry that makes it.
 */
import { type Dim, dimBounds, dimsEqual, productOfDims } from '../../../ir/dim.js';
import { dimRange, type Func, type Module, modelDims, type Op, type Value } from '../../../ir/module.js';
import type { TensorType } from '../../../ir/type.js';
import { kernelSymbols, resolver, rootOf } from '../../kernel-function.js';
import type { Chip } from '../chips.js';
import { elementType, sizeText } from './size.js';

export interface KernelContext {
  readonly module: Module;
  readonly func: Func;
  readonly chip: Chip;
  /** The op the kernel is named for; pointwise ops after it are its epilogue. */
  readonly root: Op;
  readonly symbols: readonly string[];
  /** `in0` or `out0`. */
  pointer(value: Value): string;
  /** A dimension as C++. */
  size(value: Dim): string;
  /** From now on the dimension, where it is a constant, has this name. */
  nameDim(value: Dim, name: string): void;
  /** Declarations of the names that `size` has given. */
  namedDims(): readonly string[];
  /** Resolved: only run-time symbols are left. */
  resolve(value: Dim): Dim;
  /** Greatest value of a dimension. */
  greatest(value: Dim): number;
  /** A name that no other call gives. */
  fresh(stem: string): string;
}

/** Kernel types, as KERNEL_TASK_TYPE_DEFAULT takes them: AICORE on fused chips, the others on split ones. */
export type KernelType = 'AICORE' | 'AIV_ONLY' | 'AIC_ONLY' | 'MIX_AIV_1_0' | 'MIX_AIC_1_2';

export interface EmittedKernel {
  readonly name: string;
  readonly type: KernelType;
  readonly code: string;
  /** Units of work: no more blocks than this have anything to do. */
  readonly blocks: Dim;
  /** Bytes of local memory, by its name. */
  readonly occupancy: Readonly<Record<string, number>>;
  /** Bytes of global memory that the kernel needs while it runs, for all cores. */
  readonly scratchBytes: number;
}

/** What a kernel body says of itself; `emitKernel` puts it into a class. */
export interface KernelBody {
  readonly type: KernelType;
  /** Lines of the header comment below the op: shapes and tiling. */
  readonly about: readonly string[];
  readonly constants: readonly string[];
  /** Statements of Init after the global tensors are set. */
  readonly init: readonly string[];
  /** Private and public member functions, whole. */
  readonly methods: readonly string[];
  readonly members: readonly string[];
  readonly blocks: Dim;
  readonly occupancy: Readonly<Record<string, number>>;
  readonly scratchBytes?: number;
}

export function kernelContext(module: Module, func: Func, chip: Chip): KernelContext {
  const resolve = resolver(modelDims(module));
  const counts = new Map<string, number>();
  const named: { readonly dim: Dim; readonly name: string; used: boolean }[] = [];
  const size = (value: Dim): string => {
    const known = named.find((entry) => dimsEqual(entry.dim, value));
    const text = sizeText(resolve(value));
    // Products leave out ones, so a one has no name.
    if (known === undefined || !/^\d+$/.test(text) || Number(text) < 2) return text;
    known.used = true;
    return known.name;
  };
  const pointers = new Map<Value, string>([
    ...func.args.map((value, i) => [value, `in${i}`] as const),
    ...func.results.map((value, i) => [value, `out${i}`] as const),
  ]);
  return {
    module,
    func,
    chip,
    root: rootOf(func),
    symbols: kernelSymbols(func, modelDims(module)),
    resolve,
    size,
    nameDim: (value, name) => {
      named.push({ dim: value, name, used: false });
    },
    namedDims: () =>
      named
        .filter(({ used }) => used)
        .map(({ dim, name }) => `constexpr uint32_t ${name} = ${sizeText(resolve(dim))};`),
    greatest: (value) => Math.ceil(dimBounds(value, (name) => dimRange(module, name)).max),
    fresh: (stem) => {
      const count = counts.get(stem) ?? 0;
      counts.set(stem, count + 1);
      return `${stem}${count}`;
    },
    pointer: (value) => {
      const pointer = pointers.get(value);
      if (pointer === undefined)
        throw new Error(`kernel @${func.name} has no address of a value it computes`);
      return pointer;
    },
  };
}

/** `rms_norm_add.1` as names of C++: the entry `rms_norm_add_1`, the class `RmsNormAdd1`. */
export function entryName(func: Func): string {
  return func.name.replace(/\W/g, '_');
}
function className(func: Func): string {
  return entryName(func)
    .split('_')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1))
    .join('');
}

const indented = (lines: readonly string[], depth: number): string =>
  lines.map((line) => (line === '' ? '' : `${'    '.repeat(depth)}${line}`)).join('\n');

const shapeText = (context: KernelContext, { dtype, shape }: TensorType): string =>
  `${dtype}[${shape.map((d) => sizeText(context.resolve(d))).join(', ')}]`;

export function emitKernel(context: KernelContext, body: KernelBody): EmittedKernel {
  const { func, symbols } = context;
  const type = context.chip.layout === 'fused' ? 'AICORE' : body.type;
  const [entry, name] = [entryName(func), className(func)];
  const values = [
    ...func.args.map((value, i) => ({ name: `in${i}`, value })),
    ...func.results.map((value, i) => ({ name: `out${i}`, value })),
  ];
  const parameters = [
    ...values.map((v) => `GM_ADDR ${v.name}`),
    'GM_ADDR scratch',
    ...symbols.map((symbol) => `uint32_t ${symbol}`),
  ];
  const header = [
    `// ${func.body.map((op) => op.name).join(', ')} on ${context.chip.name}`,
    '//',
    ...values.map((v) => `//   ${v.name.padEnd(5)} ${shapeText(context, v.value.type)}`),
    '//',
    ...body.about.map((line) => `// ${line}`),
  ];
  const globals = values.map(({ name: own, value }) => {
    const type = elementType[value.type.dtype];
    const elements = context.size(productOfDims(value.type.shape));
    return `${own}Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ ${type}*>(${own}), ${elements});`;
  });
  const code = `${header.join('\n')}
#include "hew_kernel.h"

namespace {

using namespace AscendC;

${[...context.namedDims(), ...body.constants].join('\n')}

class ${name} {
public:
    __aicore__ inline ${name}(${[...symbols.map((s) => `uint32_t ${s}`), 'TPipe* pipe'].join(', ')})
        : ${[...symbols.map((s) => `${s}(${s})`), 'pipe_(pipe)'].join(', ')} {}

    __aicore__ inline void Init(${[...values.map((v) => `GM_ADDR ${v.name}`), 'GM_ADDR scratch'].join(', ')}) {
${indented([...globals, ...body.init], 2)}
    }

${body.methods.map((method) => (method === 'private:' ? method : indented(method.split('\n'), 1))).join('\n\n')}

${symbols.map((s) => `    const uint32_t ${s};`).join('\n')}
    TPipe* pipe_;
${indented(
  values.map(({ name: own, value }) => `GlobalTensor<${elementType[value.type.dtype]}> ${own}Gm_;`),
  1,
)}
${indented(body.members, 1)}
};

}  // namespace

extern "C" __global__ __aicore__ void ${entry}(${parameters.join(', ')}) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_${type});
    TPipe pipe;
    ${name} kernel(${[...symbols, '&pipe'].join(', ')});
    kernel.Init(${[...values.map((v) => v.name), 'scratch'].join(', ')});
    kernel.Process();
}
`;
  return {
    name: entry,
    type,
    code: code
      .replace(/\n{3,}/g, '\n\n')
      .replaceAll('private:\n\n', 'private:\n')
      // What is said of a method stands right above it.
      .replace(/^( *\/\/ .*)\n\n(?= *__aicore__)/gm, '$1\n'),
    blocks: body.blocks,
    occupancy: body.occupancy,
    scratchBytes: body.scratchBytes ?? 0,
  };
}

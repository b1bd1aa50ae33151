/** The context of a kernel's emitter, made from the kernel function by the calling convention of kernel.ts. */
import type binaryen from 'binaryen';
import { type Dim, dimNames } from '../../../ir/dim.js';
import type { Func, Op, Value } from '../../../ir/module.js';
import { opTable } from '../../../ir/ops/table.js';
import { opRoles } from '../../../passes/kernel-class.js';
import { Asm, type AsmOptions, i32, type Local, none } from './asm.js';
import { type KernelContext, type Layout, resolver } from './kernel.js';
import type { MathLibrary } from './math.js';
import type { Memory } from './memory.js';

/** Helper functions of a module, shared by its kernels. */
export interface Libraries {
  readonly math: MathLibrary;
  readonly memory: Memory;
}

/** Name, inside the module, of the imported function that reports a failure: (code, a, b) -> never returns. */
export const failFunction = 'fail';

/** The op a kernel function is named for: the first of its class. */
export function rootOf(func: Func): Op {
  const root = func.body.find((op) => opRoles[op.name] === func.kernel);
  if (root === undefined) throw new Error(`kernel @${func.name} has no op of class ${func.kernel}`);
  return root;
}

/** Run-time symbols a kernel mentions in its types and attributes, sorted; `dims` are the model dimensions. */
export function kernelSymbols(func: Func, dims: ReadonlyMap<string, number>): string[] {
  const values = [...func.args, ...func.results, ...func.body.flatMap((op) => op.results)];
  const mentioned = [...values.flatMap((v) => v.type.shape), ...func.body.flatMap(attributeDims)];
  const names = new Set(mentioned.flatMap((d) => [...dimNames(d)]));
  return [...names].filter((name) => !dims.has(name)).sort();
}

function attributeDims(op: Op): readonly Dim[] {
  return Object.entries(opTable[op.name].attrs).flatMap(([name, { kind }]) => {
    const value = (op.attrs as Readonly<Record<string, unknown>>)[name];
    if (kind === 'dim') return [value as Dim];
    return kind === 'dims' ? (value as readonly Dim[]) : [];
  });
}

/**
 * `layouts` holds the arguments that are not row-major, `dims` the values of the model dimensions. The emitted body
 * becomes a function with `context.asm.define(name, none, body)`.
 */
export function kernelContext(
  m: binaryen.Module,
  options: AsmOptions,
  { math, memory }: Libraries,
  func: Func,
  layouts: ReadonlyMap<Value, Layout>,
  dims: ReadonlyMap<string, number>,
): KernelContext {
  const symbols = kernelSymbols(func, dims);
  const pointed = [...func.args, ...func.results];
  const asm = new Asm(m, options, new Array<binaryen.Type>(pointed.length + 1 + symbols.length).fill(i32));
  const param = (i: number): Local => asm.params[i] as Local;
  const pointers = new Map(pointed.map((value, i) => [value, param(i)]));
  symbols.forEach((name, i) => {
    asm.symbols.set(name, param(pointed.length + 1 + i));
  });
  const resolve = resolver(dims);
  const size = (value: Dim) => asm.dim(resolve(value));
  return {
    asm,
    m,
    math,
    memory,
    func,
    root: rootOf(func),
    scratch: param(pointed.length),
    size,
    sizes: (shape) => shape.map(size),
    layout: (value) => layouts.get(value) ?? 'rows',
    pointer: (value) => {
      const pointer = pointers.get(value);
      if (pointer === undefined)
        throw new Error(`kernel @${func.name} has no pointer to a value it computes`);
      return pointer;
    },
    fail: (code, a, b) => m.call(failFunction, [asm.const(code), a, b], none),
  };
}

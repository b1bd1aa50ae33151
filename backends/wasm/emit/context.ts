/** The context of a kernel's emitter, made from the kernel function by the calling convention of kernel.ts. */
import type binaryen from 'binaryen';
import type { Dim } from '../../../ir/dim.js';
import type { Func, Value } from '../../../ir/module.js';
import { kernelSymbols, resolver, rootOf } from '../../kernel-function.js';
import { Asm, type AsmOptions, i32, type Local, none } from './asm.js';
import type { KernelContext, Layout } from './kernel.js';
import type { MathLibrary } from './math.js';
import type { Memory } from './memory.js';

/** Helper functions of a module, shared by its kernels. */
export interface Libraries {
  readonly math: MathLibrary;
  readonly memory: Memory;
}

/** Name, inside the module, of the imported function that reports a failure: (code, a, b) -> never returns. */
export const failFunction = 'fail';

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

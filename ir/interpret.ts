/**
 * The reference interpreter: the meaning of a module, executed op by op from the declarations.
 * Sums are float64 and every result element is rounded once to its dtype; in `f64` mode floats are not rounded.
 */

import { fail } from './diagnostics.js';
import { type Dim, DimError, evalDim, nameOf, tryEvalDim } from './dim.js';
import { materialise, type TensorSource } from './materialise.js';
import { dimRange, type Func, type Module, modelDims, type Op, type Value } from './module.js';
import { roundTo } from './numeric.js';
import type { EvalContext } from './op.js';
import { opTable } from './ops/table.js';
import { emptyTensor, type Tensor } from './tensor.js';
import { type DType, evalShape, isFloat } from './type.js';

export interface InterpretOptions {
  readonly precision?: 'f32' | 'f64';
  /** Checkpoint tensors; parameters made of constants alone need none. */
  readonly source?: TensorSource;
  readonly states?: StateStore;
  /** Adds what the other ranks have, for modules that are one rank of several (ir/ranks.ts). */
  readonly allReduce?: (value: Tensor) => Tensor;
}

/** State values between calls, by name and turn of the loop; states that are absent are zero. */
export type StateStore = Map<string, Tensor>;

/** Runs an entry; returns its outputs by name. */
export function interpretEntry(
  module: Module,
  entry: string,
  inputs: Readonly<Record<string, Tensor>>,
  options: InterpretOptions = {},
): Record<string, Tensor> {
  const func = module.functions.get(entry);
  if (func?.outputs === undefined) fail('HEW5003', `there is no entry @${entry}`);
  const args = func.args.map(
    (arg) => inputs[arg.name ?? ''] ?? fail('HEW5003', `input '${arg.name}' of @${entry} is missing`),
  );
  const symbols = bindSymbols(module, func, args);
  const results = new Interpreter(module, symbols, options).call(func, args, undefined);
  return Object.fromEntries(func.outputs.map((name, i) => [name, results[i] as Tensor]));
}

/** Values of all dimension names, run-time symbols inferred from the shapes of the arguments. */
export function bindSymbols(module: Module, func: Func, args: readonly Tensor[]): Map<string, number> {
  const values = modelDims(module);
  func.args.forEach((arg, i) => {
    arg.type.shape.forEach((d, axis) => {
      const name = nameOf(d);
      const size = args[i]?.shape[axis];
      if (name !== undefined && size !== undefined && !values.has(name)) values.set(name, size);
    });
  });
  func.args.forEach((arg, i) => {
    checkShape(arg, args[i] as Tensor, values);
  });
  checkBounds(module, values);
  return values;
}

function checkBounds(module: Module, values: ReadonlyMap<string, number>): void {
  for (const [name, size] of values) {
    const { min, max } = dimRange(module, name);
    if (size < min || size > max) fail('HEW5003', `${name} is ${size}, its bounds are ${min}..${max}`);
  }
}

function checkShape(arg: Value, given: Tensor, values: ReadonlyMap<string, number>): void {
  const wanted = arg.type.shape.map((d) => valueOrNothing(d, values));
  const agrees = wanted.length === given.shape.length && wanted.every((n, axis) => n === given.shape[axis]);
  if (agrees && given.dtype === arg.type.dtype) return;
  fail(
    'HEW5003',
    `input '${arg.name}' must be ${arg.type.dtype}[${wanted.map((n) => n ?? '?').join(', ')}], not ${given.dtype}[${given.shape.join(', ')}]`,
  );
}

/** Undefined as well when the symbols' values make no integer of it, such as T/2 with an odd T. */
function valueOrNothing(d: Dim, values: ReadonlyMap<string, number>): number | undefined {
  try {
    return tryEvalDim(d, values);
  } catch (error) {
    if (error instanceof DimError) return undefined;
    throw error;
  }
}

class Interpreter {
  private readonly params = new Map<string, Tensor>();
  private readonly states: StateStore;
  private readonly round: (dtype: DType) => (value: number) => number;

  constructor(
    private readonly module: Module,
    private readonly dims: ReadonlyMap<string, number>,
    private readonly options: InterpretOptions,
  ) {
    this.states = options.states ?? new Map();
    const exact = (value: number): number => value;
    this.round = (dtype) => (options.precision === 'f64' && isFloat(dtype) ? exact : roundTo[dtype]);
  }

  call(func: Func, args: readonly Tensor[], turn: number | undefined): readonly Tensor[] {
    const values = new Map<Value, Tensor>();
    func.args.forEach((arg, i) => {
      values.set(arg, args[i] as Tensor);
    });
    const context = this.contextOf(turn);
    for (const op of func.body) {
      const inputs = op.operands.map((o) => values.get(o) as Tensor);
      const results = this.evaluate(func, op, inputs, context);
      op.results.forEach((result, i) => {
        values.set(result, results[i] as Tensor);
      });
    }
    context.commit();
    return func.results.map((r) => values.get(r) as Tensor);
  }

  private evaluate(func: Func, op: Op, inputs: readonly Tensor[], context: EvalContext): readonly Tensor[] {
    try {
      return opTable[op.name].evaluate(inputs, op.attrs, context);
    } catch (error) {
      if (error instanceof RangeError || error instanceof DimError) {
        const at = op.span === undefined ? {} : { span: op.span };
        fail('HEW5003', `${op.name} in @${func.name}: ${error.message}`, at);
      }
      throw error;
    }
  }

  /** Reads see the state as it was when the function was called: writes are committed when it returns. */
  private contextOf(turn: number | undefined): EvalContext & { commit(): void } {
    const pending = new Map<string, Tensor>();
    return {
      dimValue: (d: Dim) => evalDim(d, this.dims),
      round: this.round,
      param: (name) => this.param(name, turn),
      readState: (name) => this.readState(name, turn),
      writeState: (name, value) => {
        pending.set(this.stateKey(name, turn), value);
      },
      loopCount: (loop) => this.module.loops.get(loop)?.indices.length ?? 0,
      call: (name, args, inner) => this.call(this.module.functions.get(name) as Func, args, inner),
      allReduce: (value) =>
        this.options.allReduce?.(value) ?? fail('HEW5003', 'all_reduce needs the other ranks of the model'),
      commit: () => {
        for (const [key, value] of pending) this.states.set(key, value);
      },
    };
  }

  private param(name: string, turn: number | undefined): Tensor {
    const param = this.module.params.get(name);
    if (param === undefined) return fail('HEW5003', `there is no parameter @${name}`);
    const key = param.loop === undefined ? name : `${name}#${turn}`;
    const cached = this.params.get(key);
    if (cached !== undefined) return cached;
    const value = materialise(this.module, name, turn, this.options.source);
    this.params.set(key, value);
    return value;
  }

  private stateKey(name: string, turn: number | undefined): string {
    return this.module.states.get(name)?.loop === undefined ? name : `${name}#${turn}`;
  }

  private readState(name: string, turn: number | undefined): Tensor {
    const key = this.stateKey(name, turn);
    const state = this.module.states.get(name);
    if (state === undefined) return fail('HEW5003', `there is no state @${name}`);
    return this.states.get(key) ?? emptyTensor(state.type.dtype, evalShape(state.type.shape, this.dims));
  }
}

/**
 * What is known of a value while a graph is imported. Shapes arrive as tensors that nodes compute (Shape, Gather,
 * Concat, …), so the converters ask here: first for the value itself, then for integers that are formulas over symbolic
 * dimensions. Both are found from the ops that were built so far; ops that served only this are dead afterwards.
 */
import {
  addDims,
  constantOf as constantOfDim,
  type Dim,
  DimError,
  dim,
  dimBounds,
  dimsEqual,
  divDims,
  isConstantDim,
  mulDims,
  subDims,
} from '../../ir/dim.js';
import { materialise, staticContext, type TensorSource } from '../../ir/materialise.js';
import { defOf, dimRange, type Module, modelDims, type Op, type Value } from '../../ir/module.js';
import { attrDims } from '../../ir/op.js';
import { type OpName, opTable } from '../../ir/ops/table.js';
import type { Tensor } from '../../ir/tensor.js';
import { elementCount, isFloat } from '../../ir/type.js';

/** Integers that may mention run-time symbols, in row-major order. */
export interface Formulas {
  readonly shape: readonly number[];
  readonly elements: readonly Dim[];
}

/** More elements than any shape has, few enough to compute while importing. */
const maxElements = 1 << 22;
const maxFormulas = 4096;

export class Evaluator {
  private readonly constants = new WeakMap<Value, { readonly found: Tensor | undefined }>();
  private readonly symbolic = new WeakMap<Value, { readonly found: Formulas | undefined }>();

  constructor(
    private readonly module: Module,
    private readonly source: TensorSource,
  ) {}

  /** The value, when it does not depend on inputs or symbols. */
  constant(value: Value): Tensor | undefined {
    const known = this.constants.get(value);
    if (known !== undefined) return known.found;
    const found = this.computeConstant(value);
    this.constants.set(value, { found });
    return found;
  }

  private computeConstant(value: Value): Tensor | undefined {
    const op = defOf(value);
    const size = sizeOf(value);
    if (op === undefined || size === undefined || size > maxElements) return undefined;
    if (op.name === 'param') return materialise(this.module, op.attrs.name, undefined, this.source);
    if (opTable[op.name].category === 'structure') return undefined;
    if (![...attrDims(op.attrs)].every(isConstantDim)) return undefined;
    const inputs: Tensor[] = [];
    for (const operand of op.operands) {
      const input = this.constant(operand);
      if (input === undefined) return undefined;
      inputs.push(input);
    }
    try {
      return opTable[op.name].evaluate(inputs, op.attrs, staticContext(modelDims(this.module)))[
        op.results.indexOf(value)
      ];
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  /** The elements of an integer or bool tensor as formulas over the symbols. */
  formulas(value: Value): Formulas | undefined {
    const known = this.symbolic.get(value);
    if (known !== undefined) return known.found;
    const found = this.computeFormulas(value);
    this.symbolic.set(value, { found });
    return found;
  }

  private computeFormulas(value: Value): Formulas | undefined {
    const size = sizeOf(value);
    if (size === undefined || size > maxFormulas || isFloat(value.type.dtype)) return undefined;
    const constant = this.constant(value);
    if (constant !== undefined) return { shape: constant.shape, elements: Array.from(constant.data, dim) };
    const op = defOf(value);
    if (op === undefined) return undefined;
    try {
      return this.ofOp(op, op.results.indexOf(value));
    } catch (error) {
      if (error instanceof DimError || error instanceof RangeError) return undefined;
      throw error;
    }
  }

  private ofOp(op: Op, result: number): Formulas | undefined {
    if (op.name === 'dim_size') return { shape: [], elements: [op.attrs.dim] };
    if (op.name === 'cast') return this.formulas(op.operands[0] as Value);
    if (movement.has(op.name)) return this.moved(op, result);
    if (op.name === 'reduce_prod') return this.reduced(op, mulDims);
    if (op.name === 'reduce_sum') return this.reduced(op, addDims);
    if (op.name === 'where') return this.chosen(op);
    const combine = arithmetic[op.name];
    const compare = comparisons[op.name];
    if (combine === undefined && compare === undefined) return undefined;
    return this.elementwise(op, (a, b) => {
      if (combine !== undefined) return combine(a, b, (d) => this.bounds(d));
      const sign = this.sign(subDims(a, b));
      const holds = sign === undefined ? undefined : compare?.(sign);
      return holds === undefined ? undefined : dim(Number(holds));
    });
  }

  /** Positions instead of values: an op that only moves elements is evaluated on the index of each. */
  private moved(op: Op, result: number): Formulas | undefined {
    const data = op.name === 'gather' ? op.operands.slice(0, 1) : op.operands;
    const pool: Dim[] = [];
    const inputs: Tensor[] = [];
    for (const operand of data) {
      const known = this.formulas(operand);
      if (known === undefined) return undefined;
      const start = pool.length;
      pool.push(...known.elements);
      const positions = Float64Array.from(known.elements, (_, i) => start + i);
      inputs.push({ dtype: 'i64', shape: known.shape, data: positions });
    }
    if (op.name === 'gather') {
      const index = this.constant(op.operands[1] as Value);
      if (index === undefined) return undefined;
      inputs.push(index);
    }
    const context = staticContext(modelDims(this.module));
    const moved = opTable[op.name].evaluate(inputs, op.attrs, context)[result];
    return moved && { shape: moved.shape, elements: Array.from(moved.data, (at) => pool[at] as Dim) };
  }

  private reduced(op: Op, combine: (a: Dim, b: Dim) => Dim): Formulas | undefined {
    const known = this.formulas(op.operands[0] as Value);
    const [first, ...rest] = known?.elements ?? [];
    const size = sizeOf(op.results[0] as Value);
    if (first === undefined || size !== 1) return undefined;
    const rank = (op.results[0] as Value).type.shape.length;
    return { shape: new Array<number>(rank).fill(1), elements: [rest.reduce(combine, first)] };
  }

  private chosen(op: Op): Formulas | undefined {
    const [condition, a, b] = op.operands.map((operand) => this.formulas(operand));
    if (condition === undefined || a === undefined || b === undefined) return undefined;
    const shape = staticShape(op.results[0] as Value);
    if (shape === undefined) return undefined;
    const elements: Dim[] = [];
    for (let i = 0; i < elementCount(shape); i++) {
      const which = constantOfDim(at(condition, shape, i));
      if (which === undefined) return undefined;
      elements.push(at(which === 0 ? b : a, shape, i));
    }
    return { shape, elements };
  }

  private elementwise(op: Op, combine: (a: Dim, b: Dim) => Dim | undefined): Formulas | undefined {
    const [a, b] = op.operands.map((operand) => this.formulas(operand));
    const shape = staticShape(op.results[0] as Value);
    if (a === undefined || b === undefined || shape === undefined) return undefined;
    const elements: Dim[] = [];
    for (let i = 0; i < elementCount(shape); i++) {
      const element = combine(at(a, shape, i), at(b, shape, i));
      if (element === undefined) return undefined;
      elements.push(element);
    }
    return { shape, elements };
  }

  private bounds(d: Dim): { min: number; max: number } {
    return dimBounds(d, (name) => dimRange(this.module, name));
  }

  /** -1, 0 or 1 when it is the same for all values of the symbols. */
  private sign(d: Dim): number | undefined {
    if (dimsEqual(d, dim(0))) return 0;
    const { min, max } = this.bounds(d);
    if (min > 0) return 1;
    return max < 0 ? -1 : undefined;
  }
}

const movement: ReadonlySet<OpName> = new Set([
  'reshape',
  'transpose',
  'slice',
  'split',
  'concat',
  'broadcast_to',
  'gather',
]);

type Bounds = (d: Dim) => { readonly min: number; readonly max: number };

const arithmetic: Readonly<Partial<Record<OpName, (a: Dim, b: Dim, bounds: Bounds) => Dim | undefined>>> = {
  add: addDims,
  sub: subDims,
  mul: mulDims,
  div: (a, b) => {
    const exact = divDims(a, b);
    return exact.divisor === 1 ? exact : undefined;
  },
  min: (a, b, bounds) => ordered(a, b, bounds)?.[0],
  max: (a, b, bounds) => ordered(a, b, bounds)?.[1],
};

function ordered(a: Dim, b: Dim, bounds: Bounds): [Dim, Dim] | undefined {
  const { min, max } = bounds(subDims(b, a));
  if (min >= 0) return [a, b];
  return max <= 0 ? [b, a] : undefined;
}

/** By the sign of the difference. */
const comparisons: Readonly<Partial<Record<OpName, (sign: number) => boolean>>> = {
  eq: (sign) => sign === 0,
  ne: (sign) => sign !== 0,
  lt: (sign) => sign < 0,
  le: (sign) => sign <= 0,
  gt: (sign) => sign > 0,
  ge: (sign) => sign >= 0,
};

/** Element `linear` of the result, broadcast from a scalar, a tensor of one element, or one of the same shape. */
function at(known: Formulas, shape: readonly number[], linear: number): Dim {
  if (known.elements.length === 1) return known.elements[0] as Dim;
  if (known.elements.length === elementCount(shape)) return known.elements[linear] as Dim;
  throw new RangeError('formulas of different shapes');
}

function staticShape(value: Value): number[] | undefined {
  const sizes = value.type.shape.map(constantOfDim);
  return sizes.every((size) => size !== undefined) ? sizes : undefined;
}

function sizeOf(value: Value): number | undefined {
  const shape = staticShape(value);
  return shape && elementCount(shape);
}

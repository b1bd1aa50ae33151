/**
 * fold: moves work from run time to compile time. Ops whose operands are all constants become constants; movement ops
 * (reshape, transpose, …) of a weight become part of the weight's recipe. Equal results are one parameter, so entries
 * that share a weight still share it afterwards.
 */
import { type FuncBuilder, mapFunctions, rewriteFunc } from '../ir/builder.js';
import { type Dim, evalDim, productOfDims, tryEvalDim } from '../ir/dim.js';
import { materialise, staticContext } from '../ir/materialise.js';
import { defOf, type Module, modelDims, type Op, type Param, type Value } from '../ir/module.js';
import { encodeBytes } from '../ir/numeric.js';
import { attrDims, type EvalContext } from '../ir/op.js';
import { type OpName, opTable } from '../ir/ops/table.js';
import type { Recipe } from '../ir/recipe.js';
import type { Tensor } from '../ir/tensor.js';
import { attrKey } from './cse.js';
import { definePass, option, Tally } from './pass.js';

/** Constants above this many elements are computed at run time rather than stored. */
const defaultLimit = 1 << 22;

export const fold = definePass({
  name: 'fold',
  summary: 'Evaluates constant expressions and folds movement of weights into their recipes.',
  options: { limit: option('int', 'largest constant to store, in elements', defaultLimit) },
  run(module, { limit }) {
    const tally = new Tally();
    const folder = new Folder(module, limit, tally);
    const result = mapFunctions(folder.module, (func, scope) => {
      const before = tally.total;
      const folded = func.kernel === undefined ? rewriteFunc(func, scope, folder.fold) : func;
      return tally.total > before ? folded : func;
    });
    return { module: tally.total > 0 ? result : module, report: tally.report() };
  },
});

/** Ops that only move elements to places that do not depend on other data. */
const foldedIntoRecipes: ReadonlySet<OpName> = new Set(['reshape', 'transpose', 'slice', 'concat', 'pad']);

/** Constants that cost nothing to make where they are needed. */
const sources: ReadonlySet<OpName> = new Set(['full', 'iota', 'dim_size']);

/** Ops that make weights wider: their result is not to be stored. */
const widening: ReadonlySet<OpName> = new Set(['dequantize']);

class Folder {
  readonly module: Module;
  private readonly params: Map<string, Param>;
  private readonly dims: ReadonlyMap<string, number>;
  private readonly context: EvalContext;
  /** Parameters made so far by what they were made of. */
  private readonly made = new Map<string, string>();

  constructor(
    module: Module,
    private readonly limit: number,
    private readonly tally: Tally,
  ) {
    this.params = new Map(module.params);
    this.module = { ...module, params: this.params };
    this.dims = modelDims(module);
    this.context = staticContext(this.dims);
  }

  readonly fold = (
    op: Op,
    operands: readonly Value[],
    builder: FuncBuilder,
  ): readonly Value[] | undefined => {
    const [result, ...more] = op.results;
    const { category } = opTable[op.name];
    if (result === undefined || more.length > 0 || category === 'structure' || sources.has(op.name))
      return undefined;
    if (widening.has(op.name)) return undefined;
    if (!this.isStatic([...attrDims(op.attrs), ...result.type.shape])) return undefined;
    const value =
      this.foldConstant(op, result, operands, builder) ?? this.foldWeight(op, result, operands, builder);
    return value === undefined ? undefined : [value];
  };

  private isStatic(dims: readonly Dim[]): boolean {
    return dims.every((d) => tryEvalDim(d, this.dims) !== undefined);
  }

  /** Elements of a value, or infinitely many when it depends on run-time symbols. */
  private sizeOf(value: Value): number {
    return this.isStatic(value.type.shape)
      ? evalDim(productOfDims(value.type.shape), this.dims)
      : Number.POSITIVE_INFINITY;
  }

  /** A parameter whose recipe is the op, whatever the weight's value is. */
  private foldWeight(
    op: Op,
    result: Value,
    operands: readonly Value[],
    builder: FuncBuilder,
  ): Value | undefined {
    if (!foldedIntoRecipes.has(op.name)) return undefined;
    const names = operands.map(paramName).filter((name) => name !== undefined);
    if (names.length < operands.length) return undefined;
    const weights = names.map((name) => this.params.get(name) as Param);
    const recipe: Recipe = { kind: 'op', op: op.name, attrs: op.attrs, args: weights.map((w) => w.recipe) };
    const loop = weights.find((w) => w.loop !== undefined)?.loop;
    this.tally.add('weights');
    const key = `${op.name}(${names.join(',')})${attrKey(op)}`;
    return this.param(
      key,
      `${names.join('+')}.${op.name}`,
      () => ({ type: result.type, loop, recipe }),
      builder,
    );
  }

  private foldConstant(
    op: Op,
    result: Value,
    operands: readonly Value[],
    builder: FuncBuilder,
  ): Value | undefined {
    const small = [result, ...operands].every((value) => this.sizeOf(value) <= this.limit);
    if (!small || !operands.every((value) => this.isConstant(value))) return undefined;
    const value = this.evaluate(
      op,
      operands.map((operand) => this.constantValue(operand)),
    );
    if (value === undefined) return undefined;
    this.tally.add('constants');
    const { type } = result;
    const [first] = value.data;
    if (first !== undefined && value.data.every((v) => Object.is(v, first))) {
      return builder.one('full', [], { value: first, dtype: type.dtype, shape: type.shape });
    }
    const bytes = encodeBytes(type.dtype, value.data);
    const key = `${JSON.stringify(type)} ${Buffer.from(bytes).toString('base64')}`;
    return this.param(
      key,
      `constant.${op.name}`,
      () => ({ type, recipe: { kind: 'constant', type, bytes } }),
      builder,
    );
  }

  /** Undefined when the op fails on these values: then it must fail at run time, if it is reached. */
  private evaluate(op: Op, inputs: readonly Tensor[]): Tensor | undefined {
    try {
      return opTable[op.name].evaluate(inputs, op.attrs, this.context)[0];
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }

  private isConstant(value: Value): boolean {
    const op = defOf(value);
    if (op?.name === 'param') {
      const param = this.params.get(op.attrs.name);
      return param?.recipe.kind === 'constant' && param.loop === undefined;
    }
    return op !== undefined && sources.has(op.name) && this.isStatic(attrDims(op.attrs));
  }

  /** The value of what `isConstant` accepts. */
  private constantValue(value: Value): Tensor {
    const op = defOf(value) as Op;
    if (op.name === 'param') return materialise(this.module, op.attrs.name, undefined);
    return opTable[op.name].evaluate([], op.attrs, this.context)[0] as Tensor;
  }

  /** Reads the parameter made from `key`, making it the first time. */
  private param(key: string, hint: string, make: () => Param, builder: FuncBuilder): Value {
    const name = this.made.get(key) ?? this.freeName(hint);
    if (!this.params.has(name)) this.params.set(name, make());
    this.made.set(key, name);
    return builder.one('param', [], { name });
  }

  private freeName(hint: string): string {
    let name = hint;
    for (let i = 2; this.params.has(name); i++) name = `${hint}.${i}`;
    return name;
  }
}

function paramName(value: Value): string | undefined {
  const op = defOf(value);
  return op?.name === 'param' ? op.attrs.name : undefined;
}

/**
 * join-experts: experts that every token passes (lookup experts, soft mixtures) are a stack of matrices, with one product
 * for each expert. Side by side they are ordinary linear layers, which all passes understand:
 *
 *   x W_e for every e       ->  x [W_1 .. W_E]
 *   Σ_e g_e ⊙ (h_e V_e)     ->  [g_1 h_1 .. g_E h_E] [V_1; ..; V_E]      g_e is one number for each token
 *
 * Values [E, T, n] become [T, E, n] in between.
 */
import { type FuncBuilder, mapFunctions, rewriteFunc } from '../ir/builder.js';
import { constantOf, type Dim, mulDims } from '../ir/dim.js';
import { defOf, type Module, type Op, type Param, type Value } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import type { Recipe } from '../ir/recipe.js';
import { dce } from './dce.js';
import { definePass, type PassResult } from './pass.js';
import { opRecipe } from './recipes.js';

export const joinExperts = definePass({
  name: 'join-experts',
  summary: 'Turns experts that every token passes into linear layers over the neurons of all of them.',
  run: (module) => join(module),
});

/** Σ_e g_e ⊙ (h_e V_e), and the op that adds up the experts. */
interface Mixture {
  readonly gate: Value;
  readonly hidden: Value;
  readonly weight: string;
}

function join(module: Module): PassResult {
  const params = new Map(module.params);
  let mixtures = 0;
  const changed = mapFunctions({ ...module, params }, (func, scope) => {
    const values = new Map<Value, Value>();
    let isChanged = false;
    const next = rewriteFunc(func, scope, (op, operands, builder) => {
      op.operands.forEach((operand, i) => {
        values.set(operand, operands[i] as Value);
      });
      const mixture = mixtureOf(op);
      if (mixture === undefined) return undefined;
      isChanged = true;
      mixtures += 1;
      return [new Joiner(builder, params, values).mixture(mixture)];
    });
    return isChanged ? next : func;
  });
  const counts = { mixtures };
  return { module: mixtures === 0 ? module : dce.run({ ...changed, params }, {}).module, report: { counts } };
}

function mixtureOf(op: Op): Mixture | undefined {
  if (op.name !== 'reduce_sum' || op.attrs.keepdims || String(op.attrs.axes) !== '0') return undefined;
  const product = defOf(op.operands[0] as Value);
  if (product?.name !== 'mul') return undefined;
  for (const [gate, experts] of [product.operands, product.operands.toReversed()] as [Value, Value][]) {
    const matmul = defOf(experts);
    const weight = matmul?.name === 'matmul' ? stackedWeight(matmul.operands[1] as Value) : undefined;
    const [hidden] = matmul?.operands ?? [];
    const isGate = gate.type.shape.length === 3 && constantOf(gate.type.shape[2] as Dim) === 1;
    const isStack = hidden?.type.shape.length === 3 && constantOf(hidden.type.shape[0] as Dim) !== 1;
    if (isGate && isStack && weight !== undefined) return { gate, hidden: hidden as Value, weight };
  }
  return undefined;
}

/** Name of a parameter [E, in, out], possibly widened. */
function stackedWeight(value: Value): string | undefined {
  const op = defOf(value);
  if (op?.name === 'cast') return stackedWeight(op.operands[0] as Value);
  return op?.name === 'param' && value.type.shape.length === 3 ? op.attrs.name : undefined;
}

class Joiner {
  constructor(
    private readonly b: FuncBuilder,
    private readonly params: Map<string, Param>,
    /** Values of the new function by those of the old one. */
    private readonly values: ReadonlyMap<Value, Value>,
  ) {}

  mixture({ gate, hidden, weight }: Mixture): Value {
    const { b } = this;
    const gated = b.one('mul', [this.byToken(gate), this.byToken(hidden)]);
    const [tokens, experts, neurons] = gated.type.shape as [Dim, Dim, Dim];
    const flat = b.one('reshape', [gated], { shape: [tokens, mulDims(experts, neurons)] });
    return b.one('linear', [flat, this.joined(weight, [2, 0, 1])]);
  }

  /** A value [E, T, n] as [T, E, n], made of joined products where it is a formula of them. */
  private byToken(value: Value): Value {
    const { b } = this;
    const op = defOf(value);
    const weight = op?.name === 'matmul' ? stackedWeight(op.operands[1] as Value) : undefined;
    const input = op?.operands[0];
    if (weight !== undefined && input !== undefined && isShared(input)) {
      const [tokens, inner] = input.type.shape.slice(-2) as [Dim, Dim];
      const rows = b.one('reshape', [this.values.get(input) as Value], { shape: [tokens, inner] });
      const [experts, , out] = value.type.shape as [Dim, Dim, Dim];
      const product = b.one('linear', [rows, this.joined(weight, [0, 2, 1])]);
      return b.one('reshape', [product], { shape: [tokens, experts, out] });
    }
    const isFormula =
      op !== undefined && (opTable[op.name].category === 'elementwise' || op.name === 'swiglu');
    if (isFormula && op.operands.every(({ type }) => type.shape.length === 3))
      return b.one(
        op.name,
        op.operands.map((operand) => this.byToken(operand)),
        op.attrs,
      );
    return b.one('transpose', [this.values.get(value) as Value], { perm: [1, 0, 2] });
  }

  /** The weight with two axes made one: those that `perm` brings together, at the side of the experts. */
  private joined(weight: string, perm: readonly [number, number, number]): Value {
    const name = `${weight}.joined`;
    const { type, recipe, loop } = this.params.get(weight) as Param;
    const [a, b, c] = perm.map((axis) => type.shape[axis]) as [Dim, Dim, Dim];
    const shape = perm[0] === 0 ? [mulDims(a, b), c] : [a, mulDims(b, c)];
    const turned: Recipe = opRecipe('reshape', [opRecipe('transpose', [recipe], { perm })], { shape });
    this.params.set(name, { type: { ...type, shape }, loop, recipe: turned });
    return this.b.one('param', [], { name });
  }
}

/** Whether all experts read the same rows: x [T, n], or [1, T, n]. */
function isShared({ type: { shape } }: Value): boolean {
  return shape.length === 2 || (shape.length === 3 && constantOf(shape[0] as Dim) === 1);
}

/**
 * fold: moves work from run time to compile time. Ops whose operands are all constants become constant parameters;
 * movement ops (reshape, transpose, …) of a weight become part of the weight's recipe.
 */
import { DimError, evalDim, tryEvalDim } from '../ir/dim.js';
import { makeOp, rewriteFunc, moduleScope } from '../ir/builder.js';
import { defOf, type Module, modelDims, type Op, type Param, type Value } from '../ir/module.js';
import { encodeBytes, roundTo } from '../ir/numeric.js';
import type { EvalContext, OpDecl } from '../ir/op.js';
import { opTable } from '../ir/ops/table.js';
import type { Recipe } from '../ir/recipe.js';
import { materialise } from '../ir/materialise.js';
import type { Tensor } from '../ir/tensor.js';
import { elementCount } from '../ir/type.js';
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
    const functions = [...module.functions.values()].map((func) =>
      func.kernel === undefined ? rewriteFunc(func, moduleScope(folder.module, func.loop), folder.fold) : func,
    );
    return {
      module: { ...folder.module, functions: new Map(functions.map((f) => [f.name, f])) },
      report: tally.report(),
    };
  },
});

class Folder {
  module: Module;
  private readonly params: Map<string, Param>;

  constructor(
    module: Module,
    private readonly limit: number,
    private readonly tally: Tally,
  ) {
    this.params = new Map(module.params);
    this.module = { ...module, params: this.params };
  }

  readonly fold = (op: Op, operands: readonly Value[], builder: { one(name: string, operands: readonly Value[], attrs?: Op['attrs']): Value }): readonly Value[] | undefined => {
    const decl: OpDecl = opTable[op.name];
    if (decl.effects || decl.category === 'structure' || op.results.length !== 1) return undefined;
    const name = this.foldWeight(op, operands) ?? this.foldConstant(op, operands);
    return name === undefined ? undefined : [builder.one('param', [], { name })];
  };

  /** Recipe of `movement(param, ..)`, whatever the weight's value is. */
  private foldWeight(op: Op, operands: readonly Value[]): string | undefined {
    if (opTable[op.name].category !== 'movement' || op.name === 'gather' || op.name === 'broadcast_to') return undefined;
    const names = operands.map(paramName);
    if (names.length === 0 || names.includes(undefined)) return undefined;
    const sources = (names as string[]).map((name) => this.params.get(name) as Param);
    const loop = sources.find((p) => p.loop !== undefined)?.loop;
    const recipe: Recipe = { kind: 'op', op: op.name, attrs: op.attrs, args: sources.map((p) => p.recipe) };
    this.tally.add('weights');
    return this.addParam(`${names.join('+')}.${op.name}`, { type: (op.results[0] as Value).type, loop, recipe });
  }

  private foldConstant(op: Op, operands: readonly Value[]): string | undefined {
    if (op.name === 'full' || op.name === 'iota' || op.name === 'dim_size') return undefined;
    const size = this.staticSize(op);
    if (size === undefined || size > this.limit) return undefined;
    const inputs = operands.map((o) => this.constantValue(o));
    if (inputs.includes(undefined)) return undefined;
    const type = (makeOp(moduleScope(this.module), op.name, operands, op.attrs).results[0] as Value).type;
    const [value] = opTable[op.name].evaluate(inputs as Tensor[], op.attrs, constantContext(this.module));
    const bytes = encodeBytes(type.dtype, (value as Tensor).data);
    this.tally.add('constants');
    return this.addParam(`constant.${op.name}`, { type, recipe: { kind: 'constant', type, bytes } });
  }

  private staticSize(op: Op): number | undefined {
    const dims = modelDims(this.module);
    const shape = (op.results[0] as Value).type.shape.map((d) => tryEvalDim(d, dims));
    return shape.includes(undefined) ? undefined : elementCount(shape as number[]);
  }

  /** The value of a constant parameter or of a constant source op without run-time symbols. */
  private constantValue(value: Value): Tensor | undefined {
    const op = defOf(value);
    if (op === undefined) return undefined;
    if (op.name === 'param') {
      const param = this.params.get(op.attrs.name);
      return param?.recipe.kind === 'constant' && param.loop === undefined ? materialise(this.module, op.attrs.name, undefined) : undefined;
    }
    if (op.name !== 'full' && op.name !== 'iota' && op.name !== 'dim_size') return undefined;
    try {
      return opTable[op.name].evaluate([], op.attrs, constantContext(this.module))[0];
    } catch (error) {
      if (error instanceof DimError) return undefined;
      throw error;
    }
  }

  private addParam(hint: string, param: Param): string {
    let name = hint;
    for (let i = 2; this.params.has(name); i++) name = `${hint}.${i}`;
    this.params.set(name, param);
    return name;
  }
}

function paramName(value: Value): string | undefined {
  const op = defOf(value);
  return op?.name === 'param' ? op.attrs.name : undefined;
}

function constantContext(module: Module): EvalContext {
  const dims = modelDims(module);
  const unavailable = (): never => {
    throw new DimError('not a constant');
  };
  return {
    dimValue: (d) => evalDim(d, dims),
    round: (dtype) => roundTo[dtype],
    param: unavailable,
    readState: unavailable,
    writeState: unavailable,
    loopCount: unavailable,
    call: unavailable,
  };
}

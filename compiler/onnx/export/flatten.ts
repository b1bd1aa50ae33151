/**
 * One entry of a module as a module of its own, without loops and states: layers are written out, a state is an input
 * and, where it is written, an output. Sizes are numbers; only run-time symbols keep their names.
 * That is the form that ONNX graphs have.
 */
import { FuncBuilder, moduleScope } from '../../../ir/builder.js';
import { fail } from '../../../ir/diagnostics.js';
import { type Dim, dim } from '../../../ir/dim.js';
import { type Func, type Module, modelDims, type Op, type Param, type Value } from '../../../ir/module.js';
import { fillName, type Recipe } from '../../../ir/recipe.js';
import { substituteType, type TensorType } from '../../../ir/type.js';
import { parsePipeline, runPipeline } from '../../../passes/pipeline.js';
import { freezeAttrs, freezeDim, recipeAt } from '../../../passes/recipes.js';
import { Identifiers } from '../dimensions.js';

/** What a state is called outside: its input, and the output with its next value. */
export interface StateNames {
  readonly state: string;
  readonly input: string;
  readonly output: string | undefined;
}

export interface FlatEntry {
  readonly module: Module;
  readonly states: readonly StateNames[];
}

/** The turn of a loop that is being written out. */
interface Turn {
  readonly loop: string;
  readonly turn: number;
  readonly index: number;
}

/** Fails with HEW5003 when there is no such entry. */
export function flattenEntry(module: Module, entry: string): FlatEntry {
  const func = module.functions.get(entry);
  if (func?.outputs === undefined) return fail('HEW5003', `there is no entry @${entry}`);
  return new Flattener(module, func).run();
}

class Flattener {
  private readonly params = new Map<string, Param>();
  private readonly flat: Module;
  private readonly builder: FuncBuilder;
  private readonly reads = new Map<string, Value>();
  private readonly writes = new Map<string, Value>();
  private readonly names = new Identifiers();
  private readonly sizes: ReadonlyMap<string, Dim>;

  constructor(
    private readonly module: Module,
    private readonly entry: Func,
  ) {
    const { name, sampler, tokenizer } = module;
    const dims = new Map([...module.dims].filter(([, decl]) => !('value' in decl)));
    this.sizes = new Map([...modelDims(module)].map(([size, value]) => [size, dim(value)]));
    const empty = { loops: new Map(), states: new Map(), functions: new Map() };
    this.flat = { name, dims, sampler, tokenizer, params: this.params, ...empty };
    this.builder = new FuncBuilder(entry.name, moduleScope(this.flat));
  }

  run(): FlatEntry {
    const { entry, builder } = this;
    const args = entry.args.map((arg) =>
      builder.arg(this.plainType(arg.type), this.names.of(arg.name ?? 'input')),
    );
    const results = this.inline(entry, args, undefined);
    const outputs = new Identifiers();
    const names = (entry.outputs ?? []).map((name) => outputs.of(name));
    const states = [...this.reads].map(([state, value]) => ({
      state,
      input: value.name as string,
      output: this.writes.has(state) ? outputs.of(`${value.name}_next`) : undefined,
    }));
    const written = states.filter(({ output }) => output !== undefined);
    const all = [...names, ...written.map(({ output }) => output as string)];
    const next = written.map(({ state }) => this.writes.get(state) as Value);
    const func = { ...builder.finish([...results, ...next]), outputs: all };
    const module = { ...this.flat, functions: new Map([[entry.name, func]]) };
    return {
      module: runPipeline(module, parsePipeline('canonicalize,fold,canonicalize,cse,dce')).module,
      states,
    };
  }

  private inline(func: Func, args: readonly Value[], turn: Turn | undefined): readonly Value[] {
    const values = new Map<Value, Value>();
    func.args.forEach((arg, i) => {
      values.set(arg, args[i] as Value);
    });
    for (const op of func.body) {
      const operands = op.operands.map((operand) => values.get(operand) as Value);
      const results = this.op(op, operands, turn);
      op.results.forEach((result, i) => {
        values.set(result, results[i] as Value);
      });
    }
    return func.results.map((result) => values.get(result) as Value);
  }

  private op(op: Op, operands: readonly Value[], turn: Turn | undefined): readonly Value[] {
    switch (op.name) {
      case 'param':
        return [this.builder.one('param', [], { name: this.param(op.attrs.name, turn) })];
      case 'state_read':
        return [this.state(op.attrs.name, turn)];
      case 'state_write':
        this.state(op.attrs.name, turn);
        this.writes.set(this.stateKey(op.attrs.name, turn), operands[0] as Value);
        return [];
      case 'repeat':
        return this.repeat(op.attrs, operands);
      case 'kernel':
        return this.inline(this.module.functions.get(op.attrs.callee) as Func, operands, turn);
      default:
        this.builder.span = op.span;
        return this.builder.emit(op.name, operands, freezeAttrs(op.attrs, this.sizes));
    }
  }

  private plainType(type: TensorType): TensorType {
    return substituteType(type, this.sizes);
  }

  private plainRecipe(recipe: Recipe): Recipe {
    return [...modelDims(this.module)].reduce(
      (plain, [name, value]) => freezeDim(plain, name, value),
      recipe,
    );
  }

  private repeat(
    { callee, loop, carried }: { readonly callee: string; readonly loop: string; readonly carried: number },
    operands: readonly Value[],
  ): readonly Value[] {
    const body = this.module.functions.get(callee) as Func;
    const indices = this.module.loops.get(loop)?.indices ?? [];
    const invariants = operands.slice(carried);
    let values = operands.slice(0, carried);
    for (const [turn, index] of indices.entries()) {
      values = [...this.inline(body, [...values, ...invariants], { loop, turn, index })];
    }
    return values;
  }

  /** Name of the parameter in one turn, made the first time. */
  private param(name: string, turn: Turn | undefined): string {
    const param = this.module.params.get(name) as Param;
    const own = param.loop === undefined ? undefined : turn;
    const key = own === undefined ? name : turnName(name, own);
    if (!this.params.has(key)) {
      const recipe = own === undefined ? param.recipe : recipeAt(param, own.turn, own.index);
      this.params.set(key, { type: this.plainType(param.type), recipe: this.plainRecipe(recipe) });
    }
    return key;
  }

  private stateKey(name: string, turn: Turn | undefined): string {
    const own = this.module.states.get(name)?.loop === undefined ? undefined : turn;
    return own === undefined ? name : turnName(name, own);
  }

  /** The value before the call: an argument. Writes are seen by the next call only, as in the module. */
  private state(name: string, turn: Turn | undefined): Value {
    const key = this.stateKey(name, turn);
    const known = this.reads.get(key);
    if (known !== undefined) return known;
    const type = this.module.states.get(name)?.type as Value['type'];
    const value = this.builder.arg(this.plainType(type), this.names.of(key));
    this.reads.set(key, value);
    return value;
  }
}

/** `layers.{layer}.w` in turn 3 is `layers.3.w`; a name without the loop's placeholder gets the turn at its end. */
function turnName(name: string, { loop, index, turn }: Turn): string {
  const filled = fillName(name, { loop, value: index });
  return filled === name ? `${name}.${turn}` : filled;
}

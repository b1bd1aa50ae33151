/**
 * split-loop: one loop becomes several that run one after the other, each over a run of its turns:
 *
 *   h = repeat(h, body, turns 0 .. n-1)   =   h = repeat(h, body₁, turns 0 .. k-1);  h = repeat(h, body₂, turns k .. n-1)
 *
 * Weights and states of the loop go to the run of their turn, so nothing is computed differently: the pass is exact, bit
 * for bit. It pays where turns differ: a weight of one truth value that chooses between two values turn by turn, as
 * absorb-post-norm leaves them when it absorbs some of the norms, is known in each run, and what is not chosen goes.
 */
import { FuncBuilder, moduleScope } from '../ir/builder.js';
import { fail } from '../ir/diagnostics.js';
import { addDims, dim } from '../ir/dim.js';
import { defOf, type Func, type Loop, type Module, type Op, type Param, type Value } from '../ir/module.js';
import { decodeBytes } from '../ir/numeric.js';
import type { Recipe } from '../ir/recipe.js';
import { dce } from './dce.js';
import { definePass, option } from './pass.js';
import { keepTurns, mapRecipe } from './recipes.js';

export const splitLoops = definePass({
  name: 'split-loop',
  summary:
    'Splits a loop into runs of turns that differ, so that what only some turns need is gone from the others.',
  options: {
    loop: option('string', 'the loop to split; every loop whose turns differ when empty', ''),
    at: option('string', 'turns that begin a run, such as 3+7; where a choice changes when empty', ''),
  },
  run(module, { loop, at }) {
    if (loop !== '' && !module.loops.has(loop)) {
      fail('HEW6010', `split-loop: there is no loop '${loop}'`, {
        help: `loops: ${[...module.loops.keys()].join(', ') || 'none'}`,
      });
    }
    const starts = at === '' ? undefined : startsOf(at);
    let current = module;
    const notes: string[] = [];
    for (const name of loop === '' ? module.loops.keys() : [loop]) {
      const before = current;
      current = splitLoop(current, name, starts ?? changesOf(current, name));
      if (current === before) continue;
      const runs = [...current.loops].filter(([other]) => !before.loops.has(other) || other === name);
      notes.push(
        `${name} runs as ${runs.map(([other, { indices }]) => `${other}: ${indices.length} turns`).join(', ')}`,
      );
    }
    const report = { counts: { added: current.loops.size - module.loops.size }, notes };
    return { module: current === module ? module : dce.run(current, {}).module, report };
  },
});

function startsOf(text: string): number[] {
  const turns = text.split('+').map(Number);
  if (turns.every(Number.isSafeInteger)) return turns;
  return fail('HEW6002', `split-loop: at=${text} is no list of turns`, { help: 'write it as 3+7' });
}

/** The module whose loop runs in parts that begin at turn 0 and at `starts`; itself when that is one part. */
export function splitLoop(module: Module, name: string, starts: readonly number[]): Module {
  const loop = module.loops.get(name) ?? fail('HEW6010', `split-loop: there is no loop '${name}'`);
  const turns = loop.indices.length;
  const wrong = starts.find((start) => start < 0 || start >= turns);
  if (wrong !== undefined) fail('HEW6010', `split-loop: loop ${name} has no turn ${wrong}; it has ${turns}`);
  const begins = [...new Set([0, ...starts])].sort((a, b) => a - b);
  if (begins.length < 2) return module;
  const runs = begins.map(
    (start, i): Run => ({ name: runName(module, name, i), start, end: begins[i + 1] ?? turns }),
  );
  return new Splitter(module, name, loop, runs).result();
}

interface Run {
  /** Name of its loop. */
  readonly name: string;
  /** Turns of the loop that is split: start .. end - 1. */
  readonly start: number;
  readonly end: number;
}

/** As the language names loops of one variable: layer, layer_2, layer_3. */
function runName({ loops }: Module, name: string, run: number): string {
  if (run === 0) return name;
  let number = run + 1;
  while (loops.has(`${name}_${number}`)) number += loops.size;
  return `${name}_${number}`;
}

class Splitter {
  constructor(
    private readonly module: Module,
    private readonly name: string,
    private readonly loop: Loop,
    private readonly runs: readonly Run[],
  ) {}

  result(): Module {
    const { module, name, runs } = this;
    const loops = new Map(module.loops);
    for (const run of runs) loops.set(run.name, this.loopOf(run));
    const params = this.divided(module.params, (param, run) => ({
      ...param,
      recipe: this.recipeOf(param, run),
      loop: run.name,
    }));
    const states = this.divided(module.states, (state, run) => ({ ...state, loop: run.name }));
    const declared: Module = { ...module, loops, params, states };
    const functions = new Map<string, Func>();
    for (const func of module.functions.values()) {
      for (const run of func.loop === name ? runs : [undefined]) {
        const copy = this.functionOf(func, run, { ...declared, functions });
        functions.set(copy.name, copy);
      }
    }
    return { ...declared, functions };
  }

  private loopOf({ start, end }: Run): Loop {
    const first = addDims(this.loop.first ?? dim(0), dim(start));
    return { count: dim(end - start), first, indices: this.loop.indices.slice(start, end) };
  }

  /** Everything of the loop once for each run, under a name of its own. */
  private divided<T extends { readonly loop?: string | undefined }>(
    all: ReadonlyMap<string, T>,
    partOf: (whole: T, run: Run) => T,
  ): Map<string, T> {
    return new Map(
      [...all].flatMap(([name, whole]) =>
        whole.loop === this.name
          ? this.runs.map((run) => [this.renamed(name, run), partOf(whole, run)] as const)
          : [[name, whole] as const],
      ),
    );
  }

  private renamed(text: string, run: Run): string {
    if (run.name === this.name) return text;
    const placeholder = `{${this.name}}`;
    return text.includes(placeholder) ? text.replaceAll(placeholder, `{${run.name}}`) : `${text}.${run.name}`;
  }

  private recipeOf({ recipe }: Param, run: Run): Recipe {
    const turns = Array.from({ length: run.end - run.start }, (_, i) => run.start + i);
    return mapRecipe(keepTurns(recipe, turns), (node) =>
      node.kind === 'source'
        ? { ...node, name: node.name.replaceAll(`{${this.name}}`, `{${run.name}}`) }
        : undefined,
    );
  }

  private functionName(name: string, run: Run): string {
    if (run.name === this.name) return name;
    const suffix = `.${this.name}`;
    return name.endsWith(suffix) ? `${name.slice(0, -suffix.length)}.${run.name}` : `${name}.${run.name}`;
  }

  /** A function of the loop for one run, or any other function, whose calls become one for each run. */
  private functionOf(func: Func, run: Run | undefined, declared: Module): Func {
    const { loop, kernel, outputs } = func;
    const name = run === undefined ? func.name : this.functionName(func.name, run);
    const own = run === undefined ? loop : run.name;
    const builder = new FuncBuilder(name, moduleScope(declared, own), { loop: own, kernel, outputs });
    const mapped = new Map<Value, Value>();
    for (const arg of func.args) mapped.set(arg, builder.arg(arg.type, arg.name));
    const at = (value: Value): Value => mapped.get(value) as Value;
    for (const op of func.body) {
      builder.span = op.span;
      const operands = op.operands.map(at);
      const results = this.opOf(op, operands, run, builder, declared);
      op.results.forEach((result, i) => {
        mapped.set(result, results[i] as Value);
      });
    }
    return builder.finish(func.results.map(at));
  }

  private opOf(
    op: Op,
    operands: readonly Value[],
    run: Run | undefined,
    builder: FuncBuilder,
    declared: Module,
  ): readonly Value[] {
    if (op.name === 'repeat' && op.attrs.loop === this.name) return this.repeats(op, operands, builder);
    if (run === undefined) return builder.emit(op.name, operands, op.attrs);
    if (op.name === 'where') {
      const chosen = this.choiceOf(operands[0] as Value, declared);
      if (chosen !== undefined) return [operands[chosen ? 1 : 2] as Value];
    }
    if (op.name === 'kernel')
      return builder.emit(op.name, operands, { ...op.attrs, callee: this.calleeOf(op.attrs.callee, run) });
    const { name } = op.attrs as { readonly name?: string };
    const isOwn = name !== undefined && this.isOfLoop(name);
    return builder.emit(op.name, operands, isOwn ? { ...op.attrs, name: this.renamed(name, run) } : op.attrs);
  }

  private calleeOf(name: string, run: Run): string {
    return this.module.functions.get(name)?.loop === this.name ? this.functionName(name, run) : name;
  }

  private isOfLoop(name: string): boolean {
    const { params, states } = this.module;
    return (params.get(name) ?? states.get(name))?.loop === this.name;
  }

  /** What is carried goes from run to run; what is only read goes to all. */
  private repeats(
    op: Op & { name: 'repeat' },
    operands: readonly Value[],
    builder: FuncBuilder,
  ): readonly Value[] {
    const { callee, carried } = op.attrs;
    let values = operands.slice(0, carried);
    for (const run of this.runs) {
      const attrs = { ...op.attrs, callee: this.functionName(callee, run), loop: run.name };
      values = [...builder.emit('repeat', [...values, ...operands.slice(carried)], attrs)];
    }
    return values;
  }

  /** The truth value that a condition has in all turns of a run. */
  private choiceOf(condition: Value, { params }: Module): boolean | undefined {
    const op = defOf(condition);
    const param = op?.name === 'param' ? params.get(op.attrs.name) : undefined;
    const values = param && truthValues(param);
    return values?.every((value) => value === values[0]) ? values[0] : undefined;
  }
}

/** The truth value of a weight in each turn, where it is one and known. */
function truthValues({ type, recipe }: Param): boolean[] | undefined {
  if (type.dtype !== 'bool' || type.shape.length > 0) return undefined;
  const parts = recipe.kind === 'per_index' ? recipe.parts : [recipe];
  const values = parts.map((part) =>
    part.kind === 'constant' ? decodeBytes('bool', part.bytes)[0] !== 0 : undefined,
  );
  return values.every((value) => value !== undefined) ? values : undefined;
}

/** Turns at which some choice of the loop is not what it was in the turn before. */
function changesOf(module: Module, loop: string): number[] {
  const choices = [...module.params.values()].filter((param) => param.loop === loop).map(truthValues);
  const turns = module.loops.get(loop)?.indices.length ?? 0;
  return Array.from({ length: turns }, (_, turn) => turn).filter(
    (turn) => turn > 0 && choices.some((values) => values !== undefined && values[turn] !== values[turn - 1]),
  );
}

/** Whether some loop has turns that choose differently. */
export function hasChoices(module: Module): boolean {
  return [...module.loops.keys()].some((loop) => changesOf(module, loop).length > 0);
}

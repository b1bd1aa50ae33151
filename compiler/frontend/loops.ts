/**
 * `for layer in layers { … }`: the body becomes one function of the IR, called once per turn. What the body assigns
 * and did not define is carried from turn to turn; what it only reads is passed along; weights and states whose
 * names mention the loop's variable have one instance per turn.
 */

import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { addDims, type Dim, dim, printDim, subDims } from '../../ir/dim.js';
import type { Func, Value } from '../../ir/module.js';
import type { ForStatement, Statement } from './ast.js';
import { Environment, Frame, type Variable } from './scope.js';
import { type Context, emit, report } from './session.js';
import { asTensor, withType } from './tensors.js';
import { evaluateSize } from './types.js';
import { int, poison, tensor } from './values.js';

const zero: Size = { dim: dim(0), size: 0 };

/** No model repeats a layer more often. */
const turnLimit = 100_000;

type RunBlock = (statements: readonly Statement[], context: Context) => void;

/**
 * Turns for which the checkpoint answers a question of the body otherwise than for the turns before them run in a loop
 * of their own: one loop in the spec is several in the module where layers differ.
 */
export function runLoop(statement: ForStatement, context: Context, runBlock: RunBlock): void {
  let range = rangeOf(statement, context);
  while (range !== undefined && context.frame !== undefined) {
    const takeBack = context.session.mark();
    const agreeing = runTurns(statement, range, context, runBlock);
    const turns = range.to.size - range.from.size;
    if (agreeing === turns) return;
    const split: Size = { dim: addDims(range.from.dim, dim(agreeing)), size: range.from.size + agreeing };
    takeBack();
    runTurns(statement, { from: range.from, to: split }, context, runBlock);
    range = { from: split, to: range.to };
  }
}

/** Elaborates a loop over a range; how many of its first turns the checkpoint gives the same answers. */
function runTurns(statement: ForStatement, range: Range, context: Context, runBlock: RunBlock): number {
  const { session } = context;
  const outer = context.frame as Frame;
  const loop = declareLoop(statement, range, context);
  const name = uniqueName(`${outer.builder.name}.${loop}`, session.draft.functions);
  const frame = new Frame(new FuncBuilder(name, moduleScope(session.draft, loop), { loop }), outer, loop);
  const environment = new Environment(context.environment);
  environment.bind(statement.variable.name, { kind: 'turn', frame, span: statement.variable.span });
  const errors = session.diagnostics.length;
  runBlock(statement.body, { ...context, frame, environment });
  const turns = range.to.size - range.from.size;
  if (frame.agreeingTurns < turns) return frame.agreeingTurns;
  countTurns(frame, { ...context, frame }, statement);
  if (session.diagnostics.length > errors || session.hasErrors) poisonCarried(frame, outer);
  else callPerTurn(frame, loop, statement, context);
  return turns;
}

interface Size {
  readonly dim: Dim;
  readonly size: number;
}

interface Range {
  readonly from: Size;
  readonly to: Size;
}

function rangeOf({ first, end, span }: ForStatement, context: Context): Range | undefined {
  if (context.frame?.loop !== undefined) {
    report(context, 'HEW2014', 'a loop cannot stand inside a loop', {
      span: { ...span, end: span.start + 'for'.length },
      help: 'write the inner repetition as a dimension of the tensors, or stack its weights: weight w[e in n]: ...',
    });
    return undefined;
  }
  const from = first === undefined ? zero : evaluateSize(first, context);
  const to = evaluateSize(end, context);
  if (from === undefined || to === undefined) return undefined;
  const turns = to.size - from.size;
  if (turns >= 1 && turns <= turnLimit && from.size >= 0) return { from, to };
  const what = first === undefined ? `${turns} times` : `from ${from.size} to ${to.size}`;
  report(context, 'HEW2014', `a loop cannot run ${what}`, { span: end.span });
  return undefined;
}

/** The loop's name in the module; the same statement under the same path is the same loop in every entry. */
function declareLoop({ variable, span }: ForStatement, { from, to }: Range, context: Context): string {
  const { session } = context;
  const key = [span.file, span.start, context.path, printDim(from.dim), printDim(to.dim)].join(' ');
  const known = session.loopNames.get(key);
  if (known !== undefined) return known;
  const name = uniqueName(variable.name, session.draft.loops, '_');
  session.loopNames.set(key, name);
  session.draft.loops.set(name, {
    count: subDims(to.dim, from.dim),
    ...(from === zero ? {} : { first: from.dim }),
    indices: Array.from({ length: to.size - from.size }, (_, i) => from.size + i),
  });
  return name;
}

function uniqueName(wanted: string, taken: ReadonlyMap<string, unknown>, separator = '.'): string {
  let name = wanted;
  for (let i = 2; taken.has(name); i++) name = `${wanted}${separator}${i}`;
  return name;
}

/** Adds one to the counter at the end of a turn, if the body used the loop's variable as a number. */
function countTurns(frame: Frame, context: Context, { span }: ForStatement): void {
  if (frame.counter === undefined) return;
  const count = frame.read(frame.counter);
  const one = asTensor(int(1), 'i32', context, span);
  if (count.kind !== 'tensor' || one === undefined) return;
  frame.assign(frame.counter, tensor(frame.builder.one('add', [count.value, one])));
}

function poisonCarried(frame: Frame, outer: Frame): void {
  for (const variable of frame.carriedVariables()) outer.assign(variable, poison);
}

interface Carried {
  readonly variable: Variable;
  readonly arg: Value;
  readonly initial: Value;
  readonly result: Value;
}

function callPerTurn(frame: Frame, loop: string, statement: ForStatement, context: Context): void {
  const inner = { ...context, frame };
  const carried = carriedValues(frame, statement, inner);
  if (carried === undefined || !writeStates(frame, statement.span, inner)) return;
  const isCarried = new Set(carried.map(({ arg }) => arg));
  const invariants = frame.imports.filter(({ arg }) => !isCarried.has(arg));
  const func: Func = {
    ...frame.builder.finish(carried.map(({ result }) => result)),
    args: [...isCarried, ...invariants.map(({ arg }) => arg)],
  };
  context.session.draft.functions.set(func.name, func);
  const operands = [...carried.map(({ initial }) => initial), ...invariants.map(({ outer }) => outer)];
  const attrs = { callee: func.name, loop, carried: carried.length };
  const results = emit(context, 'repeat', operands, attrs, statement.span);
  carried.forEach(({ variable }, i) => {
    const result = results?.[i];
    context.frame?.assign(variable, result ? tensor(result) : poison);
  });
}

function carriedValues(frame: Frame, statement: ForStatement, context: Context): Carried[] | undefined {
  const carried: Carried[] = [];
  for (const variable of frame.carriedVariables()) {
    const start = frame.imports.find((entry) => entry.variable === variable);
    const end = frame.read(variable);
    if (start === undefined || end.kind !== 'tensor') {
      report(
        context,
        'HEW2014',
        `'${variable.name}' is known at compile time and cannot change from turn to turn`,
        {
          span: statement.variable.span,
          help: 'make it a tensor before the loop, for example with full(value = 0.0)',
        },
      );
      return undefined;
    }
    const what = `'${variable.name}' at the end of a turn`;
    const result = withType(end.value, start.arg.type, what, context, statement.variable.span);
    if (result === undefined) return undefined;
    carried.push({ variable, arg: start.arg, initial: start.outer, result });
  }
  return carried;
}

/** Gives every state of the frame that was assigned its new value. */
export function writeStates(frame: Frame, span: ForStatement['span'], context: Context): boolean {
  return frame.writtenStates().every((variable) => {
    const value = frame.read(variable);
    const { state } = variable;
    if (value.kind !== 'tensor' || state === undefined) return false;
    const typed = withType(value.value, state.type, `the state '${variable.name}'`, context, span);
    return (
      typed !== undefined && emit(context, 'state_write', [typed], { name: state.symbol }, span) !== undefined
    );
  });
}

/** Statements: definitions, updates, compile-time choices and the return of a body. */
import { didYouMean } from '../../ir/diagnostics.js';
import { addDims, constantOf } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { typesEqual } from '../../ir/type.js';
import type {
  AssignStatement,
  Definition,
  Expression,
  Identifier,
  IfStatement,
  IndexItem,
  LetStatement,
  RequireStatement,
  ReturnStatement,
  Statement,
  StateStatement,
  TextLiteral,
  WeightStatement,
} from './ast.js';
import { joinPath } from './calls.js';
import { evaluateWeight } from './checkpoint.js';
import { evaluate, evaluateCondition, evaluateConstant } from './expressions.js';
import { runLoop } from './loops.js';
import { Environment, nameValue, type Variable } from './scope.js';
import { type Context, emitOne, report } from './session.js';
import { checkResult, convertConstant } from './signature.js';
import { asTensor, withType } from './tensors.js';
import { agree, constantTypeOf, evaluateTensorType, runtimeSymbols } from './types.js';
import { describeValue, isConstant, poison, type SpecValue, tensor } from './values.js';

type Runners = {
  readonly [K in Statement['kind']]: (statement: Extract<Statement, { kind: K }>, context: Context) => void;
};

const runners: Runners = {
  let: runLet,
  weight: runWeight,
  state: runState,
  assign: runAssign,
  for: (statement, context) => runLoop(statement, context, runBlock),
  if: runIf,
  require: runRequire,
  return: misplacedReturn,
};

export function runStatement(statement: Statement, context: Context): void {
  const run = runners[statement.kind] as (s: Statement, c: Context) => void;
  run(statement, context);
}

/** Statements in a scope of their own. */
export function runBlock(statements: readonly Statement[], context: Context): void {
  const inner = { ...context, environment: new Environment(context.environment) };
  for (const statement of statements) runStatement(statement, inner);
}

/** The body of a definition, which ends with its only return; the value it returns. */
export function runBody(definition: Definition, context: Context): SpecValue {
  const last = definition.body.at(-1);
  const statements = last?.kind === 'return' ? definition.body.slice(0, -1) : definition.body;
  for (const statement of statements) runStatement(statement, context);
  if (last?.kind === 'return') return returnedValue(definition, last, context);
  report(context, 'HEW2008', `${definition.name.name} does not return a value`, {
    span: definition.name.span,
    help: "the last statement of a body is 'return'",
  });
  return poison;
}

function misplacedReturn({ span }: ReturnStatement, context: Context): void {
  report(context, 'HEW2008', "'return' can only be the last statement of a body", {
    span: { ...span, end: span.start + 'return'.length },
    help: "assign the value inside 'if' or 'for' and return it at the end",
  });
}

function returnedValue(
  definition: Definition,
  { value, span }: ReturnStatement,
  context: Context,
): SpecValue {
  const returned = evaluate(value, context);
  if (returned.kind === 'poison') return poison;
  const { results } = definition;
  const items = returned.kind === 'tuple' ? returned.items : [{ name: undefined, value: returned }];
  if (items.length !== results.length) {
    report(
      context,
      'HEW2008',
      `${definition.name.name} returns ${results.length} value${results.length === 1 ? '' : 's'}, here are ${items.length}`,
      {
        span: value.span,
        labels: [{ span: definition.signatureSpan, text: 'declared here' }],
      },
    );
    return poison;
  }
  const ordered = results.map(
    (result, i) => (result.name && items.find((item) => item.name === result.name?.name)) ?? items[i],
  );
  const unknown = items.find(
    (item) => item.name !== undefined && !results.some((r) => r.name?.name === item.name),
  );
  if (unknown !== undefined) {
    report(context, 'HEW2008', `${definition.name.name} has no result '${unknown.name}'`, {
      span,
      labels: [{ span: definition.signatureSpan, text: 'declared here' }],
    });
    return poison;
  }
  const checked = results.map((result, i) => {
    const what = result.name ? `the result '${result.name.name}'` : `the result of ${definition.name.name}`;
    return checkResult(result, ordered[i]?.value ?? poison, what, value.span, context);
  });
  if (!checked.every(Boolean)) return poison;
  if (results.length === 1) return ordered[0]?.value ?? poison;
  return {
    kind: 'tuple',
    items: ordered.map((item, i) => ({ name: results[i]?.name?.name, value: item?.value ?? poison })),
  };
}

// ---- definitions of names

/** Binds a new name of this block; reports when it is taken. */
export function define(name: Identifier, value: SpecValue, context: Context): void {
  if (!isFree(name, context)) return;
  const { environment, frame } = context;
  if (frame === undefined) {
    environment.bind(name.name, { kind: 'constant', value, span: name.span });
    return;
  }
  if (value.kind === 'tensor') nameValue(value.value, name.name);
  environment.bind(name.name, {
    kind: 'variable',
    variable: frame.define(name.name, value),
    span: name.span,
  });
}

export function isFree(name: Identifier, context: Context): boolean {
  const known = context.environment.own(name.name);
  if (known === undefined || known.kind === 'open') return true;
  report(context, 'HEW2002', `'${name.name}' is defined twice`, {
    span: name.span,
    labels: [{ span: known.span, text: 'first defined here' }],
    help: known.kind === 'variable' ? `to give it a new value, write ${name.name} = ...` : undefined,
  });
  return false;
}

function runLet({ names, type, value, span }: LetStatement, context: Context): void {
  const given = evaluate(value, context);
  if (names.length === 1) {
    define(names[0] as Identifier, type ? annotated(given, type, value, context) : given, context);
    return;
  }
  const items = given.kind === 'tuple' ? given.items : undefined;
  if (items?.length !== names.length && given.kind !== 'poison') {
    report(
      context,
      'HEW2003',
      `${names.length} names for ${items ? `${items.length} values` : describeValue(given)}`,
      { span },
    );
  }
  names.forEach((name, i) => {
    define(name, items?.length === names.length ? (items[i]?.value ?? poison) : poison, context);
  });
}

/** `let h: [T, d] = ...`: the value must have the type, and gets its names. */
function annotated(
  given: SpecValue,
  type: NonNullable<LetStatement['type']>,
  value: Expression,
  context: Context,
): SpecValue {
  if (given.kind === 'poison') return poison;
  const kind = constantTypeOf(type);
  if (kind !== undefined) {
    const converted = isConstant(given) ? convertConstant(given, kind, context) : undefined;
    if (converted === undefined)
      report(context, 'HEW2003', `expected ${kind}, found ${describeValue(given)}`, { span: value.span });
    return converted ?? poison;
  }
  const wanted = evaluateTensorType(type, context);
  const operand = wanted && asTensor(given, wanted.dtype, context, value.span);
  const typed = operand && withType(operand, wanted, 'the value', context, value.span);
  return typed === undefined ? poison : tensor(typed);
}

function runWeight(statement: WeightStatement, context: Context): void {
  const value = mayOwn('weight', statement.span, context) ? evaluateWeight(statement, context) : undefined;
  define(statement.name, value === undefined ? poison : tensor(value), context);
}

/** Weights and states belong to modules; a fn has neither. */
function mayOwn(what: string, span: Statement['span'], context: Context): boolean {
  const definition = context.calls.at(-1)?.definition;
  if (definition === undefined || definition.kind !== 'fn') return true;
  report(context, 'HEW2003', `a fn has no ${what}s`, {
    span: { ...span, end: span.start + what.length },
    help: `write 'module ${definition.name.name}' instead of 'fn ${definition.name.name}'`,
  });
  return false;
}

function runState(statement: StateStatement, context: Context): void {
  if (!isFree(statement.name, context)) return;
  const variable = mayOwn('state', statement.span, context) ? declareState(statement, context) : undefined;
  if (variable === undefined) define(statement.name, poison, context);
  else
    context.environment.bind(statement.name.name, { kind: 'variable', variable, span: statement.name.span });
}

/** Enters a state into the module; the same path asked for twice is one state. */
export function declareState({ name, type, span }: StateStatement, context: Context): Variable | undefined {
  const { frame, session } = context;
  const wanted = evaluateTensorType(type, context);
  if (wanted === undefined || frame === undefined) return undefined;
  const runtime = wanted.shape.flatMap((dim) => runtimeSymbols(dim, session))[0];
  if (runtime !== undefined) {
    report(context, 'HEW2007', `'${runtime}' changes from call to call, so it cannot be a size of a state`, {
      span: type.span,
    });
    return undefined;
  }
  const symbol = joinPath(context.path, name.name);
  const known = session.draft.states.get(symbol);
  if (known !== undefined && !typesEqual(known.type, wanted)) {
    report(context, 'HEW2009', `the state '${symbol}' is declared with two types`, { span });
    return undefined;
  }
  session.draft.states.set(symbol, {
    type: wanted,
    ...(frame.loop === undefined ? {} : { loop: frame.loop }),
  });
  return frame.states.get(symbol) ?? frame.defineState(symbol, name.name, wanted);
}

// ---- updates

function runAssign(statement: AssignStatement, context: Context): void {
  const { target, items, value } = statement;
  const variable = assignable(target, context);
  const given = evaluate(value, context);
  if (variable === undefined || context.frame === undefined) return;
  const current = context.frame.read(variable);
  if (given.kind === 'poison' || current.kind === 'poison') return;
  const updated = items
    ? writeRows(current, items, given, statement, context)
    : replaced(current, given, statement, context);
  context.frame.assign(variable, updated ?? poison);
}

function assignable(target: Identifier, context: Context): Variable | undefined {
  const binding = context.environment.find(target.name);
  if (binding?.kind === 'variable') return binding.variable;
  if (binding === undefined) {
    report(context, 'HEW2001', `there is no '${target.name}'`, {
      span: target.span,
      help:
        didYouMean(target.name, context.environment.names()) ??
        `a new name is defined with: let ${target.name} = ...`,
    });
    return undefined;
  }
  report(context, 'HEW2009', `'${target.name}' is a constant and cannot be assigned`, {
    span: target.span,
    labels: [{ span: binding.span, text: 'defined here' }],
  });
  return undefined;
}

/** A tensor keeps its type; a compile-time value may change to another one. */
function replaced(
  current: SpecValue,
  given: SpecValue,
  statement: AssignStatement,
  context: Context,
): SpecValue | undefined {
  const { target, value } = statement;
  if (current.kind !== 'tensor') return given;
  const operand = asTensor(given, current.value.type.dtype, context, value.span);
  if (operand === undefined) return undefined;
  const typed = withType(
    operand,
    current.value.type,
    `the new value of '${target.name}'`,
    context,
    value.span,
  );
  if (typed === undefined) return undefined;
  nameValue(typed, target.name);
  return tensor(typed);
}

/** `cache[pos : pos + T] = rows` */
function writeRows(
  current: SpecValue,
  items: readonly IndexItem[],
  given: SpecValue,
  { target, value }: AssignStatement,
  context: Context,
): SpecValue | undefined {
  const [first, ...others] = items;
  const span = first?.span ?? target.span;
  const plain = others.every(
    (item) => item.kind === 'rest' || (item.kind === 'slice' && !item.start && !item.end),
  );
  if (current.kind !== 'tensor' || first?.kind !== 'slice' || first.start === undefined || !plain) {
    report(context, 'HEW2009', 'only rows of a tensor can be assigned', {
      span,
      help: 'for example: cache[pos : pos + T] = k',
    });
    return undefined;
  }
  const rows = asTensor(given, current.value.type.dtype, context, value.span);
  const start = asTensor(evaluate(first.start, context), 'i32', context, first.start.span);
  if (rows === undefined || start === undefined || !coversRows(first, rows, context)) return undefined;
  const written = emitOne(context, 'cache_append', [current.value, rows, start], {}, span, [
    target.span,
    value.span,
    span,
  ]);
  if (written === undefined) return undefined;
  nameValue(written, target.name);
  return tensor(written);
}

/** The slice must end where its rows do: `start + n` for n rows. */
function coversRows(item: Extract<IndexItem, { kind: 'slice' }>, rows: Value, context: Context): boolean {
  const { start, end, span } = item;
  const count = rows.type.shape[0];
  if (end === undefined || start === undefined || count === undefined) return true;
  const sum =
    end.kind === 'binary' && end.operator === '+' && sameExpression(end.left, start) ? end.right : undefined;
  const length = sum && evaluate(sum, context);
  if (length?.kind === 'int' && agree(length.dim, count, context.session)) return true;
  const literals = [start, end].map((bound) => (bound.kind === 'number' ? bound.value : undefined));
  const [from, to] = literals;
  if (from !== undefined && to !== undefined && constantOf(addDims(count, from)) === to) return true;
  report(context, 'HEW2009', 'the slice does not end where the assigned rows do', {
    span,
    help: 'write it as start : start + n, with n the number of rows',
  });
  return false;
}

/** Equal but for where they stand. */
function sameExpression(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return a === b;
  const keys = Object.keys(a).filter((key) => !key.toLowerCase().endsWith('span'));
  return keys.every((key) => sameExpression(a[key as keyof typeof a], b[key as keyof typeof b]));
}

// ---- compile-time choices

function runIf({ condition, body, otherwise }: IfStatement, context: Context): void {
  const chosen = evaluateCondition(condition, context);
  if (chosen === undefined) return;
  runBlock(chosen ? body : (otherwise ?? []), context);
}

export function runRequire({ condition, message }: RequireStatement, context: Context): void {
  const holds = evaluateCondition(condition, context);
  if (holds !== false) return;
  report(context, 'HEW2011', message ? messageText(message, context) : 'this requirement does not hold', {
    span: condition.span,
    notes: operandValues(condition, context),
  });
}

function messageText(message: TextLiteral, context: Context): string {
  const value = evaluateConstant(message, context);
  return value?.kind === 'string' ? value.value : 'this requirement does not hold';
}

/** The values of the compared sides, which is what one wants to know of a failed comparison. */
function operandValues(condition: Expression, context: Context): string[] {
  if (condition.kind !== 'binary') return [];
  const sides = [condition.left, condition.right].map((side) => evaluate(side, context));
  const [left, right] = sides;
  if (left?.kind !== 'int' || right?.kind !== 'int') return [];
  const [a, b] = [left, right].map((side) => context.session.valueOf(side.dim));
  return a === undefined || b === undefined ? [] : [`the left side is ${a}, the right side is ${b}`];
}

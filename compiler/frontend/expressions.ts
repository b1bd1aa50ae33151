/** Elaboration of expressions. Constants are computed, everything else is appended to the function in `context`. */

import { didYouMean, type Span } from '../../ir/diagnostics.js';
import { printDim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import type {
  BinaryExpression,
  BinaryOperator,
  ConditionalExpression,
  Expression,
  ListExpression,
  MemberExpression,
  NameExpression,
  TextLiteral,
  TupleExpression,
  UnaryExpression,
} from './ast.js';
import { evaluateCall } from './calls.js';
import { binaryConstant, ConstantError, negate } from './constants.js';
import { evaluateIndex } from './indexing.js';
import { evaluateRearrange } from './rearrange.js';
import type { Binding, Frame } from './scope.js';
import { type Context, emitOne, report, reportTypeError } from './session.js';
import { asTensor } from './tensors.js';
import {
  bool,
  type Constant,
  describeValue,
  float,
  int,
  isConstant,
  poison,
  type SpecValue,
  tensor,
  text,
} from './values.js';

type Evaluators = {
  readonly [K in Expression['kind']]: (
    expression: Extract<Expression, { kind: K }>,
    context: Context,
  ) => SpecValue;
};

const evaluators: Evaluators = {
  number: ({ value, isInt }) => (isInt ? int(value) : float(value)),
  text: evaluateText,
  bool: ({ value }) => bool(value),
  name: evaluateName,
  unary: evaluateUnary,
  binary: evaluateBinary,
  conditional: evaluateConditional,
  call: evaluateCall,
  index: evaluateIndex,
  member: evaluateMember,
  rearrange: evaluateRearrange,
  list: evaluateList,
  tuple: evaluateTuple,
};

export function evaluate(expression: Expression, context: Context): SpecValue {
  const evaluator = evaluators[expression.kind] as (e: Expression, c: Context) => SpecValue;
  try {
    return evaluator(expression, context);
  } catch (error) {
    if (reportTypeError(context, error, expression.span)) return poison;
    throw error;
  }
}

/** The value as a tensor; undefined, with a report, when it is none. */
export function evaluateTensor(expression: Expression, context: Context): Value | undefined {
  return asTensor(evaluate(expression, context), undefined, context, expression.span);
}

/** The value as a constant; undefined, with a report, when it is none. */
export function evaluateConstant(expression: Expression, context: Context): Constant | undefined {
  const value = evaluate(expression, context);
  if (value.kind === 'poison') return undefined;
  if (isConstant(value)) return value;
  report(context, 'HEW2006', `this must be known when the model is compiled; it is ${describeValue(value)}`, {
    span: expression.span,
  });
  return undefined;
}

/** A condition; undefined, with a report, when it is not known at compile time. */
export function evaluateCondition(expression: Expression, context: Context): boolean | undefined {
  const value = evaluate(expression, context);
  if (value.kind === 'bool') return value.value;
  if (value.kind === 'poison') return undefined;
  const help =
    value.kind === 'tensor'
      ? 'if chooses when the model is compiled; to choose per element, use where(condition, a, b)'
      : 'a condition is true or false, for example a == b';
  report(
    context,
    value.kind === 'tensor' ? 'HEW2006' : 'HEW2003',
    `${describeValue(value)} is not a condition`,
    {
      span: expression.span,
      help,
    },
  );
  return undefined;
}

// ---- names

function evaluateName({ name, span }: NameExpression, context: Context): SpecValue {
  const binding = context.environment.find(name);
  if (binding !== undefined) return valueOfBinding(binding, name, span, context);
  reportUnknownName(name, span, context);
  return poison;
}

function valueOfBinding(binding: Binding, name: string, span: Span, context: Context): SpecValue {
  switch (binding.kind) {
    case 'constant':
      return binding.value;
    case 'open':
      report(context, 'HEW2007', `the dimension '${name}' is not known here`, {
        span,
        labels: [{ span: binding.span, text: 'declared here' }],
        help: `no argument has '${name}' as an axis of its own; pass it in brackets: name[${name}](...)`,
      });
      return poison;
    case 'turn':
      return turnNumber(binding.frame, context, span);
    case 'variable':
      if (context.frame !== undefined) return context.frame.read(binding.variable);
      report(
        context,
        'HEW2006',
        `'${name}' is a run-time value, but this must be known when the model is compiled`,
        { span },
      );
      return poison;
  }
}

function reportUnknownName(name: string, span: Span, context: Context): void {
  const isDefinition = context.unit.definitions.has(name);
  report(context, 'HEW2001', isDefinition ? `'${name}' must be called` : `there is no '${name}'`, {
    span,
    help: isDefinition ? `for example: ${name}(...)` : didYouMean(name, context.environment.names()),
  });
}

/** A loop's variable as a number: a counter that the loop carries, from the loop's first number on. */
function turnNumber(loop: Frame, context: Context, span: Span): SpecValue {
  if (loop.counter === undefined) {
    const outer = loop.parent as Frame;
    const first = context.session.draft.loops.get(loop.loop ?? '')?.first;
    const start =
      first === undefined
        ? outer.builder.one('full', [], { value: 0, dtype: 'i32', shape: [] })
        : outer.builder.one('dim_size', [], { dim: first });
    loop.counter = outer.define(loop.loop ?? 'turn', tensor(start));
  }
  if (context.frame === undefined) {
    report(
      context,
      'HEW2006',
      'the variable of a loop changes at run time, but this must be known when the model is compiled',
      { span },
    );
    return poison;
  }
  return context.frame.read(loop.counter);
}

/** No name in a checkpoint is longer; strings that mention one another could double without end. */
const textLimit = 1000;

function evaluateText({ parts, span }: TextLiteral, context: Context): SpecValue {
  const pieces = parts.map((part) =>
    typeof part === 'string' ? part : textOfName(part.name, part.span, context),
  );
  if (pieces.some((piece) => piece === undefined)) return poison;
  const joined = pieces.join('');
  if (joined.length <= textLimit) return text(joined);
  report(context, 'HEW2003', `a string has at most ${textLimit} characters; this has ${joined.length}`, {
    span,
  });
  return poison;
}

function textOfName(name: string, span: Span, context: Context): string | undefined {
  const binding = context.environment.find(name);
  if (binding === undefined) {
    reportUnknownName(name, span, context);
    return undefined;
  }
  if (binding.kind === 'turn') return `{${binding.frame.loop}}`;
  const value = valueOfBinding(binding, name, span, context);
  if (value.kind === 'poison') return undefined;
  if (value.kind === 'string') return value.value;
  if (value.kind === 'float' || value.kind === 'bool') return String(value.value);
  if (value.kind === 'int') return String(context.session.valueOf(value.dim) ?? printDim(value.dim));
  report(context, 'HEW2006', `${describeValue(value)} has no text at compile time`, { span });
  return undefined;
}

/** `w.T`, or a dotted name of the configuration. */
function evaluateMember(expression: MemberExpression, context: Context): SpecValue {
  const dotted = dottedName(expression);
  const binding = dotted === undefined ? undefined : context.environment.find(dotted);
  if (binding !== undefined && dotted !== undefined)
    return valueOfBinding(binding, dotted, expression.span, context);
  const { object, member } = expression;
  if (member.name !== 'T') {
    report(context, 'HEW2001', `there is no '.${member.name}'`, {
      span: member.span,
      help:
        didYouMean(
          dotted ?? '',
          context.environment.names().filter((name) => name.includes('.')),
        ) ?? "a tensor has '.T', which swaps its last two axes; dotted names belong to the configuration",
    });
    return poison;
  }
  const value = evaluateTensor(object, context);
  return value === undefined ? poison : transposeLast(value, expression, context);
}

function dottedName(expression: Expression): string | undefined {
  if (expression.kind === 'name') return expression.name;
  if (expression.kind !== 'member') return undefined;
  const prefix = dottedName(expression.object);
  return prefix === undefined ? undefined : `${prefix}.${expression.member.name}`;
}

function transposeLast(value: Value, { span, object }: MemberExpression, context: Context): SpecValue {
  const rank = value.type.shape.length;
  if (rank < 2) {
    report(context, 'HEW2004', `'.T' swaps the last two axes, but this has ${rank}`, { span: object.span });
    return poison;
  }
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  perm.splice(rank - 2, 2, rank - 1, rank - 2);
  return fromEmitted(emitOne(context, 'transpose', [value], { perm }, span));
}

export function fromEmitted(value: Value | undefined): SpecValue {
  return value === undefined ? poison : tensor(value);
}

// ---- operators

/** Runs constant arithmetic and reports what has no value. */
export function computeConstant(context: Context, span: Span, compute: () => Constant): SpecValue {
  try {
    return compute();
  } catch (error) {
    if (error instanceof ConstantError) {
      const runtime = error.message.includes('run time');
      report(context, runtime ? 'HEW2006' : 'HEW2007', error.message, { span, help: error.help });
      return poison;
    }
    if (reportTypeError(context, error, span)) return poison;
    throw error;
  }
}

function evaluateUnary({ operator, operand, span }: UnaryExpression, context: Context): SpecValue {
  const value = evaluate(operand, context);
  if (value.kind === 'poison') return poison;
  if (operator === 'not' && value.kind === 'bool') return bool(!value.value);
  if (operator === '-' && isConstant(value)) {
    return computeConstant(context, span, () => negate(value, (dim) => context.session.valueOf(dim)));
  }
  const given = asTensor(value, undefined, context, operand.span);
  if (given === undefined) return poison;
  return fromEmitted(emitOne(context, operator === '-' ? 'neg' : 'not', [given], {}, span, [operand.span]));
}

const tensorOperators: Readonly<Record<BinaryOperator, string | undefined>> = {
  '+': 'add',
  '-': 'sub',
  '*': 'mul',
  '/': 'div',
  '%': undefined,
  '**': 'pow',
  '@': 'matmul',
  '==': 'eq',
  '!=': 'ne',
  '<': 'lt',
  '<=': 'le',
  '>': 'gt',
  '>=': 'ge',
  and: 'and',
  or: 'or',
};

function evaluateBinary(expression: BinaryExpression, context: Context): SpecValue {
  const { operator, left, right, span } = expression;
  if (operator === '@') return evaluateProduct(expression, context);
  const a = evaluate(left, context);
  if ((operator === 'and' || operator === 'or') && a.kind === 'bool' && a.value === (operator === 'or'))
    return a;
  const b = evaluate(right, context);
  if (a.kind === 'poison' || b.kind === 'poison') return poison;
  if (isConstant(a) && isConstant(b)) {
    return computeConstant(context, span, () =>
      binaryConstant(operator, a, b, (dim) => context.session.valueOf(dim)),
    );
  }
  const name = tensorOperators[operator];
  if (name === undefined) {
    report(context, 'HEW2003', `'${operator}' does not apply to tensors`, { span: expression.operatorSpan });
    return poison;
  }
  const x = asTensor(a, dtypeOfTensor(b), context, left.span);
  const y = asTensor(b, dtypeOfTensor(a), context, right.span);
  if (x === undefined || y === undefined) return poison;
  return fromEmitted(emitOne(context, name, [x, y], {}, span, [left.span, right.span]));
}

/** A number beside a tensor takes the tensor's dtype. */
function dtypeOfTensor(value: SpecValue) {
  return value.kind === 'tensor' ? value.value.type.dtype : undefined;
}

/** `x @ w.T` with a matrix w is a dense layer; any other product is a matmul. */
function evaluateProduct({ left, right, span }: BinaryExpression, context: Context): SpecValue {
  const x = evaluateTensor(left, context);
  if (right.kind === 'member' && right.member.name === 'T') {
    const w = evaluateTensor(right.object, context);
    if (x === undefined || w === undefined) return poison;
    if (w.type.shape.length === 2)
      return fromEmitted(emitOne(context, 'linear', [x, w], {}, span, [left.span, right.span]));
  }
  const y = evaluateTensor(right, context);
  if (x === undefined || y === undefined) return poison;
  return fromEmitted(emitOne(context, 'matmul', [x, y], {}, span, [left.span, right.span]));
}

function evaluateConditional(expression: ConditionalExpression, context: Context): SpecValue {
  const condition = evaluateCondition(expression.condition, context);
  if (condition === undefined) return poison;
  return evaluate(condition ? expression.whenTrue : expression.whenFalse, context);
}

// ---- several values

function evaluateList({ items }: ListExpression, context: Context): SpecValue {
  const values = items.map((item) => evaluateConstant(item, context));
  if (values.some((value) => value === undefined)) return poison;
  return { kind: 'list', items: values as Constant[] };
}

function evaluateTuple({ items }: TupleExpression, context: Context): SpecValue {
  return {
    kind: 'tuple',
    items: items.map(({ name, value }) => ({ name: name?.name, value: evaluate(value, context) })),
  };
}

/**
 * Weights: from `weight` statements to parameters of the module, checked against the checkpoint's table of contents;
 * and the two functions by which a spec may ask what a checkpoint contains.
 */

import { didYouMean, type Span } from '../../ir/diagnostics.js';
import type { Dim } from '../../ir/dim.js';
import type { Value } from '../../ir/module.js';
import { fillName, type Recipe, sourceRecipe } from '../../ir/recipe.js';
import { type DType, isDType, isFloat, printType, type TensorType, typesEqual } from '../../ir/type.js';
import type { CallExpression, WeightStatement } from './ast.js';
import { joinPath } from './calls.js';
import { evaluate, evaluateConstant } from './expressions.js';
import { Environment } from './scope.js';
import { type Context, emitOne, report } from './session.js';
import { describeShape, evaluateSize, evaluateTensorType, runtimeSymbols } from './types.js';
import { bool, int, poison, type SpecValue, text } from './values.js';

/** A weight as the statement asks for it, its name complete but for placeholders of loop and stack. */
interface Request {
  readonly statement: WeightStatement;
  readonly name: string;
  readonly type: TensorType;
  readonly stack: { readonly placeholder: string; readonly count: Dim; readonly size: number } | undefined;
}

/** The statement's value: the parameter, widened to f32 where it is a narrower float. */
export function evaluateWeight(statement: WeightStatement, context: Context): Value | undefined {
  const request = readRequest(statement, context);
  if (request === undefined || context.frame === undefined) return undefined;
  if (!declareParam(request, context)) return undefined;
  const known = context.frame.params.get(request.name);
  if (known !== undefined) return known;
  const param = emitOne(context, 'param', [], { name: request.name }, statement.span);
  if (param === undefined) return undefined;
  const wide = widen(param, request.type.dtype, statement.span, context);
  if (wide !== undefined) context.frame.params.set(request.name, wide);
  return wide;
}

function widen(param: Value, dtype: DType, span: Span, context: Context): Value | undefined {
  return param.type.dtype === dtype ? param : emitOne(context, 'cast', [param], { dtype }, span);
}

// ---- what the statement asks for

/** Stacks beyond this are no model. */
const stackLimit = 100_000;

function readRequest(statement: WeightStatement, context: Context): Request | undefined {
  const type = evaluateTensorType(statement.type, context);
  const stack = readStack(statement, context);
  const environment = new Environment(context.environment);
  if (statement.stack) {
    const { name, span } = statement.stack.variable;
    environment.bind(name, { kind: 'constant', value: text(`{${name}}`), span });
  }
  const path = evaluate(statement.path, { ...context, environment });
  if (path.kind !== 'string' && path.kind !== 'poison') {
    report(context, 'HEW2003', 'the name of a weight is a string', { span: statement.path.span });
  }
  if (type === undefined || stack === 'invalid' || path.kind !== 'string') return undefined;
  const runtime = type.shape.flatMap((dim) => runtimeSymbols(dim, context.session))[0];
  if (runtime !== undefined) {
    report(context, 'HEW2007', `'${runtime}' is known at run time only, so it cannot be a size of a weight`, {
      span: statement.type.span,
    });
    return undefined;
  }
  return { statement, name: joinPath(context.path, path.value), type, stack };
}

function readStack({ stack }: WeightStatement, context: Context): Request['stack'] | 'invalid' {
  if (stack === undefined) return undefined;
  const count = evaluateSize(stack.count, context);
  if (count === undefined) return 'invalid';
  const { name, span } = stack.variable;
  if (count.size < 1 || count.size > stackLimit) {
    report(context, 'HEW2007', `cannot stack ${count.size} tensors`, { span: stack.count.span });
    return 'invalid';
  }
  if (context.frame?.loop === name) {
    report(context, 'HEW2002', `'${name}' is the variable of the loop already`, { span });
    return 'invalid';
  }
  return { placeholder: `{${name}}`, count: count.dim, size: count.size };
}

// ---- parameters

/** Enters the parameter into the module, or checks that it is there with the same type. */
function declareParam(request: Request, context: Context): boolean {
  const { session } = context;
  const { name, type, stack, statement } = request;
  const full = stack ? { dtype: type.dtype, shape: [stack.count, ...type.shape] } : type;
  const known = session.draft.params.get(name);
  if (known !== undefined) {
    const same = typesEqual({ ...known.type, dtype: full.dtype }, full);
    if (same) return true;
    const first = session.paramSpans.get(name);
    report(
      context,
      'HEW2010',
      `'${name}' is ${printType(full)} here and ${printType(known.type)} elsewhere`,
      {
        span: statement.type.span,
        labels: first ? [{ span: first, text: 'first used here' }] : [],
        help: 'one tensor of the checkpoint is one weight; use the same dimensions in both places',
      },
    );
    return false;
  }
  const dtype = checkTensors(request, context);
  if (dtype === undefined) return false;
  const loop = context.frame?.loop;
  const inLoop = loop !== undefined && name.includes(`{${loop}}`);
  session.paramSpans.set(name, statement.type.span);
  session.draft.params.set(name, {
    type: { dtype, shape: full.shape },
    ...(inLoop ? { loop } : {}),
    recipe: recipeOf(request, { dtype, shape: type.shape }),
  });
  return true;
}

function recipeOf({ name, stack }: Request, type: TensorType): Recipe {
  if (stack === undefined) return sourceRecipe(name, type);
  const parts = stackNames(name, stack).map((part) => sourceRecipe(part, type));
  return { kind: 'stack', count: stack.count, parts };
}

function stackNames(name: string, stack: NonNullable<Request['stack']>): string[] {
  return Array.from({ length: stack.size }, (_, i) => name.replaceAll(stack.placeholder, String(i)));
}

/** Every tensor of the checkpoint a request stands for: one per turn of the loop and part of the stack. */
function sourceNames({ name, stack }: Request, context: Context): string[] {
  const parts = stack ? stackNames(name, stack) : [name];
  const { loop, turns } = turnsOf(name, context);
  return loop === undefined
    ? parts
    : turns.flatMap((value) => parts.map((part) => fillName(part, { loop, value })));
}

function sourceCount({ name, stack }: Request, context: Context): number {
  const { loop, turns } = turnsOf(name, context);
  return (stack?.size ?? 1) * (loop === undefined ? 1 : turns.length);
}

/** The loop whose variable a name mentions, and its turns. */
function turnsOf(name: string, context: Context): { loop: string | undefined; turns: readonly number[] } {
  const loop = context.frame?.loop;
  const turns = loop === undefined ? undefined : context.session.draft.loops.get(loop)?.indices;
  return loop !== undefined && turns !== undefined && name.includes(`{${loop}}`)
    ? { loop, turns }
    : { loop: undefined, turns: [] };
}

/** Checks shapes and dtypes; the dtype the parameter is stored in, or undefined with a report. */
function checkTensors(request: Request, context: Context): DType | undefined {
  const { session } = context;
  if (session.isExhausted(request.statement.span, sourceCount(request, context))) return undefined;
  const names = sourceNames(request, context);
  for (const name of names) session.weightsUsed.add(name);
  const wanted = request.type.dtype;
  const chosen = isFloat(wanted) ? session.weightsDType : undefined;
  if (session.checkpoint === undefined) return chosen ?? wanted;
  const found = new Set<DType>();
  const missing: string[] = [];
  for (const name of names) {
    const dtype = checkTensor(name, request, context);
    if (dtype === 'missing') missing.push(name);
    else if (dtype === 'wrong') return undefined;
    else found.add(dtype);
  }
  if (missing.length > 0) {
    reportMissing(missing, request, context);
    return undefined;
  }
  const [only, ...others] = found;
  return chosen ?? (others.length > 0 ? wanted : only);
}

function checkTensor(
  name: string,
  { type, statement }: Request,
  context: Context,
): DType | 'missing' | 'wrong' {
  const { session } = context;
  const tensor = session.checkpoint?.tensor(name);
  if (tensor === undefined) return 'missing';
  const sizes = type.shape.map((dim) => session.valueOf(dim));
  if (sizes.length !== tensor.shape.length || sizes.some((size, i) => size !== tensor.shape[i])) {
    const is = `[${tensor.shape.join(', ')}]`;
    report(
      context,
      'HEW4003',
      `'${name}' is ${is} in the checkpoint, but the model needs ${describeShape(type.shape, session)}`,
      { span: statement.type.span, help: 'check the sizes in the configuration against the checkpoint' },
      name,
    );
    return 'wrong';
  }
  const { dtype } = tensor;
  if (isDType(dtype) && (dtype === type.dtype || (type.dtype === 'f32' && isFloat(dtype)))) return dtype;
  const message = `'${name}' is ${dtype} in the checkpoint, but the model needs ${type.dtype}`;
  const help = type.dtype === 'f32' ? 'a weight of type f32 reads f32, f16 and bf16 tensors' : undefined;
  report(context, 'HEW4003', message, { span: statement.type.span, help }, name);
  return 'wrong';
}

/** Looking for a similar name takes time for each; past these, the user has the idea. */
const hintedReports = 20;

function reportMissing(missing: readonly string[], { statement }: Request, context: Context): void {
  const { session } = context;
  const [name, ...others] = missing as [string, ...string[]];
  const earlier = session.diagnostics.filter((d) => d.code === 'HEW4002').length;
  const help = earlier < hintedReports ? didYouMean(name, session.checkpoint?.names() ?? []) : undefined;
  const notes =
    others.length > 0
      ? [`and ${others.length} more that this statement asks for, up to '${others.at(-1)}'`]
      : [];
  report(
    context,
    'HEW4002',
    `'${name}' is missing from the checkpoint`,
    { span: statement.path.span, notes, help },
    name,
  );
}

// ---- questions to the checkpoint

type CheckpointFunction = (call: CallExpression, context: Context) => SpecValue;

/** Compile-time functions; without a checkpoint they answer false, or the fallback. */
export const checkpointFunctions: Readonly<Record<string, CheckpointFunction>> = {
  has_tensor: hasTensor,
  tensor_size: tensorSize,
};

interface TensorInfo {
  readonly shape: readonly number[];
}

/**
 * What the checkpoint says of a tensor named within the current path. In a loop, the first turn's answer counts, and the
 * loop is told for how many turns it holds.
 */
function askTensor<T>(
  call: CallExpression,
  context: Context,
  answer: (tensor: TensorInfo | undefined) => T,
): { readonly answer: T } | undefined {
  const argument = call.arguments[0];
  const value = argument && evaluateConstant(argument.value, context);
  if (value === undefined) return undefined;
  if (value.kind !== 'string') {
    report(context, 'HEW2003', `${call.callee.name} needs the name of a tensor`, { span: call.span });
    return undefined;
  }
  const { frame, session } = context;
  const name = joinPath(context.path, value.value);
  const { loop, turns } = turnsOf(name, context);
  if (frame === undefined || loop === undefined) return { answer: answer(session.checkpoint?.tensor(name)) };
  const answers = turns.map((turn) =>
    answer(session.checkpoint?.tensor(fillName(name, { loop, value: turn }))),
  );
  const other = answers.findIndex((each) => each !== answers[0]);
  if (other > 0) frame.agreeingTurns = Math.min(frame.agreeingTurns, other);
  return { answer: answers[0] as T };
}

function checkArity(call: CallExpression, count: number, usage: string, context: Context): boolean {
  if (call.arguments.length === count && call.arguments.every((argument) => argument.name === undefined))
    return true;
  report(context, 'HEW2003', `${call.callee.name} is called as ${usage}`, { span: call.span });
  return false;
}

/** `has_tensor("lm_head.weight")`: whether the checkpoint has it. */
function hasTensor(call: CallExpression, context: Context): SpecValue {
  if (!checkArity(call, 1, 'has_tensor(name)', context)) return poison;
  const found = askTensor(call, context, (info) => info !== undefined);
  return found === undefined ? poison : bool(found.answer);
}

/** `tensor_size("final_layer.linear.weight", 0, fallback)`: size of an axis of a tensor of the checkpoint. */
function tensorSize(call: CallExpression, context: Context): SpecValue {
  if (!checkArity(call, 3, 'tensor_size(name, axis, fallback)', context)) return poison;
  const [, axisArgument, fallback] = call.arguments;
  const axis = axisArgument && evaluateSize(axisArgument.value, context);
  const found = axis && askTensor(call, context, (info) => info?.shape[axis.size]);
  if (found === undefined || fallback === undefined) return poison;
  return found.answer === undefined ? evaluate(fallback.value, context) : int(found.answer);
}

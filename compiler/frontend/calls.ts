/** Calls: of modules and fns (inlined where they stand), of operations, and of compile-time functions. */
import { didYouMean } from '../../ir/diagnostics.js';
import type { Argument, CallExpression, Definition, Parameter } from './ast.js';
import { checkpointFunctions } from './checkpoint.js';
import { callConstantFunction, constantFunctions } from './constants.js';
import { computeConstant, evaluate } from './expressions.js';
import { callOperation, operationNames } from './operations.js';
import { Environment } from './scope.js';
import { type Context, report, type Unit } from './session.js';
import { bindParameters, type GivenArgument } from './signature.js';
import { runBody } from './statements.js';
import { constantTypeOf, evaluateDim } from './types.js';
import { type Constant, int, isConstant, poison, type SpecValue } from './values.js';

export function evaluateCall(call: CallExpression, context: Context): SpecValue {
  const { name } = call.callee;
  const found = context.unit.definitions.get(name);
  if (found !== undefined) return callDefinition(call, found.definition, found.unit, context);
  if (Object.hasOwn(checkpointFunctions, name)) return checkpointFunctions[name]?.(call, context) ?? poison;
  const isConstantCall = Object.hasOwn(constantFunctions, name);
  if (!isConstantCall && !operationNames.has(name)) return unknownCallee(call, context);
  if (!checkPlainCall(call, context)) return poison;
  if (isConstantCall) {
    const constants = constantArguments(call, context);
    if (constants === 'poison') return poison;
    if (constants !== undefined) {
      const { session } = context;
      return computeConstant(context, call.span, () =>
        callConstantFunction(name, constants, (dim) => session.valueOf(dim)),
      );
    }
  }
  return callOperation(call, context);
}

/** The arguments when all of them are constants; undefined when one is a tensor. */
function constantArguments(call: CallExpression, context: Context): Constant[] | 'poison' | undefined {
  const isOperation = operationNames.has(call.callee.name);
  if (isOperation && context.frame !== undefined && call.arguments.some((a) => mentionsTensor(a, context)))
    return undefined;
  const values = call.arguments.map((argument) => evaluate(argument.value, context));
  if (values.some((value) => value.kind === 'poison')) return 'poison';
  if (values.every(isConstant)) return values;
  report(context, 'HEW2006', `${call.callee.name} of tensors is not known when the model is compiled`, {
    span: call.span,
  });
  return 'poison';
}

/** Whether an argument is, or contains, anything but literals and constants: decided without emitting operations. */
function mentionsTensor({ value }: Argument, context: Context): boolean {
  switch (value.kind) {
    case 'number':
    case 'bool':
    case 'text':
      return false;
    case 'name':
      return isTensorName(value.name, context);
    case 'member':
      return value.member.name === 'T';
    case 'unary':
      return mentionsTensor({ name: undefined, value: value.operand }, context);
    case 'binary':
      return [value.left, value.right].some((side) =>
        mentionsTensor({ name: undefined, value: side }, context),
      );
    case 'conditional':
      return [value.whenTrue, value.whenFalse].some((side) =>
        mentionsTensor({ name: undefined, value: side }, context),
      );
    case 'call':
      return !Object.hasOwn(constantFunctions, value.callee.name)
        ? !Object.hasOwn(checkpointFunctions, value.callee.name)
        : value.arguments.some((argument) => mentionsTensor(argument, context));
    default:
      return true;
  }
}

function isTensorName(name: string, context: Context): boolean {
  const binding = context.environment.find(name);
  if (binding?.kind === 'turn') return true;
  if (binding?.kind !== 'variable' || context.frame === undefined) return false;
  return !isConstant(context.frame.read(binding.variable));
}

function checkPlainCall(call: CallExpression, context: Context): boolean {
  const { name, span } = call.callee;
  if (call.dims.length > 0) {
    report(context, 'HEW2003', `${name} takes no dimensions in brackets`, { span });
    return false;
  }
  if (call.at === undefined) return true;
  report(context, 'HEW2003', `${name} has no weights, so 'at' has nothing to place`, { span: call.at.span });
  return false;
}

function unknownCallee(call: CallExpression, context: Context): SpecValue {
  const { name, span } = call.callee;
  const isValue = context.environment.find(name) !== undefined;
  const candidates = [
    ...context.unit.definitions.keys(),
    ...operationNames,
    ...Object.keys(constantFunctions),
    ...Object.keys(checkpointFunctions),
  ];
  const near = didYouMean(name, candidates);
  const help = near ?? (/^[A-Z]/.test(name) ? 'the standard blocks need: import "hew:blocks"' : undefined);
  report(
    context,
    'HEW2001',
    isValue ? `'${name}' is a value and cannot be called` : `there is no '${name}'`,
    { span, help },
  );
  for (const argument of call.arguments) evaluate(argument.value, context);
  return poison;
}

// ---- modules and fns

function callDefinition(
  call: CallExpression,
  definition: Definition,
  unit: Unit,
  context: Context,
): SpecValue {
  if (!mayCall(call, definition, context) || context.session.isExhausted(call.span)) return poison;
  const path = pathOfCall(call, context);
  const callee: Context = {
    session: context.session,
    unit,
    environment: new Environment(context.session.unitEnvironments.get(unit) ?? unit.environment),
    frame: context.frame,
    path: path ?? '',
    calls: [...context.calls, { definition, call }],
  };
  const knownDims = bindDims(call, definition, context, callee);
  const given = matchArguments(call, definition, context, callee);
  if (path === undefined || !knownDims || given === undefined) return poison;
  const bound = bindParameters(definition, given, callee, context);
  if (bound === undefined) return poison;
  for (const [{ name }, value] of bound) bindValue(name.name, value, name.span, callee);
  return runBody(definition, callee);
}

/** Makes a value visible under a name: constants as they are, everything else as a variable of the frame. */
function bindValue(name: string, value: SpecValue, span: Parameter['span'], context: Context): void {
  const { frame, environment } = context;
  if (frame === undefined) environment.bind(name, { kind: 'constant', value, span });
  else environment.bind(name, { kind: 'variable', variable: frame.define(name, value), span });
}

/** Deeper chains of calls than any model has would exhaust the stack. */
const callDepthLimit = 40;

function mayCall({ callee, at }: CallExpression, definition: Definition, context: Context): boolean {
  const { name, span } = callee;
  if (definition.kind === 'entry') {
    report(context, 'HEW2003', `'${name}' is an entry point and cannot be called`, {
      span,
      help: 'move what both need into a module',
    });
    return false;
  }
  const labels = [{ span: definition.name.span, text: 'defined here' }];
  if (context.calls.some((site) => site.definition === definition)) {
    report(context, 'HEW2013', `${name} calls itself`, {
      span,
      labels,
      help: "repetition is written with 'for'",
    });
    return false;
  }
  if (context.calls.length >= callDepthLimit) {
    report(context, 'HEW2013', `calls are nested more than ${callDepthLimit} deep`, { span });
    return false;
  }
  if (definition.kind === 'module' || at === undefined) return true;
  report(context, 'HEW2003', `${name} is a fn and has no weights, so 'at' has nothing to place`, {
    span: at.span,
    labels,
  });
  return false;
}

function pathOfCall({ at }: CallExpression, context: Context): string | undefined {
  if (at === undefined) return context.path;
  const value = evaluate(at, context);
  if (value.kind === 'string') return joinPath(context.path, value.value);
  if (value.kind !== 'poison') {
    report(context, 'HEW2003', "'at' is followed by a string, the prefix of the names of the weights", {
      span: at.span,
    });
  }
  return undefined;
}

export function joinPath(prefix: string, name: string): string {
  return [prefix, name].filter((part) => part !== '').join('.');
}

function bindDims(call: CallExpression, definition: Definition, context: Context, callee: Context): boolean {
  const { generics } = definition;
  if (call.dims.length > generics.length) {
    const taken =
      generics.length === 0
        ? 'no dimensions'
        : `${generics.length}: [${generics.map((g) => g.name).join(', ')}]`;
    report(
      context,
      'HEW2003',
      `${definition.name.name} takes ${taken} in brackets, ${call.dims.length} given`,
      {
        span: call.dims[generics.length]?.span ?? call.span,
        labels: [{ span: definition.signatureSpan, text: 'declared here' }],
      },
    );
    return false;
  }
  let sound = true;
  generics.forEach((generic, i) => {
    const given = call.dims[i];
    if (given === undefined) {
      callee.environment.bind(generic.name, { kind: 'open', span: generic.span });
      return;
    }
    const dim = evaluateDim(given, context);
    if (dim === undefined) sound = false;
    const value = dim === undefined ? poison : int(dim);
    callee.environment.bind(generic.name, { kind: 'constant', value, span: generic.span });
  });
  return sound;
}

/** Positional arguments, then named ones, then defaults, each parameter exactly once. */
function matchArguments(
  call: CallExpression,
  definition: Definition,
  context: Context,
  callee: Context,
): Map<Parameter, GivenArgument> | undefined {
  const given = new Map<Parameter, GivenArgument>();
  let sound = true;
  call.arguments.forEach((argument, i) => {
    const parameter = parameterFor(argument, i, definition, given, context);
    const value = evaluate(argument.value, context);
    if (parameter === undefined || value.kind === 'poison') sound = false;
    if (parameter !== undefined) given.set(parameter, { value, span: argument.value.span });
  });
  const missing = definition.parameters.filter((p) => !given.has(p) && p.fallback === undefined);
  if (missing.length > 0 && sound) {
    const names = missing.map((p) => `'${p.name.name}'`).join(', ');
    report(
      context,
      'HEW2003',
      `${definition.name.name} needs the argument${missing.length > 1 ? 's' : ''} ${names}`,
      {
        span: call.callee.span,
        labels: [{ span: definition.signatureSpan, text: 'declared here' }],
      },
    );
    sound = false;
  }
  if (!sound) return undefined;
  return inOrder(definition, given, callee);
}

/** Constants come first, so that the types of tensors may mention them; defaults may use earlier parameters. */
function inOrder(
  definition: Definition,
  given: ReadonlyMap<Parameter, GivenArgument>,
  callee: Context,
): Map<Parameter, GivenArgument> {
  const isConstantParameter = (p: Parameter) => constantTypeOf(p.type) !== undefined;
  const ordered = [
    ...definition.parameters.filter(isConstantParameter),
    ...definition.parameters.filter((p) => !isConstantParameter(p)),
  ];
  const complete = new Map<Parameter, GivenArgument>();
  for (const parameter of ordered) {
    const argument = given.get(parameter);
    const fallback = parameter.fallback;
    if (argument !== undefined) complete.set(parameter, argument);
    else if (fallback !== undefined) {
      complete.set(parameter, { value: evaluate(fallback, callee), span: fallback.span });
    }
  }
  return complete;
}

function parameterFor(
  { name, value }: Argument,
  position: number,
  definition: Definition,
  given: ReadonlyMap<Parameter, GivenArgument>,
  context: Context,
): Parameter | undefined {
  const { parameters } = definition;
  const labels = [{ span: definition.signatureSpan, text: 'declared here' }];
  const parameter =
    name === undefined ? parameters[position] : parameters.find((p) => p.name.name === name.name);
  if (parameter === undefined) {
    const message =
      name === undefined
        ? `${definition.name.name} takes ${parameters.length} argument${parameters.length === 1 ? '' : 's'}, this is number ${position + 1}`
        : `${definition.name.name} has no parameter '${name.name}'`;
    const help =
      name &&
      didYouMean(
        name.name,
        parameters.map((p) => p.name.name),
      );
    report(context, 'HEW2003', message, { span: name?.span ?? value.span, labels, help });
    return undefined;
  }
  if (!given.has(parameter)) return parameter;
  report(context, 'HEW2003', `'${parameter.name.name}' is given twice`, {
    span: name?.span ?? value.span,
    labels,
  });
  return undefined;
}

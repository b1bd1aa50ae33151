/** Calls of the IR's operations: positional arguments are operands, named ones attributes or optional operands. */
import { didYouMean } from '../../ir/diagnostics.js';
import type { Value } from '../../ir/module.js';
import type { AttrKind, Attrs, AttrValue, OpDecl } from '../../ir/op.js';
import { isOpName, opNames, opTable } from '../../ir/ops/table.js';
import { type DType, dtypeNames, isDType } from '../../ir/type.js';
import type { CallExpression, Expression } from './ast.js';
import { ConstantError, knownInt, numberOf } from './constants.js';
import { evaluate, evaluateConstant } from './expressions.js';
import { type Context, emit, report, reportTypeError } from './session.js';
import { asTensor } from './tensors.js';
import { type Constant, describeValue, poison, type SpecValue, tensor } from './values.js';

/** Operations a spec may call: all but those that the language itself expresses. */
export const operationNames: ReadonlySet<string> = new Set(
  opNames.filter((name) => opTable[name].category !== 'structure'),
);

export function callOperation(call: CallExpression, context: Context): SpecValue {
  const { name } = call.callee;
  if (!isOpName(name)) return poison;
  const decl = opTable[name];
  const given = sortArguments(call, decl, context);
  if (given === undefined) return poison;
  const operands = evaluateOperands(given.operands, context);
  const attrs = evaluateAttrs(given.attrs, decl, context);
  if (operands === undefined || attrs === undefined) return poison;
  const results = emit(
    context,
    name,
    operands,
    attrs,
    call.span,
    given.operands.map((operand) => operand.span),
  );
  const [only, ...more] = results ?? [];
  if (only === undefined) return poison;
  if (more.length === 0) return tensor(only);
  return {
    kind: 'tuple',
    items: [only, ...more].map((value) => ({ name: undefined, value: tensor(value) })),
  };
}

interface SortedArguments {
  readonly operands: Expression[];
  readonly attrs: Map<string, Expression>;
}

function sortArguments(call: CallExpression, decl: OpDecl, context: Context): SortedArguments | undefined {
  const operands: Expression[] = [];
  const attrs = new Map<string, Expression>();
  for (const { name, value } of call.arguments) {
    const next = decl.operands[operands.length];
    if (name === undefined || name.name === next?.name) operands.push(value);
    else if (Object.hasOwn(decl.attrs, name.name)) attrs.set(name.name, value);
    else {
      const known = [...decl.operands.map((o) => o.name), ...Object.keys(decl.attrs)];
      report(context, 'HEW2015', `${call.callee.name} has no argument '${name.name}'`, {
        span: name.span,
        help: didYouMean(name.name, known) ?? `its arguments are ${known.join(', ')}`,
      });
      return undefined;
    }
  }
  return { operands, attrs };
}

/** Numbers among the operands take the dtype of the first tensor. */
function evaluateOperands(expressions: readonly Expression[], context: Context): Value[] | undefined {
  const values = expressions.map((expression) => evaluate(expression, context));
  const first = values.find((value) => value.kind === 'tensor' && value.value.type.dtype !== 'bool');
  const dtype = first?.kind === 'tensor' ? first.value.type.dtype : undefined;
  const operands = values.map((value, i) =>
    asTensor(value, dtype, context, (expressions[i] as Expression).span),
  );
  return operands.every((operand) => operand !== undefined) ? operands : undefined;
}

function evaluateAttrs(
  given: ReadonlyMap<string, Expression>,
  decl: OpDecl,
  context: Context,
): Attrs | undefined {
  const attrs: Record<string, AttrValue> = {};
  for (const [name, expression] of given) {
    const kind = decl.attrs[name]?.kind;
    const value = kind && attrReaders[kind](expression, context);
    if (value === undefined) return undefined;
    attrs[name] = value;
  }
  return attrs;
}

type AttrReader = (expression: Expression, context: Context) => AttrValue | undefined;

const attrReaders: Record<AttrKind, AttrReader> = {
  int: reader((value, context) => knownInt(dimOf(value), sizesIn(context))),
  float: reader((value, context) => numberOf(value, sizesIn(context))),
  bool: reader((value) => (value.kind === 'bool' ? value.value : mismatch('true or false', value))),
  string: reader((value) => (value.kind === 'string' ? value.value : mismatch('a string', value))),
  ints: reader((value, context) => itemsOf(value).map((item) => knownInt(dimOf(item), sizesIn(context)))),
  dim: reader((value) => dimOf(value)),
  dims: reader((value) => itemsOf(value).map(dimOf)),
  dtype: readDType,
  symbol: () => undefined,
};

function reader(convert: (value: Constant, context: Context) => AttrValue): AttrReader {
  return (expression, context) => {
    const value = evaluateConstant(expression, context);
    if (value === undefined) return undefined;
    try {
      return convert(value, context);
    } catch (error) {
      if (error instanceof ConstantError) {
        report(context, 'HEW2015', error.message, { span: expression.span, help: error.help });
        return undefined;
      }
      if (reportTypeError(context, error, expression.span)) return undefined;
      throw error;
    }
  };
}

function sizesIn(context: Context) {
  return (dim: ReturnType<typeof dimOf>) => context.session.valueOf(dim);
}

function mismatch(wanted: string, value: Constant): never {
  throw new ConstantError(`expected ${wanted}, found ${describeValue(value)}`);
}

function dimOf(value: Constant) {
  return value.kind === 'int' ? value.dim : mismatch('a whole number', value);
}

/** A list, or one item standing for a list of one. */
function itemsOf(value: Constant): readonly Constant[] {
  return value.kind === 'list' ? value.items : [value];
}

/** A dtype is written by its bare name: cast(x, dtype = i32). */
function readDType(expression: Expression, context: Context): DType | undefined {
  if (expression.kind === 'name' && isDType(expression.name)) return expression.name;
  const written = expression.kind === 'name' ? `'${expression.name}'` : 'this';
  report(context, 'HEW2015', `${written} is not a data type`, {
    span: expression.span,
    help: `data types are ${dtypeNames.join(', ')}`,
  });
  return undefined;
}

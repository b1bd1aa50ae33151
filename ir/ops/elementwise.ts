/** Elementwise ops: arithmetic, comparison, logic, activations, casts, and the sources of constants. */
import type { Dim } from '../dim.js';
import { castTo, erf, roundHalfEven } from '../numeric.js';
import {
  attr,
  defineOp,
  type Emitter,
  type EvalContext,
  type InferContext,
  InferError,
  operand,
  type Value,
} from '../op.js';
import { emptyTensor, scalar, type Tensor } from '../tensor.js';
import {
  type DType,
  elementCount,
  isDType,
  isFloat,
  scalarType,
  type TensorType,
  tensorType,
} from '../type.js';
import { constant, inF32 } from './decompose.js';
import { broadcastShapes, expectDType, expectFloat, mapTensors } from './shared.js';

const x = operand('x', 'any shape');

interface UnaryOptions {
  readonly flops?: number;
  /** The same function of an f32 value, in more primitive ops. */
  readonly decompose?: (b: Emitter, x: Value) => Value;
}

function unary(
  doc: string,
  accepts: 'float' | 'number',
  compute: (x: number) => number,
  { flops = 1, decompose }: UnaryOptions = {},
) {
  return defineOp({
    doc,
    category: 'elementwise',
    operands: [x],
    attrs: {},
    infer: ([type]) => {
      const given = type as TensorType;
      if (accepts === 'float') expectFloat(given, 0);
      else expectDType(given, (t) => t !== 'bool', 'a number type', 0);
      return [given];
    },
    evaluate: ([input], _attrs, context) => [
      mapTensors(context, (input as Tensor).dtype, [input as Tensor], compute),
    ],
    ...(decompose && {
      decompose: (b: Emitter, [input]: readonly Value[]) => [
        inF32(b, input as Value, (wide) => decompose(b, wide)),
      ],
    }),
    flops: ({ results: [shape] }) => flops * elementCount(shape as number[]),
  });
}

function inferBinary(name: string, types: readonly TensorType[], context: InferContext): TensorType {
  const [a, b] = types as [TensorType, TensorType];
  if (a.dtype !== b.dtype) {
    throw new InferError(`${name}: operands are ${a.dtype} and ${b.dtype}`, {
      kind: 'dtype',
      operand: 1,
      help: 'convert one of them with cast',
    });
  }
  return { dtype: a.dtype, shape: broadcastShapes([a.shape, b.shape], context, name) };
}

const pair = [operand('a', 'any shape'), operand('b', 'same dtype; broadcast against a')];

function binary(name: string, doc: string, compute: (a: number, b: number) => number) {
  return defineOp({
    doc,
    category: 'elementwise',
    operands: pair,
    attrs: {},
    infer: (types, _attrs, context) => {
      const type = inferBinary(name, types, context);
      expectDType(type, (t) => t !== 'bool', 'a number type', 0);
      return [type];
    },
    evaluate: (inputs, _attrs, context) => [
      mapTensors(context, (inputs[0] as Tensor).dtype, inputs, compute),
    ],
  });
}

function comparison(name: string, doc: string, compute: (a: number, b: number) => boolean) {
  return defineOp({
    doc: `${doc}; the result is bool`,
    category: 'elementwise',
    operands: pair,
    attrs: {},
    infer: (types, _attrs, context) => [{ dtype: 'bool', shape: inferBinary(name, types, context).shape }],
    evaluate: (inputs, _attrs, context) => [
      mapTensors(context, 'bool', inputs, (a, b) => Number(compute(a, b))),
    ],
  });
}

function logical(name: string, doc: string, compute: (a: number, b: number) => number) {
  return defineOp({
    doc,
    category: 'elementwise',
    operands: pair,
    attrs: {},
    infer: (types, _attrs, context) => {
      types.forEach((type, i) => {
        expectDType(type, (t) => t === 'bool', 'bool', i);
      });
      return [inferBinary(name, types, context)];
    },
    evaluate: (inputs, _attrs, context) => [mapTensors(context, 'bool', inputs, compute)],
  });
}

/** Integer division and remainder truncate toward zero; division of an integer by zero gives zero. */
function divide(dtype: DType, a: number, b: number): number {
  if (isFloat(dtype)) return a / b;
  return b === 0 ? 0 : Math.trunc(a / b);
}

/** Products of i32 wrap exactly, which float64 is not wide enough for. */
export function productOf(dtype: DType): (a: number, b: number) => number {
  return dtype === 'i32' ? Math.imul : (a, b) => a * b;
}

const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
const geluTanhScale = Math.sqrt(2 / Math.PI);

function scaled(b: Emitter, v: Value, factor: number): Value {
  return b.one('mul', [v, constant(b, factor, 'f32')]);
}

/** v/2 * (1 + gate) */
function halfOnePlus(b: Emitter, v: Value, gate: Value): Value {
  const sum = b.one('add', [gate, constant(b, 1, 'f32')]);
  return b.one('mul', [scaled(b, v, 0.5), sum]);
}

export const elementwiseOps = {
  neg: unary('-x', 'number', (v) => -v),
  abs: unary('|x|', 'number', Math.abs),
  sign: unary('-1, 0 or 1', 'number', Math.sign),
  sqrt: unary('square root', 'float', Math.sqrt),
  rsqrt: unary('1 / sqrt(x)', 'float', (v) => 1 / Math.sqrt(v)),
  reciprocal: unary('1 / x', 'float', (v) => 1 / v),
  exp: unary('e^x', 'float', Math.exp),
  log: unary('natural logarithm', 'float', Math.log),
  sin: unary('sine, x in radians', 'float', Math.sin),
  cos: unary('cosine, x in radians', 'float', Math.cos),
  tanh: unary('hyperbolic tangent', 'float', Math.tanh),
  erf: unary('Gauss error function', 'float', erf),
  floor: unary('round down', 'float', Math.floor),
  ceil: unary('round up', 'float', Math.ceil),
  round: unary('round to nearest, ties to even', 'float', roundHalfEven),
  relu: unary('max(x, 0)', 'number', (v) => (v < 0 ? 0 : v)),
  sigmoid: unary('1 / (1 + e^-x)', 'float', sigmoid, {
    flops: 4,
    decompose: (b, v) => {
      const power = b.one('exp', [b.one('neg', [v])]);
      return b.one('reciprocal', [b.one('add', [power, constant(b, 1, 'f32')])]);
    },
  }),
  silu: unary('x * sigmoid(x), also called swish', 'float', (v) => v * sigmoid(v), {
    flops: 5,
    decompose: (b, v) => b.one('mul', [v, b.one('sigmoid', [v])]),
  }),
  softplus: unary('log(1 + e^x)', 'float', (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v))), {
    flops: 4,
    decompose: (b, v) => {
      const power = b.one('exp', [b.one('neg', [b.one('abs', [v])])]);
      const tail = b.one('log', [b.one('add', [power, constant(b, 1, 'f32')])]);
      return b.one('add', [b.one('relu', [v]), tail]);
    },
  }),
  gelu: unary(
    'x * Phi(x) with the exact normal distribution: x/2 * (1 + erf(x / sqrt 2))',
    'float',
    (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)),
    {
      flops: 8,
      decompose: (b, v) => halfOnePlus(b, v, b.one('erf', [scaled(b, v, Math.SQRT1_2)])),
    },
  ),
  gelu_tanh: unary(
    'the tanh approximation of gelu: x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))',
    'float',
    (v) => 0.5 * v * (1 + Math.tanh(geluTanhScale * (v + 0.044715 * v ** 3))),
    {
      flops: 8,
      decompose: (b, v) => {
        const cube = b.one('mul', [b.one('mul', [v, v]), v]);
        const inner = b.one('add', [v, scaled(b, cube, 0.044715)]);
        return halfOnePlus(b, v, b.one('tanh', [scaled(b, inner, geluTanhScale)]));
      },
    },
  ),
  quick_gelu: unary('x * sigmoid(1.702 x)', 'float', (v) => v * sigmoid(1.702 * v), {
    flops: 6,
    decompose: (b, v) => b.one('mul', [v, b.one('sigmoid', [scaled(b, v, 1.702)])]),
  }),

  add: binary('add', 'a + b', (a, b) => a + b),
  sub: binary('sub', 'a - b', (a, b) => a - b),
  mul: defineOp({
    ...binary('mul', 'a * b', (a, b) => a * b),
    evaluate: (inputs, _attrs, context) => {
      const dtype = (inputs[0] as Tensor).dtype;
      return [mapTensors(context, dtype, inputs, productOf(dtype))];
    },
  }),
  div: defineOp({
    ...binary('div', 'a / b; integers truncate toward zero, and a / 0 is 0', (a, b) => a / b),
    evaluate: (inputs, _attrs, context) => {
      const dtype = (inputs[0] as Tensor).dtype;
      return [mapTensors(context, dtype, inputs, (a, b) => divide(dtype, a, b))];
    },
  }),
  pow: defineOp({
    ...binary('pow', 'a to the power b', (a, b) => a ** b),
    infer: (types, _attrs, context) => {
      types.forEach(expectFloat);
      return [inferBinary('pow', types, context)];
    },
  }),
  min: binary('min', 'the lesser; NaN if either is NaN', Math.min),
  max: binary('max', 'the greater; NaN if either is NaN', Math.max),

  eq: comparison('eq', 'a == b', (a, b) => a === b),
  ne: comparison('ne', 'a != b', (a, b) => a !== b),
  lt: comparison('lt', 'a < b', (a, b) => a < b),
  le: comparison('le', 'a <= b', (a, b) => a <= b),
  gt: comparison('gt', 'a > b', (a, b) => a > b),
  ge: comparison('ge', 'a >= b', (a, b) => a >= b),
  and: logical('and', 'logical and', (a, b) => a & b),
  or: logical('or', 'logical or', (a, b) => a | b),
  xor: logical('xor', 'logical exclusive or', (a, b) => a ^ b),
  not: defineOp({
    doc: 'logical not',
    category: 'elementwise',
    operands: [operand('x', 'bool')],
    attrs: {},
    infer: ([type]) => {
      expectDType(type as TensorType, (t) => t === 'bool', 'bool', 0);
      return [type as TensorType];
    },
    evaluate: ([input], _attrs, context) => [mapTensors(context, 'bool', [input as Tensor], (v) => 1 - v)],
  }),

  where: defineOp({
    doc: 'a where the condition holds, else b; all three broadcast',
    category: 'elementwise',
    operands: [operand('condition', 'bool'), operand('a', 'any dtype'), operand('b', 'same dtype as a')],
    attrs: {},
    infer: (types, _attrs, context) => {
      const [condition, a, b] = types as [TensorType, TensorType, TensorType];
      expectDType(condition, (t) => t === 'bool', 'bool', 0);
      expectDType(b, (t) => t === a.dtype, a.dtype, 2);
      return [
        {
          dtype: a.dtype,
          shape: broadcastShapes(
            types.map((t) => t.shape),
            context,
            'where',
          ),
        },
      ];
    },
    evaluate: (inputs, _attrs, context) => [
      mapTensors(context, (inputs[1] as Tensor).dtype, inputs, (c, a, b) => (c ? a : b)),
    ],
  }),

  cast: defineOp({
    doc: 'converts to another dtype; float to integer truncates and saturates, NaN becomes 0; to bool is x != 0',
    category: 'elementwise',
    operands: [x],
    attrs: { dtype: attr('dtype', 'the dtype of the result') },
    infer: ([type], { dtype }) => {
      if (!isDType(dtype)) throw new InferError(`cast: unknown dtype ${String(dtype)}`, { kind: 'attr' });
      return [{ dtype, shape: (type as TensorType).shape }];
    },
    evaluate: ([input], { dtype }, context) => {
      const convert = isFloat(dtype) ? context.round(dtype) : castTo[dtype];
      return [mapTensors({ ...context, round: () => convert }, dtype, [input as Tensor], (v) => v)];
    },
    flops: () => 0,
  }),

  full: defineOp({
    doc: 'a tensor filled with one value',
    category: 'elementwise',
    operands: [],
    attrs: {
      value: attr('float', 'the value of every element'),
      dtype: attr('dtype', 'dtype of the result', 'f32'),
      shape: attr('dims', 'shape of the result', []),
    },
    infer: (_types, { dtype, shape }) => [{ dtype, shape }],
    evaluate: (_inputs, { value, dtype, shape }, context) => {
      const out = emptyTensor(dtype, shape.map(context.dimValue));
      const exact = isFloat(dtype) ? context.round(dtype)(value) : castTo[dtype](value);
      out.data.fill(exact);
      return [out];
    },
    flops: () => 0,
  }),

  iota: defineOp({
    doc: '0, 1, …, length - 1',
    category: 'elementwise',
    operands: [],
    attrs: { length: attr('dim', 'number of elements'), dtype: attr('dtype', 'i32, i64 or f32', 'i32') },
    infer: (_types, { length, dtype }) => [tensorType(dtype, [length])],
    evaluate: (_inputs, { length, dtype }, context) => {
      const out = emptyTensor(dtype, [context.dimValue(length)]);
      for (let i = 0; i < out.data.length; i++) out.data[i] = context.round(dtype)(i);
      return [out];
    },
    flops: () => 0,
  }),

  dim_size: defineOp({
    doc: 'the run-time value of a dimension, as an i32 scalar',
    category: 'elementwise',
    operands: [],
    attrs: { dim: attr('dim', 'the dimension') },
    infer: () => [scalarType('i32')],
    evaluate: (_inputs, { dim }, context: EvalContext) => [scalar('i32', context.dimValue(dim as Dim))],
    flops: () => 0,
  }),
};

/**
 * Random combinations of elementwise ops of all dtypes, masks, movements and row kernels over a run-time axis, against
 * the interpreter: graphs that are fused, with and without epilogues, and single kernels larger than fusion makes them.
 */
import { describe, expect, test } from 'vitest';
import type { KernelEmitter } from '../../backends/wasm/emit/kernel.js';
import { emitPointwise } from '../../backends/wasm/emit/pointwise.js';
import { emitLayerNorm, emitRmsNorm, emitSoftmax } from '../../backends/wasm/emit/row.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Func, type Module, type Value } from '../../ir/module.js';
import { roundTo } from '../../ir/numeric.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, dtypeNames, isFloat, tensorType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { dce } from '../../passes/dce.js';
import { differences } from '../conformance/case.js';
import { type Random, randomFrom } from '../conformance/random.js';
import { runKernel, runKernels } from './kernel-harness.js';

const tolerance = {
  f32: { absolute: 2e-5, relative: 1e-4 },
  f16: { absolute: 4e-3, relative: 4e-3 },
  bf16: { absolute: 3e-2, relative: 3e-2 },
};

const maxTokens = 12;

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(random() * list.length)] as T;
}

/** Ops that keep values of moderate size moderate. */
const boundedUnary = [
  'neg',
  'abs',
  'sign',
  'tanh',
  'erf',
  'sigmoid',
  'silu',
  'softplus',
  'gelu',
  'sin',
  'cos',
  'relu',
  'floor',
];
const numberUnary = ['neg', 'abs', 'sign', 'relu'];
const binary = ['add', 'sub', 'min', 'max', 'mul'];
const comparisons = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'];

/** Grows a function whose values all have the shape [3, T, n], of any dtype. */
class Grower {
  readonly values: Value[] = [];

  constructor(
    readonly b: FuncBuilder,
    readonly random: Random,
    readonly n: number,
    readonly dtypes: readonly DType[] = dtypeNames,
  ) {}

  value(accepts: (dtype: DType) => boolean): Value {
    const fitting = this.values.filter((v) => accepts(v.type.dtype));
    if (fitting.length === 0) return this.mask();
    // Recent values more often, so that long chains grow.
    return (this.random() < 0.5 ? fitting.at(-1) : pick(this.random, fitting)) as Value;
  }

  private mask(): Value {
    return this.b.one('lt', [this.value((d) => d === 'f32'), this.b.one('full', [], { value: 0.25 })]);
  }

  /** A value that has exactly the dtype of `other`, perhaps narrower by broadcasting. */
  partner(other: Value): Value {
    const { b, random } = this;
    const { dtype } = other.type;
    const choice = random();
    if (choice < 0.2) return b.one('full', [], { value: 0.5 + Math.floor(3 * random()), dtype });
    const argument = this.values.find((v) => v.def === undefined && v.type.dtype === dtype);
    if (choice < 0.4 && argument !== undefined) {
      return b.one('slice', [argument], { axis: 2, start: dim(this.n - 1), end: dim(this.n) });
    }
    return this.value((d) => d === dtype);
  }

  /** Steps whose results depend on elements at their own index. */
  readonly elementwise: readonly (() => Value)[] = [
    () => this.b.one(pick(this.random, boundedUnary), [this.value(isFloat)]),
    () => this.b.one(pick(this.random, numberUnary), [this.value((d) => d !== 'bool')]),
    () => this.pair(pick(this.random, binary), (d) => d !== 'bool'),
    () => this.pair(pick(this.random, binary), isFloat),
    () => this.pair(pick(this.random, comparisons), () => true),
    () => this.pair(pick(this.random, comparisons), isFloat),
    () => this.pair(pick(this.random, ['and', 'or', 'xor', ...comparisons]), (d) => d === 'bool'),
    () => this.b.one('not', [this.value((d) => d === 'bool')]),
    () => this.choose(),
    () => this.b.one('cast', [this.value(() => true)], { dtype: pick(this.random, this.dtypes) }),
    () => this.b.one('cast', [this.value(() => true)], { dtype: 'f32' }),
  ];

  readonly movements: readonly (() => Value)[] = [
    () => this.twoWays(),
    () => this.rolled(),
    () => this.padded(),
    () =>
      this.b.one('gather', [this.value(() => true), this.b.one('iota', [], { length: dim(this.n) })], {
        axis: 2,
      }),
    () =>
      this.b.one('gather', [this.value(() => true), this.b.one('iota', [], { length: dim(3) })], { axis: 0 }),
  ];

  readonly rows: readonly (() => Value)[] = [
    () =>
      this.b.one(pick(this.random, ['softmax', 'rms_norm', 'layer_norm']), [this.value((d) => d === 'f32')]),
    () => this.b.one('softmax', [this.value(isFloat)], { axis: pick(this.random, [0, 1, 2]) }),
  ];

  pair(op: string, accepts: (dtype: DType) => boolean): Value {
    const a = this.value(accepts);
    return this.b.one(op, [a, this.partner(a)]);
  }

  choose(): Value {
    const a = this.value(() => true);
    const mask = this.value((d) => d === 'bool');
    return this.b.one('where', [mask, a, this.partner(a)]);
  }

  /** There and back: transposed, changed, transposed again. */
  twoWays(): Value {
    const perm = pick(this.random, [
      [1, 0, 2],
      [0, 2, 1],
      [2, 1, 0],
    ]);
    const turned = this.b.one('transpose', [this.value((d) => d !== 'bool')], { perm });
    return this.b.one('transpose', [this.b.one('abs', [turned])], { perm });
  }

  /** The parts of an axis in another order. */
  rolled(): Value {
    const x = this.value(() => true);
    const [axis, size] = pick(this.random, [
      [0, 3],
      [2, this.n],
    ] as const);
    const cut = dim(1 + Math.floor(this.random() * (size - 1)));
    const parts = [
      this.b.one('slice', [x], { axis, start: cut, end: dim(size) }),
      this.b.one('slice', [x], { axis, start: dim(0), end: cut }),
    ];
    return this.b.one('concat', parts, { axis });
  }

  padded(): Value {
    const x = this.value(() => true);
    const [axis, size] = pick(this.random, [
      [0, 3],
      [2, this.n],
    ] as const);
    const short = this.b.one('slice', [x], { axis, start: dim(1), end: dim(size) });
    const amount = (wanted: number): number[] => [0, 1, 2].map((i) => (i === axis ? wanted : 0));
    return this.b.one('pad', [short], { before: amount(1), after: amount(0), value: 300.7 });
  }
}

const argTypes: readonly DType[] = ['f32', 'f32', 'f16', 'bf16', 'i32', 'i64', 'i8', 'u8', 'bool'];

function randomInput(dtype: DType, shape: readonly number[], random: Random): Tensor {
  const count = shape.reduce((n, s) => n * s, 1);
  const draw = (): number => {
    if (isFloat(dtype)) return 4 * random() - 2;
    return dtype === 'bool' ? Math.round(random()) : Math.floor(40 * random()) - (dtype === 'u8' ? 0 : 20);
  };
  return tensor(
    dtype,
    shape,
    Array.from({ length: count }, () => roundTo[dtype](draw())),
  );
}

interface Growth {
  readonly seed: number;
  readonly args: readonly DType[];
  /** Sizes of the last axis; with two elements norms are +1 or -1, where comparisons hang on the last bit. */
  readonly sizes?: readonly number[];
  /** Emits ops; returns the results. */
  grow(grower: Grower): readonly Value[];
}

interface Grown {
  readonly module: Module;
  readonly inputs: Record<string, Tensor>;
  readonly tokens: number;
}

function grown({ seed, args, grow, sizes = [2, 4, 5, 8, 11] }: Growth): Grown {
  const random = randomFrom(seed);
  const n = pick(random, sizes);
  const tokens = 1 + Math.floor(random() * maxTokens);
  const bare: Module = { ...emptyModule('random'), dims: new Map([['T', { min: 1, max: maxTokens }]]) };
  const builder = new FuncBuilder('main', moduleScope(bare));
  const grower = new Grower(builder, random, n, [...new Set<DType>([...args, 'bool'])]);
  const inputs: Record<string, Tensor> = {};
  args.forEach((dtype, i) => {
    grower.values.push(builder.arg(tensorType(dtype, [3, 'T', n]), `x${i}`));
    inputs[`x${i}`] = randomInput(dtype, [3, tokens, n], random);
  });
  const results = grow(grower);
  const func = { ...builder.finish(results), outputs: results.map((_, i) => `y${i}`) };
  const module = { ...bare, functions: new Map([['main', func]]) };
  return { module: eliminated(module), inputs, tokens };
}

function eliminated(module: Module): Module {
  return dce.run(module, {}).module;
}

function step(grower: Grower, steps: readonly (() => Value)[]): Value {
  const value = pick(grower.random, steps)();
  grower.values.push(value);
  return value;
}

const seeds = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe('random graphs', () => {
  test.each(seeds(50))('seed %i', (seed) => {
    const { module, inputs } = grown({
      seed,
      args: argTypes,
      grow: (grower) => {
        const { elementwise, movements, rows } = grower;
        for (let i = 0; i < 24; i++)
          step(grower, pick(grower.random, [elementwise, elementwise, movements, rows]));
        return [
          ...new Set([
            grower.values.at(-1) as Value,
            ...grower.values.slice(-16).filter(() => grower.random() < 0.1),
          ]),
        ];
      },
    });
    expect(verifyModule(module)).toEqual([]);
    const wanted = interpretEntry(module, 'main', inputs);
    for (const epilogues of [true, false]) {
      expect(differences(wanted, runKernels(module, inputs, { epilogues }), tolerance)).toEqual([]);
    }
  });
});

/** Runs the whole of `main` as one kernel. */
function runAsKernel(
  { module, inputs, tokens }: Grown,
  kernel: string,
  emit: KernelEmitter,
): Record<string, Tensor> {
  const main = module.functions.get('main') as Func;
  const operands = main.args.map((arg) => inputs[arg.name ?? ''] as Tensor);
  const symbols = new Map([['T', tokens]]);
  const [result] = runKernel({ func: { ...main, kernel }, emit, dims: new Map(), symbols }, operands);
  return { y0: result as Tensor };
}

/** Argument types; those of floats alone give kernels that work on vectors. */
const mixes: readonly { readonly args: readonly DType[] }[] = [
  { args: ['f32', 'f32', 'bf16', 'f16'] },
  { args: ['f32', 'f32'] },
  { args: argTypes },
];

describe.each(mixes)('one pointwise kernel of $args', ({ args }) => {
  test.each(seeds(60))('seed %i', (seed) => {
    const test = grown({
      seed,
      args,
      grow: (grower) => {
        const { elementwise, movements, random } = grower;
        const mostly = pick(random, [[elementwise], [elementwise, elementwise, movements]]);
        for (let i = 0; i < 9; i++) step(grower, pick(random, mostly));
        const last = grower.values.at(-1) as Value;
        return [
          last.type.dtype === 'f32' || random() < 0.3 ? last : grower.b.one('cast', [last], { dtype: 'f32' }),
        ];
      },
    });
    const wanted = interpretEntry(test.module, 'main', test.inputs);
    expect(differences(wanted, runAsKernel(test, 'pointwise', emitPointwise), tolerance)).toEqual([]);
  });
});

const rowKernels = { rms_norm: emitRmsNorm, layer_norm: emitLayerNorm, softmax: emitSoftmax } as const;

describe.each(Object.entries(rowKernels))('%s with an epilogue', (op, emit) => {
  test.each(seeds(30))('seed %i', (seed) => {
    const test = grown({
      seed,
      args: seed % 2 === 0 ? ['f32', 'f32', 'bf16'] : argTypes,
      sizes: [4, 5, 8, 11],
      grow: (grower) => {
        grower.values.push(grower.b.one(op, [grower.values[0] as Value]));
        for (let i = 0; i < 6; i++) step(grower, grower.elementwise);
        const last = grower.value((d) => d === 'f32');
        const root = grower.values.find((v) => v.def?.name === op) as Value;
        return [grower.b.one('add', [root, last])];
      },
    });
    const wanted = interpretEntry(test.module, 'main', test.inputs);
    expect(differences(wanted, runAsKernel(test, 'row', emit), tolerance)).toEqual([]);
  });
});

describe('masks in vectors', () => {
  const cases: Record<string, (b: FuncBuilder, x: Value, y: Value) => Value> = {
    'cast to bool': (b, x) => b.one('cast', [x], { dtype: 'bool' }),
    'a bool constant': (b, x) =>
      b.one('and', [b.one('cast', [x], { dtype: 'bool' }), b.one('full', [], { value: 7, dtype: 'bool' })]),
    ...Object.fromEntries(
      comparisons.map((op) => [
        `${op} of masks`,
        (b: FuncBuilder, x: Value, y: Value) =>
          b.one(op, [b.one('cast', [x], { dtype: 'bool' }), b.one('lt', [x, y])]),
      ]),
    ),
  };
  test.each(Object.entries(cases))('%s', (_name, condition) => {
    const test = grown({
      seed: 1,
      args: ['f32', 'f32'],
      sizes: [9],
      grow: ({ b, values }) => {
        const [x, y] = values as [Value, Value];
        const whole = b.one('floor', [x]);
        return [b.one('where', [condition(b, whole, y), x, b.one('neg', [y])])];
      },
    });
    const wanted = interpretEntry(test.module, 'main', test.inputs);
    expect(differences(wanted, runAsKernel(test, 'pointwise', emitPointwise))).toEqual([]);
  });
});

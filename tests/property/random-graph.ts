/**
 * Random small well-typed modules with one entry, `main`, and inputs for it.
 *
 * A module is grown from a list of steps, which is what fast-check shrinks. A step picks an op and its operands among
 * the values so far by number; a step that has no type there does nothing. So every list makes a module, and a shorter
 * list makes a smaller one.
 */
import fc from 'fast-check';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { addDims, type Dim, type DimLike, dim, dimNames, nameOf, subDims, tryEvalDim } from '../../ir/dim.js';
import {
  type DimDecl,
  type Loop,
  type Module,
  type Param,
  type State,
  withFunctions,
} from '../../ir/module.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import { type Attrs, InferError, type Value } from '../../ir/op.js';
import type { OpName } from '../../ir/ops/table.js';
import { printModule } from '../../ir/print.js';
import type { Recipe } from '../../ir/recipe.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import {
  type DType,
  elementCount,
  evalShape,
  isFloat,
  type TensorType,
  tensorType,
  typesEqual,
} from '../../ir/type.js';
import { type Random, randomFrom } from '../conformance/random.js';

export interface RandomModule {
  readonly module: Module;
  readonly inputs: Record<string, Tensor>;
}

export interface RandomModuleOptions {
  /**
   * Leaves out ops that jump where their operand changes by a rounding (floor, comparisons, casts to integers, …), so
   * that a backend may be compared with the interpreter by a tolerance. Default false.
   */
  readonly smooth?: boolean;
  /** Most steps of the entry (default 24). */
  readonly steps?: number;
}

interface Step {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

interface Plan {
  readonly seed: number;
  /** Sizes of T, d and e; T is a run-time symbol. */
  readonly sizes: readonly [number, number, number];
  readonly steps: readonly Step[];
  readonly outputs: readonly number[];
  readonly loop: { readonly turns: number; readonly at: number; readonly steps: readonly Step[] } | null;
}

const number = fc.nat({ max: 997 });
const step: fc.Arbitrary<Step> = fc.record({ kind: number, a: number, b: number, c: number });
const size = fc.constantFrom(3, 1, 2, 4, 5, 0);

export function randomModule(options: RandomModuleOptions = {}): fc.Arbitrary<RandomModule> {
  const most = options.steps ?? 24;
  const loop = fc.record({
    turns: fc.nat({ max: 3 }),
    at: fc.nat({ max: most }),
    steps: fc.array(step, { maxLength: Math.ceil(most / 3) }),
  });
  return fc
    .record({
      seed: fc.nat({ max: 0xffff }),
      sizes: fc.tuple(size, size, size),
      steps: fc.array(step, { maxLength: most }),
      outputs: fc.array(number, { minLength: 1, maxLength: 3 }),
      loop: fc.option(loop),
    })
    .map((plan) => buildModule(plan, options.smooth === true));
}

/** No value is larger, so that the interpreter stays fast. */
const maxElements = 1024;
const maxRank = 4;

const rowTable = 4;

function randomValues(dtype: DType, count: number, random: Random): number[] {
  const draw = (): number => {
    if (isFloat(dtype)) return roundTo[dtype](4 * random() - 2);
    return dtype === 'bool' ? Math.round(random()) : Math.floor(random() * rowTable);
  };
  return Array.from({ length: count }, draw);
}

/** What the functions of one module share while they grow. */
class Draft {
  readonly dims: Map<string, DimDecl>;
  readonly loops = new Map<string, Loop>();
  readonly params = new Map<string, Param>();
  readonly states = new Map<string, State>();
  readonly sizes: ReadonlyMap<string, number>;
  readonly random: Random;

  constructor({ sizes: [T, d, e], seed }: Plan) {
    this.dims = new Map<string, DimDecl>([
      ['T', { min: Math.min(T, 1), max: 6 }],
      ['d', { value: d }],
      ['e', { value: e }],
    ]);
    this.sizes = new Map([
      ['T', T],
      ['d', d],
      ['e', e],
    ]);
    this.random = randomFrom(seed);
  }

  module(): Module {
    const { dims, loops, params, states } = this;
    return { name: 'random', dims, loops, params, states, functions: new Map() };
  }

  tensor({ dtype, shape }: TensorType): Tensor {
    const own = evalShape(shape, this.sizes);
    return tensor(dtype, own, randomValues(dtype, elementCount(own), this.random));
  }

  /** A constant: plain, stacked of its rows where it has any (a stack of none is no recipe), or the transpose of another. */
  private recipe(type: TensorType): Recipe {
    const [first, second, ...more] = type.shape;
    const literal = first === undefined ? undefined : tryEvalDim(first, new Map());
    if (first !== undefined && literal !== undefined && literal > 0 && this.random() < 0.5) {
      const part = { dtype: type.dtype, shape: type.shape.slice(1) };
      return { kind: 'stack', count: first, parts: Array.from({ length: literal }, () => this.recipe(part)) };
    }
    if (first !== undefined && second !== undefined && more.length === 0 && this.random() < 0.3) {
      const arg = this.recipe({ dtype: type.dtype, shape: [second, first] });
      return { kind: 'op', op: 'transpose', attrs: { perm: [1, 0] }, args: [arg] };
    }
    return { kind: 'constant', type, bytes: encodeBytes(type.dtype, this.tensor(type).data) };
  }

  /** A parameter with constant values: one for all turns, or one per turn. */
  param(type: TensorType, loop: string | undefined): string {
    const name = `w${this.params.size}`;
    const constant = (): Recipe => this.recipe(type);
    const turns = loop === undefined ? undefined : this.loops.get(loop)?.indices;
    const recipe: Recipe = turns?.length ? { kind: 'per_index', parts: turns.map(constant) } : constant();
    this.params.set(name, { type, loop: turns?.length ? loop : undefined, recipe });
    return name;
  }
}

/** A function in the making: the values its ops may read. */
class Growth {
  readonly values: Value[];
  /** States that the function has read and not yet written. */
  private readonly unwritten: string[] = [];

  constructor(
    readonly draft: Draft,
    readonly builder: FuncBuilder,
    readonly smooth: boolean,
    args: readonly Value[],
  ) {
    this.values = [...args];
  }

  grow(steps: readonly Step[]): void {
    const table = this.smooth ? smoothMoves : moves;
    for (const s of steps) this.attempt(() => (table[s.kind % table.length] as Move)(this, s));
  }

  /** Emits what has a type; what has none leaves no value behind. */
  private attempt(emit: () => readonly Value[] | Value | undefined): void {
    try {
      const made = [emit() ?? []].flat();
      for (const value of made) if (this.fits(value)) this.values.push(value);
    } catch (error) {
      if (!(error instanceof InferError)) throw error;
    }
  }

  fits({ type }: Value): boolean {
    return (
      type.shape.length <= maxRank && elementCount(evalShape(type.shape, this.draft.sizes)) <= maxElements
    );
  }

  /** One of the values that `accepts` accepts, late ones first. */
  pick(at: number, accepts: (value: Value) => boolean): Value {
    const found = this.values.filter(accepts);
    return found.at(-1 - (at % Math.max(found.length, 1))) ?? refuse();
  }

  float(at: number): Value {
    return this.pick(at, (v) => v.type.dtype === 'f32');
  }

  one(op: OpName, operands: readonly Value[], attrs: Attrs = {}): Value {
    return this.builder.one(op, operands, attrs);
  }

  full(value: number, dtype: DType = 'f32', shape: readonly Dim[] = []): Value {
    return this.one('full', [], { value, dtype, shape });
  }

  /** A weight as f32, stored in one of the float dtypes. */
  weight(shape: readonly DimLike[], at: number): Value {
    if (shape.some((axis) => dimNames(dim(axis)).has('T'))) refuse();
    const dtype = (['f32', 'bf16', 'f16'] as const)[at % 3] as DType;
    const name = this.draft.param(
      tensorType(dtype, shape),
      at % 2 === 0 ? this.builder.options.loop : undefined,
    );
    const stored = this.one('param', [], { name });
    return dtype === 'f32' ? stored : this.one('cast', [stored], { dtype: 'f32' });
  }

  /** An axis of `value`, as a nonnegative number. */
  axis(value: Value, at: number): number {
    return value.type.shape.length === 0 ? refuse() : at % value.type.shape.length;
  }

  state(at: number): Value {
    const { states } = this.draft;
    const name = `s${states.size}`;
    const shape = at % 2 === 0 ? [] : ['d'];
    states.set(name, { type: tensorType('f32', shape), loop: this.builder.options.loop });
    this.unwritten.push(name);
    return this.one('state_read', [], { name });
  }

  /** Gives every state that was read a value of its type. */
  writeStates(): void {
    for (const name of this.unwritten) {
      const state = this.draft.states.get(name) as State;
      const value = this.values.findLast((v) => typesEqual(v.type, state.type));
      const last = value ?? this.full(1.5, 'f32', state.type.shape);
      this.builder.emit('state_write', [this.one('tanh', [last])], { name });
    }
  }
}

function refuse(): never {
  throw new InferError('this step does not fit here');
}

function oneOf<T>(list: readonly T[], at: number): T {
  return list[at % list.length] as T;
}

/** |x| + 1: safe to divide by, whatever the sign of a zero. */
function positive(g: Growth, x: Value): Value {
  return g.one('add', [g.one('abs', [x]), g.full(1)]);
}

function lastAxis(value: Value): Dim {
  return value.type.shape.at(-1) ?? refuse();
}

function permutation(rank: number, at: number): number[] {
  const axes = Array.from({ length: rank }, (_, i) => i);
  const turned = [...axes.slice(at % Math.max(rank, 1)), ...axes.slice(0, at % Math.max(rank, 1))];
  return at % 2 === 0 ? turned : turned.reverse();
}

function broadcastable(g: Growth, a: Value, at: number): Value {
  const fitting = g.values.filter((b) => {
    const lead = a.type.shape.length - b.type.shape.length;
    return (
      b.type.dtype === a.type.dtype &&
      lead >= 0 &&
      b.type.shape.every((d, i) => sameOrOne(d, a.type.shape[lead + i]))
    );
  });
  return oneOf([a, ...fitting], at);
}

function sameOrOne(d: Dim, other: Dim | undefined): boolean {
  return (
    (d.terms.length === 1 && tryEvalDim(d, new Map()) === 1) ||
    (nameOf(d) !== undefined && nameOf(d) === (other && nameOf(other)))
  );
}

function range(g: Growth, { a, b, c }: Step): Value {
  const x = g.pick(a, () => true);
  const axis = g.axis(x, b);
  const length = x.type.shape[axis] as Dim;
  const known = tryEvalDim(length, new Map([...g.draft.sizes].filter(([name]) => name !== 'T')));
  const last = { start: subDims(length, 1), end: length };
  const bounds = [
    { start: dim(0), end: length },
    known === 0 || (known === undefined && g.draft.sizes.get('T') === 0) ? refuse : last,
    known === undefined ? refuse : { start: dim(0), end: dim(Math.ceil(known / 2)) },
    known === undefined ? refuse : { start: dim(0), end: length, step: 2 },
  ];
  const chosen = oneOf(bounds, c);
  return typeof chosen === 'function'
    ? chosen()
    : g.one('slice', [x], { axis: c % 2 === 0 ? axis : axis - x.type.shape.length, ...chosen });
}

type Move = (g: Growth, step: Step) => readonly Value[] | Value | undefined;

const smoothUnary = [
  'neg',
  'abs',
  'sin',
  'cos',
  'tanh',
  'erf',
  'relu',
  'sigmoid',
  'silu',
  'softplus',
  'gelu',
  'gelu_tanh',
  'quick_gelu',
] as const;
const steppedUnary = ['sign', 'floor', 'ceil', 'round'] as const;
const comparisons = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const;
const reductions = ['reduce_sum', 'reduce_mean', 'reduce_max', 'reduce_min'] as const;

const smoothMoves: readonly Move[] = [
  (g, { a, b }) => g.one(oneOf(smoothUnary, b), [g.float(a)]),
  (g, { a, b }) => g.one(oneOf(['sqrt', 'rsqrt', 'reciprocal', 'log'], b), [positive(g, g.float(a))]),
  (g, { a, b, c }) => {
    const x = g.float(a);
    return g.one(oneOf(['add', 'sub', 'mul', 'min', 'max'], c), [x, broadcastable(g, x, b)]);
  },
  (g, { a, b, c }) => {
    const x = g.float(a);
    const pair = [x, g.full(oneOf([0, 1, 2, -1, 0.5], b))];
    return g.one(oneOf(['add', 'mul', 'sub'], c), c % 2 === 0 ? pair : pair.reverse());
  },
  (g, { a, b }) => g.one('div', [g.float(a), g.full(oneOf([1, 2, 3], b))]),
  (g, { a, b }) => g.one('div', [g.float(a), positive(g, g.float(b))]),
  (g, { a, b }) => g.one('pow', [g.float(a), g.full(oneOf([1, 2, 3], b))]),
  (g, { a, b }) => g.one('neg', [g.one('neg', [g.pick(a + b, (v) => v.type.dtype !== 'bool')])]),
  (g, { a, b, c }) => {
    const x = g.float(a);
    return g.one('where', [g.pick(b, (v) => v.type.dtype === 'bool'), x, broadcastable(g, x, c)]);
  },
  (g, { a, b }) =>
    g.one('cast', [g.one('cast', [g.float(a)], { dtype: oneOf(['f16', 'bf16', 'f32'] as const, b) })], {
      dtype: 'f32',
    }),
  (g, { a, b }) => {
    const x = g.pick(a, (v) => v.type.dtype !== 'bool');
    return g.one('transpose', [x], { perm: permutation(x.type.shape.length, b) });
  },
  (g, { a, b, c }) => {
    const x = g.pick(a, () => true);
    const { shape } = x.type;
    const at = b % (shape.length + 1);
    const wider = g.one('reshape', [x], { shape: [...shape.slice(0, at), dim(1), ...shape.slice(at)] });
    return c % 3 === 0 ? g.one('reshape', [wider], { shape }) : wider;
  },
  (g, { a }) => {
    const x = g.pick(a, (v) => v.type.shape.length === 2);
    const flat = x.type.shape.toReversed();
    return g.one('reshape', [x], { shape: flat });
  },
  range,
  (g, { a, b, c }) => {
    const x = g.pick(a, () => true);
    return g.one('concat', c % 3 === 0 ? [x] : [x, x], { axis: g.axis(x, b) });
  },
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype !== 'bool');
    const pads = (n: number): number[] =>
      x.type.shape.map((_, i) => (i === b % x.type.shape.length ? n % 2 : 0));
    return g.one('pad', [x], { before: pads(b), after: pads(c), value: c % 3 });
  },
  (g, { a, b }) => {
    const x = g.pick(a, () => true);
    return g.one('broadcast_to', [x], { shape: b % 2 === 0 ? x.type.shape : [dim(2), ...x.type.shape] });
  },
  (g, { a, b }) => {
    const index = g.pick(a, (v) => v.type.dtype === 'i32' && v.name === 'ids');
    return g.one('gather', [g.weight([rowTable, 'd'], b), index]);
  },
  (g, { a, b }) =>
    g.one('linear', [
      g.pick(a, (v) => v.type.dtype === 'f32' && v.type.shape.length > 0),
      g.weight(['e', lastAxisOf(g, a)], b),
    ]),
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype === 'f32' && v.type.shape.length > 1);
    const w = g.one('transpose', [g.weight(['d', lastAxis(x)], b)], { perm: [1, 0] });
    const product = g.one('matmul', [x, w]);
    return c % 2 === 0 ? product : [product, g.one('add', [product, g.weight(['d'], c)])];
  },
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype === 'f32' && v.type.shape.length > 0);
    const y = g.one('linear', [x, g.weight(['d', lastAxis(x)], b)]);
    return c % 3 === 0 ? g.one('add', [g.weight(['d'], c), y]) : g.one('add', [y, g.weight(['d'], c)]);
  },
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype === 'f32' && v.type.shape.length > 0);
    return g.one(oneOf(['rms_norm', 'layer_norm'], c), [x, g.weight([lastAxis(x)], b)]);
  },
  (g, { a, b }) => {
    const x = g.float(a);
    return g.one('softmax', [x], { axis: g.axis(x, b) });
  },
  (g, { a, b, c }) => {
    const x = g.float(a);
    return g.one(oneOf(reductions, c), [x], { axes: [g.axis(x, b)], keepdims: c % 2 === 0 });
  },
  (g, { a, b }) => {
    const x = g.float(a);
    return g.one('cumsum', [x], { axis: g.axis(x, b) });
  },
  (g, { a }) => {
    const x = g.float(a);
    return g.one('swiglu', [x, g.one('cos', [x])]);
  },
  (g, { a }) =>
    g.one('mul', [g.float(a), g.one('cast', [g.one('dim_size', [], { dim: dim('T') })], { dtype: 'f32' })]),
  (g, { a }) => {
    const positions = g.one('iota', [], { length: dim(oneOf(['T', 'd', 'e'], a)), dtype: 'i32' });
    return [positions, g.one('cast', [positions], { dtype: 'f32' })];
  },
  (g, { a, b }) => g.one(oneOf(['add', 'sub', 'mul'], a), [g.full(a % 5), g.full(b % 3)]),
  (g, { a }) => g.state(a),
  (g, { a, b }) => {
    const narrow = oneOf(['f16', 'bf16'] as const, b);
    const stored = g.one('cast', [g.float(a)], { dtype: narrow });
    const again = g.one('cast', [g.one('cast', [stored], { dtype: 'f32' })], { dtype: narrow });
    return g.one('cast', [again], { dtype: 'f32' });
  },
  (g, { a, b, c }) => g.one('where', [g.full(b % 2, 'bool'), g.float(a), g.float(c)]),
  (g, { a, b }) => g.one('mul', [g.float(a), g.one('cast', [g.full(b % 4, 'i32')], { dtype: 'f32' })]),
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.shape.length > 1);
    const turned = g.one('transpose', [x], { perm: permutation(x.type.shape.length, b) });
    return g.one('transpose', [turned], { perm: permutation(x.type.shape.length, c) });
  },
  (g, { a, b, c }) => {
    const moved = g.one(
      'transpose',
      [
        g.weight(
          oneOf(
            [
              ['d', 'e'],
              ['d', 'd'],
              [2, 'd'],
            ],
            a,
          ),
          b,
        ),
      ],
      { perm: [1, 0] },
    );
    const joined = g.one('concat', [moved, moved], { axis: c % 2 });
    return [moved, g.one('reshape', [joined], { shape: [...joined.type.shape, dim(1)] })];
  },
  (g, { a }) => {
    const pair = [g.float(a), g.full(2)];
    return g.one('add', [g.one('mul', pair), g.one('sin', [g.one('mul', pair)])]);
  },
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype === 'f32' && v.type.shape.length > 0);
    const both = g.weight([addDims('d', 'e'), lastAxis(x)], b);
    const bounds =
      c % 2 === 0 ? { start: dim(0), end: dim('d') } : { start: dim('e'), end: addDims('d', 'e') };
    return g.one('linear', [x, g.one('slice', [both], bounds)]);
  },
  (g, { a, b }) => {
    const index = g.one('reshape', [g.pick(a, (v) => v.name === 'ids')], { shape: ['T', 1].map(dim) });
    return g.one('grouped_linear', [g.pick(a, isHidden), index, g.weight([rowTable, 'e', 'd'], b)]);
  },
  (g, { a, b, c }) => {
    const heads = (at: number): Value =>
      g.one('reshape', [g.pick(at, isHidden)], { shape: ['T', 1, 'd'].map(dim) });
    const out = g.one('attention', [heads(a), heads(b), heads(c)], { causal: c % 2 === 0, scale: 0.5 });
    return g.one('reshape', [out], { shape: ['T', 'd'].map(dim) });
  },
];

const moves: readonly Move[] = [
  ...smoothMoves,
  (g, { a, b }) => g.one(oneOf(steppedUnary, b), [g.float(a)]),
  (g, { a, b, c }) => {
    const x = g.pick(a, () => true);
    return g.one(oneOf(comparisons, c), [x, broadcastable(g, x, b)]);
  },
  (g, { a, b }) =>
    g.one(oneOf(['and', 'or', 'xor'], a), [
      g.pick(a, (v) => v.type.dtype === 'bool'),
      g.pick(b, (v) => v.type.dtype === 'bool'),
    ]),
  (g, { a, b }) => {
    const once = g.one('not', [g.pick(a, (v) => v.type.dtype === 'bool')]);
    return b % 2 === 0 ? once : g.one('not', [once]);
  },
  (g, { a, b }) =>
    g.one('cast', [g.pick(a, () => true)], {
      dtype: oneOf(['i32', 'bool', 'i8', 'u8', 'i64', 'f32'] as const, b),
    }),
  (g, { a, b, c }) => {
    const x = g.pick(a, (v) => v.type.dtype === 'i32');
    return g.one(oneOf(['add', 'mul', 'div', 'max'], c), [x, g.full(b % 4, 'i32')]);
  },
  (g, { a, b }) => {
    const x = g.float(a);
    return g.one('argmax', [x], { axis: g.axis(x, b) });
  },
  (g, { a }) =>
    g.builder.emit(
      'topk',
      [g.pick(a, (v) => v.type.dtype === 'f32' && nameOf(v.type.shape.at(-1) ?? dim(0)) === 'd')],
      { k: 1 },
    ),
];

function lastAxisOf(g: Growth, at: number): Dim {
  return lastAxis(g.pick(at, (v) => v.type.dtype === 'f32' && v.type.shape.length > 0));
}

const hidden = tensorType('f32', ['T', 'd']);

function buildModule(plan: Plan, smooth: boolean): RandomModule {
  const draft = new Draft(plan);
  const layer = plan.loop === null ? undefined : buildLayer(draft, plan.loop, smooth);
  const base = withFunctions(draft.module(), layer === undefined ? [] : [layer]);
  const builder = new FuncBuilder('main', moduleScope(base));
  const types: Record<string, TensorType> = {
    x: hidden,
    row: tensorType('f32', [1, 'd']),
    ids: tensorType('i32', ['T']),
    mask: tensorType('bool', ['T', 1]),
  };
  const inputs = Object.fromEntries(Object.entries(types).map(([name, type]) => [name, draft.tensor(type)]));
  const args = Object.entries(types).map(([name, type]) => builder.arg(type, name));
  const growth = new Growth(draft, builder, smooth, args);
  const at = Math.min(plan.loop?.at ?? 0, plan.steps.length);
  growth.grow(plan.steps.slice(0, at));
  if (layer !== undefined) growth.values.push(...callLayer(growth));
  growth.grow(plan.steps.slice(at));
  const results = plan.outputs.map((i) => growth.pick(i, () => true));
  growth.writeStates();
  const outputs = results.map((_, i) => `y${i}`);
  const main = { ...builder.finish(results), outputs };
  const module = withFunctions(base, [...base.functions.values(), main]);
  const describe = (): string => `${printModule(module)}T = ${plan.sizes[0]}`;
  return Object.assign({ module, inputs }, { [fc.toStringMethod]: describe });
}

const isHidden = ({ type }: Value): boolean =>
  type.dtype === 'f32' && type.shape.length === 2 && type.shape.map(nameOf).join() === 'T,d';

/** One turn: carries a hidden state of type f32[T, d] and reads another, which stays. */
function buildLayer(draft: Draft, { turns, steps }: NonNullable<Plan['loop']>, smooth: boolean) {
  draft.loops.set('layer', { count: dim(turns), indices: Array.from({ length: turns }, (_, i) => i) });
  const builder = new FuncBuilder('layer', moduleScope(draft.module(), 'layer'), { loop: 'layer' });
  const growth = new Growth(draft, builder, smooth, [builder.arg(hidden, 'h'), builder.arg(hidden, 'skip')]);
  growth.grow(steps);
  const result = growth.pick(0, isHidden);
  growth.writeStates();
  return builder.finish([result]);
}

function callLayer(growth: Growth): readonly Value[] {
  const [h, skip] = [growth.pick(0, isHidden), growth.pick(1, isHidden)];
  return growth.builder.emit('repeat', [h, skip], { callee: 'layer', loop: 'layer', carried: 1 });
}

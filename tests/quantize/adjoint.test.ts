/** Adjoints against finite differences of the interpreter in f64. */
import { describe, expect, test } from 'vitest';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module, type Value, withFunctions } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import { elementCount, tensorType } from '../../ir/type.js';
import { randomNumbers } from '../../passes/prune/scores.js';
import { adjointsOf } from '../../passes/quantize/adjoint.js';

interface Case {
  readonly shapes: readonly (readonly number[])[];
  /** Values are in least .. least + 1. */
  readonly least?: number;
  build(b: FuncBuilder, args: readonly Value[]): Value;
}

const op =
  (name: string, attrs = {}) =>
  (b: FuncBuilder, args: readonly Value[]): Value =>
    b.one(name, args, attrs);

const unary = (name: string, least = -0.5): [string, Case] => [
  name,
  { shapes: [[3, 5]], least, build: op(name) },
];
const indices = (b: FuncBuilder, size: number, count: number): Value => {
  const places = b.one('iota', [], { length: dim(count) });
  const turned = b.one('mul', [places, b.one('full', [], { value: 2, dtype: 'i32' })]);
  const rest = b.one('div', [turned, b.one('full', [], { value: size, dtype: 'i32' })]);
  return b.one('sub', [turned, b.one('mul', [rest, b.one('full', [], { value: size, dtype: 'i32' })])]);
};

const cases: readonly [string, Case][] = [
  ...[
    'neg',
    'exp',
    'sin',
    'cos',
    'tanh',
    'erf',
    'sigmoid',
    'silu',
    'softplus',
    'gelu',
    'gelu_tanh',
    'quick_gelu',
  ].map((name) => unary(name)),
  ...['abs', 'sqrt', 'rsqrt', 'reciprocal', 'log', 'relu'].map((name) => unary(name, 0.3)),
  ...['add', 'sub', 'mul', 'div', 'pow'].map((name): [string, Case] => [
    `${name}, broadcast`,
    {
      shapes: [
        [2, 3, 5],
        [3, 1],
      ],
      least: 0.3,
      build: (b, [x, y]) =>
        b.one(
          name,
          name === 'pow' ? [x as Value, b.one('full', [], { value: 3 })] : [x as Value, y as Value],
        ),
    },
  ]),
  ['add to fewer axes', { shapes: [[5], [2, 3, 5]], build: op('add') }],
  [
    'where',
    {
      shapes: [[3, 5], [5]],
      build: (b, [x, y]) =>
        b.one('where', [
          b.one('gt', [x as Value, y as Value]),
          x as Value,
          b.one('mul', [y as Value, y as Value]),
        ]),
    },
  ],
  [
    'matmul',
    {
      shapes: [
        [2, 3, 5],
        [5, 4],
      ],
      build: op('matmul'),
    },
  ],
  [
    'linear',
    {
      shapes: [[2, 3, 5]],
      build: (b, [x]) =>
        b.one('linear', [x as Value, b.one('full', [], { value: 0.7, shape: [dim(4), dim(5)] })]),
    },
  ],
  ...[2, 3].map((rank): [string, Case] => [
    `grouped_linear of rank ${rank}`,
    {
      shapes: [rank === 2 ? [3, 5] : [3, 2, 5]],
      build: (b, [x]) => {
        const index = b.one('reshape', [indices(b, 4, 6)], { shape: [3, 2].map((n) => dim(n)) });
        const w = b.one('sin', [b.one('cast', [b.one('iota', [], { length: dim(60) })], { dtype: 'f32' })]);
        return b.one('grouped_linear', [
          x as Value,
          index,
          b.one('reshape', [w], { shape: [4, 3, 5].map((n) => dim(n)) }),
        ]);
      },
    },
  ]),
  ['softmax of the second axis', { shapes: [[2, 3, 5]], build: op('softmax', { axis: 1 }) }],
  ['layer_norm', { shapes: [[3, 5], [5], [5]], build: op('layer_norm') }],
  ['rms_norm', { shapes: [[3, 5], [5]], build: op('rms_norm') }],
  [
    'modulate',
    {
      shapes: [
        [2, 3, 5],
        [2, 5],
        [2, 5],
      ],
      build: op('modulate'),
    },
  ],
  [
    'swiglu',
    {
      shapes: [
        [3, 5],
        [3, 5],
      ],
      build: op('swiglu'),
    },
  ],
  [
    'rope',
    {
      shapes: [
        [3, 2, 4],
        [3, 2],
        [3, 2],
      ],
      build: op('rope'),
    },
  ],
  [
    'rope of neighbours',
    {
      shapes: [
        [3, 2, 4],
        [3, 2],
        [3, 2],
      ],
      build: op('rope', { interleaved: true }),
    },
  ],
  [
    'attention',
    {
      shapes: [
        [2, 3, 2, 4],
        [2, 3, 2, 4],
        [2, 3, 2, 5],
      ],
      build: op('attention', { scale: 0.5 }),
    },
  ],
  [
    'causal attention of shared heads',
    {
      shapes: [
        [3, 4, 2],
        [3, 2, 2],
        [3, 2, 2],
      ],
      build: op('attention', { scale: 0.7, causal: true, window: 2 }),
    },
  ],
  [
    'reshape and transpose',
    {
      shapes: [[2, 6]],
      build: (b, [x]) =>
        b.one('transpose', [b.one('reshape', [x as Value], { shape: [dim(2), dim(3), dim(2)] })], {
          perm: [2, 0, 1],
        }),
    },
  ],
  ['slice', { shapes: [[3, 5]], build: op('slice', { axis: -1, start: dim(1), end: dim(4) }) }],
  ['slice from the start', { shapes: [[3, 5]], build: op('slice', { axis: 0, start: dim(0), end: dim(2) }) }],
  [
    'concat',
    {
      shapes: [
        [3, 2],
        [3, 5],
        [3, 1],
      ],
      build: op('concat', { axis: 1 }),
    },
  ],
  ['broadcast_to', { shapes: [[3, 1]], build: op('broadcast_to', { shape: [2, 3, 5].map((n) => dim(n)) }) }],
  ['reduce_sum', { shapes: [[2, 3, 5]], build: op('reduce_sum', { axes: [0, -1] }) }],
  ['reduce_mean', { shapes: [[2, 3, 5]], build: op('reduce_mean', { axes: [1], keepdims: true }) }],
  ...[0, 1].map((axis): [string, Case] => [
    `gather along axis ${axis}`,
    { shapes: [[3, 5]], build: (b, [x]) => b.one('gather', [x as Value, indices(b, 3, 7)], { axis }) },
  ]),
  [
    'cache_append',
    {
      shapes: [[2, 3]],
      build: (b, [x]) => {
        const cache = b.one('full', [], { value: 1, shape: [dim(5), dim(3)] });
        return b.one('cache_append', [cache, x as Value, b.one('full', [], { value: 2, dtype: 'i32' })]);
      },
    },
  ],
  [
    'a value that is read twice',
    {
      shapes: [[3, 5]],
      build: (b, [x]) => b.one('mul', [b.one('exp', [x as Value]), b.one('add', [x as Value, x as Value])]),
    },
  ],
];

function moduleOf({ shapes, build }: Case): { readonly module: Module; readonly size: readonly number[] } {
  const b = new FuncBuilder('f', moduleScope(emptyModule('m')), {
    outputs: ['y', ...shapes.map((_, i) => `g${i}`)],
  });
  const args = shapes.map((shape, i) => b.arg(tensorType('f32', shape), `x${i}`));
  const y = build(b, args);
  const given = b.arg(y.type, 'cotangent');
  const adjoints = adjointsOf(b, new Map([[y, given]]), args);
  // What the result does not depend on has no adjoint.
  const found = args.map((arg) => adjoints.get(arg) ?? b.one('mul', [arg, b.one('full', [], { value: 0 })]));
  const size = y.type.shape.map((axis) => moduleScope(emptyModule('m')).valueOf(axis) as number);
  return { module: withFunctions(emptyModule('m'), [b.finish([y, ...found])]), size };
}

describe('adjoints', () => {
  test.each(cases)('%s', (_name, given) => {
    const { shapes, least = -0.5 } = given;
    const { module, size } = moduleOf(given);
    const random = randomNumbers(7);
    const values = (shape: readonly number[], from: number): Float64Array =>
      Float64Array.from({ length: elementCount(shape) }, () => from + random());
    const cotangent = values(size, -0.5);
    const at = shapes.map((shape) => values(shape, least));
    const direction = shapes.map((shape) => values(shape, -0.5));
    const run = (step: number): Record<string, Tensor> => {
      const moved = shapes.map((shape, i): [string, Tensor] => {
        const shifted = (at[i] as Float64Array).map((v, j) => v + step * (direction[i]?.[j] as number));
        return [`x${i}`, { dtype: 'f32', shape, data: shifted }];
      });
      const given = { dtype: 'f32', shape: size, data: cotangent } as const;
      const all = { ...Object.fromEntries(moved), cotangent: given };
      return interpretEntry(module, 'f', all, { precision: 'f64' }) as Record<string, Tensor>;
    };
    const product = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
      Array.from(a).reduce((sum, value, i) => sum + value * (b[i] as number), 0);
    const step = 1e-5;
    const [up, down] = [run(step).y, run(-step).y] as [Tensor, Tensor];
    const difference = (product(up.data, cotangent) - product(down.data, cotangent)) / (2 * step);
    const found = run(0);
    const wanted = shapes.reduce(
      (sum, _, i) => sum + product((found[`g${i}`] as Tensor).data, direction[i] as Float64Array),
      0,
    );
    expect(Math.abs(difference)).toBeGreaterThan(1e-4);
    expect(wanted).toBeCloseTo(difference, 6);
  });
});

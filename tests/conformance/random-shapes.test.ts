/** Random small shapes on top of the fixed cases: decompositions against `evaluate`, and laws that ops obey. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Value } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount, tensorType } from '../../ir/type.js';
import { arg, type CaseOptions, caseModule, differences, dims, type OpCase, opCase } from './case.js';
import { decomposeFully } from './decomposed.js';
import { distinct, fixed, indices, uniform } from './random.js';

const runs = { seed: 20240607, numRuns: 40 };
const size = fc.nat({ max: 6 });
const some = fc.integer({ min: 1, max: 6 });

/** Fails when the primitive ops give another result than the op. */
function checkDecomposition(c: OpCase): void {
  const { module, inputs } = caseModule(c, { weights: 'arguments' });
  const wanted = interpretEntry(module, 'main', inputs);
  const found = interpretEntry(decomposeFully(module), 'main', inputs);
  expect(differences(wanted, found, c.tolerance)).toEqual([]);
}

const options = (attrs: CaseOptions['attrs']): CaseOptions => ({ attrs: attrs ?? {} });

const arbitraries: Record<string, fc.Arbitrary<OpCase>> = {
  norms: fc
    .tuple(
      fc.constantFrom('rms_norm' as const, 'layer_norm' as const),
      fc.array(size, { maxLength: 2 }),
      size,
    )
    .map(([op, lead, n]) => opCase(op, `${lead} ${n}`, [arg('f32', [...lead, n]), arg('f32', [n])])),
  softmax: fc
    .tuple(fc.array(size, { minLength: 1, maxLength: 4 }), fc.nat())
    .map(([shape, axis]) =>
      opCase(
        'softmax',
        `${shape}`,
        [arg('f32', shape)],
        options({ axis: (axis % shape.length) - shape.length }),
      ),
    ),
  rope: fc
    .tuple(fc.array(size, { maxLength: 1 }), size, size, size, fc.boolean())
    .map(([lead, tokens, heads, half, interleaved]) => {
      const table = arg('f32', [tokens, half], uniform(-1, 1));
      const x = arg('f32', [...lead, tokens, heads, 2 * half]);
      return opCase(
        'rope',
        `${lead} ${tokens} ${heads} ${half}`,
        [x, table, table],
        options({ interleaved }),
      );
    }),
  attention: fc
    .record({ batch: fc.array(some, { maxLength: 1 }), tokens: size, length: some, kv: some, group: some })
    .chain((shape) => fc.tuple(fc.constant(shape), some, some, fc.boolean(), size))
    .map(([{ batch, tokens, length, kv, group }, width, values, causal, offset]) =>
      opCase(
        'attention',
        `${batch} ${tokens} ${length} ${kv} ${group} ${width} ${values} ${offset}`,
        [
          arg('f32', [...batch, tokens, kv * group, width]),
          arg('f32', [...batch, length, kv, width]),
          arg('f32', [...batch, length, kv, values]),
          arg('i32', [], fixed(offset)),
        ],
        options({ causal, scale: width ** -0.5 }),
      ),
    ),
  moe_route: fc
    .tuple(size, some, some, fc.boolean(), fc.constantFrom('softmax', 'sigmoid'))
    .chain((row) => fc.tuple(fc.constant(row), fc.integer({ min: 1, max: row[2] })))
    .map(([[tokens, groups, perGroup, renormalize, score], topk]) =>
      opCase(
        'moe_route',
        `${tokens} ${groups} ${perGroup} ${topk}`,
        [arg('f32', [tokens, groups * perGroup], distinct(-4, 4))],
        options({ num_groups: groups, topk_per_group: topk, renormalize, score }),
      ),
    ),
  grouped_linear: fc
    .tuple(size, size, some, size, size, fc.boolean())
    .map(([t, k, e, n, out, perSlot]) =>
      opCase('grouped_linear', `${t} ${k} ${e} ${n} ${out}`, [
        arg('f32', perSlot ? [t, k, n] : [t, n]),
        arg('i32', [t, k], indices(e)),
        arg('f32', [e, out, n]),
      ]),
    ),
  linear: fc
    .tuple(fc.array(size, { maxLength: 3 }), size, size)
    .map(([lead, n, out]) =>
      opCase('linear', `${lead} ${n} ${out}`, [
        arg('f32', [...lead, n]),
        arg('f32', [out, n]),
        arg('f32', [out]),
      ]),
    ),
  conv2d: fc
    .record({ n: size, groups: fc.constantFrom(1, 2, 3), channels: size, outputs: size, h: some, w: some })
    .chain((row) =>
      fc.tuple(
        fc.constant(row),
        fc.tuple(fc.integer({ min: 1, max: row.h }), fc.integer({ min: 1, max: row.w })),
        fc.tuple(fc.constantFrom(1, 2, 3), fc.constantFrom(1, 2)),
        fc.array(fc.nat({ max: 2 }), { minLength: 4, maxLength: 4 }),
      ),
    )
    .map(([{ n, groups, channels, outputs, h, w }, kernel, stride, padding]) =>
      opCase(
        'conv2d',
        `${n} ${groups} ${channels} ${outputs} ${h} ${w} ${kernel} ${stride} ${padding}`,
        [arg('f32', [n, channels * groups, h, w]), arg('f32', [outputs * groups, channels, ...kernel])],
        options({ groups, stride, padding }),
      ),
    ),
  pools: fc
    .tuple(fc.constantFrom('max_pool2d' as const, 'avg_pool2d' as const), size, some, some)
    .chain((row) =>
      fc.tuple(
        fc.constant(row),
        fc.tuple(fc.integer({ min: 1, max: row[2] }), fc.integer({ min: 1, max: row[3] })),
        fc.tuple(fc.constantFrom(1, 2, 3), fc.constantFrom(1, 2)),
        fc.nat({ max: 15 }),
      ),
    )
    .map(([[op, n, h, w], kernel, stride, pads]) => {
      const padding = [0, 1, 2, 3].map((side) =>
        Math.min((pads >> side) & 1, (kernel[side % 2] as number) - 1),
      );
      const x = arg('f32', [n, 2, h, w]);
      return opCase(
        op,
        `${n} ${h} ${w} ${kernel} ${stride} ${padding}`,
        [x],
        options({ kernel, stride, padding }),
      );
    }),
  reduce_mean: fc
    .tuple(fc.array(some, { minLength: 1, maxLength: 4 }), fc.nat({ max: 15 }), fc.boolean())
    .map(([shape, mask, keepdims]) => {
      const axes = shape.map((_, axis) => axis).filter((axis) => (mask >> axis) & 1);
      return opCase('reduce_mean', `${shape} ${axes}`, [arg('f32', shape)], options({ axes, keepdims }));
    }),
};

describe('decompositions', () => {
  test.each(Object.entries(arbitraries))('%s', (_, arbitrary) => {
    fc.assert(fc.property(arbitrary, checkDecomposition), runs);
  });
});

/** Runs a few ops on one tensor. */
function compute(x: Tensor, build: (b: FuncBuilder, x: Value) => Value): Tensor {
  const module = emptyModule('law');
  const b = new FuncBuilder('main', moduleScope(module), { outputs: ['y'] });
  const result = build(b, b.arg(tensorType(x.dtype, x.shape), 'x'));
  const functions = new Map([['main', b.finish([result])]]);
  return interpretEntry({ ...module, functions }, 'main', { x }).y as Tensor;
}

const tensors = fc.array(size, { minLength: 1, maxLength: 4 }).map((shape) =>
  tensor(
    'f32',
    shape,
    Array.from({ length: elementCount(shape) }, (_, i) => (i * 37) % 101),
  ),
);

/** A tensor and one of its axes. */
const tensorAndAxis = tensors.chain((x) => fc.tuple(fc.constant(x), fc.nat({ max: x.shape.length - 1 })));

describe('laws', () => {
  test('a transpose and its inverse cancel', () => {
    const law = ([x, first]: [Tensor, number]) => {
      const axes = x.shape.map((_, axis) => axis);
      const perm = [...axes.slice(first), ...axes.slice(0, first)].reverse();
      const inverse = axes.map((axis) => perm.indexOf(axis));
      const back = compute(x, (b, v) =>
        b.one('transpose', [b.one('transpose', [v], { perm })], { perm: inverse }),
      );
      expect(back).toEqual(x);
    };
    fc.assert(fc.property(tensorAndAxis, law), runs);
  });

  test('slices of a tensor concatenate to it', () => {
    const law = ([x, axis]: [Tensor, number], at: number) => {
      const length = x.shape[axis] as number;
      const cut = Math.min(at, length);
      const part = (b: FuncBuilder, v: Value, start: number, end: number) =>
        b.one('slice', [v], { axis, start: dim(start), end: dim(end) });
      const joined = compute(x, (b, v) =>
        b.one('concat', [part(b, v, 0, cut), part(b, v, cut, length)], { axis }),
      );
      expect(joined).toEqual(x);
    };
    fc.assert(fc.property(tensorAndAxis, size, law), runs);
  });

  test('a gather of every index in order is the tensor', () => {
    const law = ([x, axis]: [Tensor, number]) => {
      const same = compute(x, (b, v) => {
        const index = b.one('iota', [], { length: dim(x.shape[axis] as number) });
        return b.one('gather', [v, index], { axis });
      });
      expect(same).toEqual(x);
    };
    fc.assert(fc.property(tensorAndAxis, law), runs);
  });

  test('a pad is undone by a slice', () => {
    const law = ([x, axis]: [Tensor, number], before: number, after: number) => {
      const pads = (n: number) => x.shape.map((_, a) => (a === axis ? n : 0));
      const same = compute(x, (b, v) => {
        const padded = b.one('pad', [v], { before: pads(before), after: pads(after), value: 5 });
        const end = dim(before + (x.shape[axis] as number));
        return b.one('slice', [padded], { axis, start: dim(before), end });
      });
      expect(same).toEqual(x);
    };
    fc.assert(fc.property(tensorAndAxis, size, size, law), runs);
  });

  test('reductions over all axes do not depend on the shape', () => {
    const law = (x: Tensor) => {
      const axes = x.shape.map((_, axis) => axis);
      const whole = compute(x, (b, v) => b.one('reduce_sum', [v], { axes }));
      const flat = compute(x, (b, v) => {
        const line = b.one('reshape', [v], { shape: dims(x.data.length) });
        return b.one('reduce_sum', [line], { axes: [0] });
      });
      expect(whole).toEqual(flat);
    };
    fc.assert(fc.property(tensors, law), runs);
  });

  test('the last running sum is the sum', () => {
    const law = ([x, axis]: [Tensor, number]) => {
      const length = x.shape[axis] as number;
      if (length === 0) return;
      const last = compute(x, (b, v) => {
        const sums = b.one('cumsum', [v], { axis });
        return b.one('slice', [sums], { axis, start: dim(length - 1), end: dim(length) });
      });
      expect(last).toEqual(compute(x, (b, v) => b.one('reduce_sum', [v], { axes: [axis], keepdims: true })));
    };
    fc.assert(fc.property(tensorAndAxis, law), runs);
  });
});

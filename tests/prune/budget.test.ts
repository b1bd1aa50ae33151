/** Budgets: limits as text, costs against inspection, the solver against trying everything, and the pass on small models. */
import fc from 'fast-check';
import { openCalibration } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { figures } from '../../compiler/prune.js';
import type { Module } from '../../ir/module.js';
import { dimensionsAt, findAxes, resized } from '../../passes/budget/axes.js';
import { lossCurve, removedShares } from '../../passes/budget/curve.js';
import { parseLimit } from '../../passes/budget/limits.js';
import { type SolveAxis, solve } from '../../passes/budget/solve.js';
import { parsePipeline, type StepReport } from '../../passes/pipeline.js';
import { logitsOf, type TinyModel, tinyData, tinyDit, tinyModel, tinyMoge, tinyMole } from './tiny-model.js';

describe('limits', () => {
  test.each([
    ['8M', 8e6],
    ['8.5k', 8500],
    ['70%', 700],
    ['-30%', 700],
    ['1e3', 1000],
    ['2GiB', 2 ** 31],
    ['5MB', 5e6],
  ])('%s of 1000', (text, most) => {
    expect(parseLimit('bytes', text, 1000).most).toBeCloseTo(most, 6);
  });

  test.each(['', 'much', '-8M', '5 apples'])("'%s' is refused", (text) => {
    expect(() => parseLimit('params', text, 1000)).toThrow(/HEW6002: budget: '.*' is no limit of params/);
  });
});

describe('curves', () => {
  test('shares of score go from none to all, least first', () => {
    expect(removedShares([[3, 1, 4]], 3).map((s) => s * 8)).toEqual([0, 1, 4, 8]);
    // Pairs of heads: groups of 3 and 5.
    expect(removedShares([[1, 2, 4, 1]], 2).map((s) => s * 8)).toEqual([0, 3, 8]);
    expect(removedShares([[0, 0]], 2)).toEqual([0, 0.5, 1]);
  });

  test('go through the measured points and never fall', () => {
    const curve = lossCurve([
      { share: 0.1, rise: 0.02 },
      { share: 0.2, rise: 0.08 },
    ]);
    expect(curve(0.1)).toBeCloseTo(0.02, 12);
    expect(curve(0.2)).toBeCloseTo(0.08, 12);
    expect(curve(0)).toBe(0);
    const noisy = lossCurve([
      { share: 0.1, rise: 0.02 },
      { share: 0.3, rise: -0.01 },
    ]);
    expect(noisy(0.4)).toBeGreaterThanOrEqual(noisy(0.2));
  });
});

describe('the solver', () => {
  const anyAxis = (few: boolean): fc.Arbitrary<Omit<SolveAxis, 'name'>> =>
    fc
      .record({
        count: fc.integer({ min: 2, max: few ? 4 : 7 }),
        scale: fc.double({ min: 0.01, max: 1, noNaN: true }),
      })
      .map(({ count, scale }) => ({
        sizes: Array.from({ length: count }, (_, i) => count - i),
        losses: Array.from({ length: count }, (_, i) => scale * i ** 1.5),
        few,
      }));
  const problem = fc.record({
    axes: fc
      .tuple(anyAxis(true), anyAxis(false), anyAxis(false))
      .map((list) => list.map((axis, i) => ({ ...axis, name: `${i}` }))),
    share: fc.double({ min: 0.2, max: 0.9, noNaN: true }),
  });
  const volume = (axes: readonly SolveAxis[], at: readonly number[]): number =>
    axes.reduce((n, { sizes }, i) => n * (sizes[at[i] as number] as number), 1);

  test('finds the best of all when there are few combinations', () => {
    const property = fc.property(problem, ({ axes, share }) => {
      const limit = share * volume(axes, [0, 0, 0]);
      const excess = (at: readonly number[]): number => Math.max(0, volume(axes, at) / limit - 1);
      let best = Number.POSITIVE_INFINITY;
      for (const [i] of axes[0]?.sizes.entries() ?? [])
        for (const [j] of axes[1]?.sizes.entries() ?? [])
          for (const [k] of axes[2]?.sizes.entries() ?? [])
            if (excess([i, j, k]) === 0)
              best = Math.min(
                best,
                [i, j, k].reduce((sum, at, axis) => sum + (axes[axis]?.losses[at] as number), 0),
              );
      const [found] = solve(axes, excess);
      if (best === Number.POSITIVE_INFINITY) expect(found).toBeUndefined();
      else expect(found?.loss).toBeCloseTo(best, 9);
    });
    fc.assert(property, { numRuns: 60 });
  });

  test('of many combinations fits, leaves no room, and is near a brute force', () => {
    const axes: SolveAxis[] = [
      { name: 'layers', sizes: [12, 11, 10, 9], losses: [0, 0.3, 0.8, 1.6], few: true },
      ...[0.9, 0.5].map((scale, a) => ({
        name: `wide ${a}`,
        sizes: Array.from({ length: 90 }, (_, i) => 90 - i),
        losses: Array.from({ length: 90 }, (_, i) => scale * (i / 30) ** 1.7),
        few: false,
      })),
    ];
    const limit = 0.6 * volume(axes, [0, 0, 0]);
    const excess = (at: readonly number[]): number => Math.max(0, volume(axes, at) / limit - 1);
    const [found, second] = solve(axes, excess, 2);
    if (found === undefined || second === undefined) throw new Error('there are solutions');
    expect(excess(found.at)).toBe(0);
    for (const i of [1, 2]) expect(excess(found.at.with(i, (found.at[i] as number) - 1))).toBeGreaterThan(0);
    expect(second.at[0]).not.toBe(found.at[0]);
    let best = Number.POSITIVE_INFINITY;
    for (let l = 0; l < 4; l++)
      for (let i = 0; i < 90; i++)
        for (let j = 0; j < 90; j++)
          if (excess([l, i, j]) === 0)
            best = Math.min(
              best,
              [l, i, j].reduce((sum, at, a) => sum + (axes[a]?.losses[at] as number), 0),
            );
    expect(found.loss).toBeLessThan(1.02 * best);
  });
});

const models: readonly (readonly [string, TinyModel, string])[] = [
  ['dense', tinyModel(), 'multiple=4,axes=d+ffn'],
  ['grouped experts', tinyMoge(), 'multiple=2,axes=expert_ffn+experts'],
  ['lookup experts', tinyMole(), 'multiple=2,axes=shared_ffn+d'],
];

const shapes = (module: Module) => figures(module);

describe.each(models)('%s', (_name, tiny, settings) => {
  const data = tinyData(tiny.module);
  const cut = async (text: string) =>
    runDataPipeline(tiny.module, parsePipeline(text), { source: tiny.source, data });

  test('costs at other sizes are those of the model that is cut to them', async () => {
    const { axes } = findAxes(tiny.module, [], 2);
    const dims = dimensionsAt(axes, new Map(axes.map(({ name, sizes }) => [name, sizes[1] as number])));
    const predicted = shapes(resized(tiny.module, dims));
    const text = [...dims].map(([name, size]) => `${name}=${size}`).join(',');
    const { parameters, bytes, flops } = shapes((await cut(`prune{${text},score=random,by=random}`)).module);
    expect({ parameters, bytes, flops }).toEqual({
      parameters: predicted.parameters,
      bytes: predicted.bytes,
      flops: predicted.flops,
    });
  });

  test('is cut to 85 % of its parameters and FLOPs, never above', async () => {
    const whole = shapes(tiny.module);
    const { module } = await cut(`budget{params=85%,flops=85%,${settings},samples=1,candidates=1}`);
    const now = shapes(module);
    for (const figure of ['parameters', 'flops'] as const) {
      expect(now[figure]).toBeLessThanOrEqual(0.85 * whole[figure]);
      expect(now[figure]).toBeGreaterThan(0.4 * whole[figure]);
    }
    expect(logitsOf({ ...tiny, module }).every(Number.isFinite)).toBe(true);
  }, 120_000);
});

function limitsOf([report]: readonly StepReport[]): { unit: string; most: number; cost: number }[] {
  const found = report?.details?.budget as
    | { limits: { unit: string; most: number; cost: number }[] }
    | undefined;
  return found?.limits ?? [];
}

test('a dimension that cannot be cut is left, with the reason', () => {
  const { axes, skipped } = findAxes(tinyDit().module, [], 4);
  expect(axes.map(({ name }) => name)).toEqual(['blocks', 'heads', 'ffn']);
  expect(skipped.join()).toMatch(/d is left as it is: d cannot be pruned: iota/);
});

describe('budget', () => {
  const [, tiny] = models[0] as (typeof models)[number];
  const cut = (text: string) =>
    runDataPipeline(tiny.module, parsePipeline(text), { source: tiny.source, data: tinyData(tiny.module) });

  test('takes several limits, chosen axes, and a time of its own roofline', async () => {
    const { module, reports } = await cut(
      'budget{params=90%,ms=80%,bandwidth=1e9,axes=ffn+d,multiple=4,samples=1}',
    );
    expect([module.dims.get('layers'), module.dims.get('heads')]).toEqual([{ value: 4 }, { value: 4 }]);
    const limits = limitsOf(reports);
    expect(limits.map(({ unit }) => unit)).toEqual(['params', 'ms']);
    expect(limits.every(({ most, cost }) => cost <= most)).toBe(true);
  });

  test('of a diffusion model is judged by its outputs', async () => {
    const dit = { ...tinyDit(), tokenizerFile: undefined };
    const data = await openCalibration(dit, 'sample:2,steps=2');
    const steps = parsePipeline('budget{params=95%,multiple=4,samples=1,axes=ffn+heads}');
    const { module, reports } = await runDataPipeline(dit.module, steps, { source: dit.source, data });
    expect(shapes(module).parameters).toBeLessThanOrEqual(0.95 * shapes(dit.module).parameters);
    expect(reports[0]?.notes.join('\n')).toMatch(/params of at most/);
  });

  test.each([
    ['budget', /HEW6002: budget needs a limit/],
    ['budget{params=1%}', /HEW6040: 89 params cannot be reached: the least sizes have \d+ params/],
    ['budget{params=lots}', /HEW6002.*no limit/],
    ['budget{params=50%,axes=width}', /HEW6007.*'width' is no dimension/],
    ['budget{params=50%,axes=hd}', /HEW6007.*'hd' is no dimension/],
    ['budget{ms=1,entry=train}', /HEW6002.*no entry 'train'/],
    ['budget{ms=1,peak=0}', /HEW6002.*positive/],
    ['budget{params=50%,multiple=0}', /HEW6002.*multiple=0/],
    ['budget{params=50%,axes=d,multiple=16}', /HEW6040.*nothing of the model can be cut/],
  ])('%s is refused', async (text, message) => {
    await expect(cut(text)).rejects.toThrow(message);
  });
});

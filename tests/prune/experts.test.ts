/** Neurons that each expert keeps of its own: scores by the plain formula, weights cut by hand, and what is left alone. */
import { describe, expect, test } from 'vitest';
import { fromCalls } from '../../compiler/calibration.js';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import type { Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { parsePipeline } from '../../passes/pipeline.js';
import { expertsOwning } from '../../passes/prune/expert-neurons.js';
import { pruneDim } from '../../passes/prune/prune-dim.js';
import { constantRecipe, opRecipe } from '../../passes/recipes.js';
import {
  largestDifference,
  logitsOf,
  randomSource,
  type TinyModel,
  tinyData,
  tinyModel,
  tinyMoge,
  tinyMole,
  weightsOf,
} from './tiny-model.js';

const families: readonly (readonly [string, TinyModel, number])[] = [
  ['grouped experts', tinyMoge(), 4],
  ['lookup experts', tinyMole(), 3],
];

interface Detail {
  readonly kept: Readonly<Record<string, readonly (readonly number[])[]>>;
  readonly scores: Readonly<Record<string, readonly number[]>>;
}

async function pruned({ module, source }: TinyModel, pipeline: string) {
  const data = tinyData(module, 4, 12);
  const result = await runDataPipeline(module, parsePipeline(pipeline), { source, data });
  return { ...result, detail: result.reports[0]?.details?.expert_ffn as Detail };
}

describe.each(families)('%s', (_name, tiny, experts) => {
  test('have neurons of their own; a shared expert has not', () => {
    expect(expertsOwning(tiny.module, 'expert_ffn')).toBe('experts');
    expect(expertsOwning(tiny.module, 'shared_ffn')).toBeUndefined();
    expect(expertsOwning(tiny.module, 'd')).toBeUndefined();
  });

  test('keep different neurons, cut as by hand; router and shared expert stay', async () => {
    const { module, detail } = await pruned(tiny, 'prune{expert_ffn=3}');
    const [before, after] = [weightsOf(tiny), weightsOf({ ...tiny, module })];
    const lists = Object.values(detail.kept).flat();
    expect(lists).toHaveLength(2 * experts);
    expect(new Set(lists.map(String)).size).toBeGreaterThan(2);
    for (const [name, weight] of after) {
      const whole = before.get(name);
      if (!/experts\./.test(name)) {
        expect(weight, name).toEqual(whole);
        continue;
      }
      const turn = name.at(-1) as string;
      const wanted = (detail.kept[turn] ?? []).flatMap((kept, e) => {
        const at = (row: number, column: number, columns: number): number =>
          whole?.data[e * 8 * 16 + row * columns + column] as number;
        return name.includes('down_proj')
          ? Array.from({ length: 16 }, (_, row) => kept.map((column) => at(row, column, 8))).flat()
          : kept.flatMap((row) => Array.from({ length: 16 }, (_, column) => at(row, column, 16)));
      });
      expect(Array.from(weight.data), name).toEqual(wanted);
    }
  }, 60_000);

  test.each(['paper', 'l2', 'down-norm'])(
    'by %s lose their silent neurons first, and nothing changes',
    async (score) => {
      // Expert e is silent in neurons e, e + 1 and e + 2: no choice that experts share could leave out all of them.
      const source = randomSource(tiny.module, (name, values) => {
        const [, e] = /experts\.(\d+)\.up_proj/.exec(name) ?? [];
        return e === undefined
          ? values
          : values.map((value, i) => ((Math.floor(i / 16) - Number(e) + 8) % 8 < 3 ? 0 : value));
      });
      const { module, detail } = await pruned({ ...tiny, source }, `prune{expert_ffn=5,score=${score}}`);
      const [a, b] = [tiny.module, module].map((m) => logitsOf({ module: m, source }));
      expect(largestDifference(a as Float64Array, b as Float64Array)).toBeLessThan(1e-12);
      expect(detail.kept['0']?.[1]).toEqual([0, 4, 5, 6, 7]);
    },
    60_000,
  );

  test('and fewer experts: those that stay keep what they kept', async () => {
    const left = experts === 4 ? 2 : 1;
    const { module, reports } = await pruned(tiny, `prune{experts=${left},expert_ffn=50%}`);
    const all = (await pruned(tiny, 'prune{expert_ffn=50%}')).detail;
    const details = reports[0]?.details as {
      experts: { kept: Record<string, number[]> };
      expert_ffn: Detail;
    };
    for (const turn of ['0', '1'])
      expect(details.expert_ffn.kept[turn]).toEqual(
        details.experts.kept[turn]?.map((e) => all.kept[turn]?.[e]),
      );
    const inSteps = await pruned(tiny, `prune{experts=${left}},prune{expert_ffn=50%}`);
    expect(inSteps.module.dims).toEqual(module.dims);
    expect(logitsOf({ ...tiny, module }).every(Number.isFinite)).toBe(true);
  }, 60_000);

  test('are cut the same inside an expression as in a stack', () => {
    const kept = {
      dim: 'expert_ffn',
      loop: 'layer',
      experts: 'experts',
      perExpert: [0, 1].map((turn) => Array.from({ length: experts }, (_, e) => [turn, e + 2, 7])),
    };
    const params = [...tiny.module.params].map(([name, param]) => {
      const one = constantRecipe('f32', [], [1]);
      const wrapped = { ...param, recipe: opRecipe('mul', [param.recipe, one]) };
      return [name, name.includes('experts.') ? wrapped : param] as const;
    });
    const [plain, wrapped] = [tiny.module, { ...tiny.module, params: new Map(params) }].map((module) =>
      weightsOf({ ...tiny, module: pruneDim(module, kept) }),
    );
    expect(wrapped).toEqual(plain);
  });
});

test('a weight that is not one for each expert is named', () => {
  const dense = tinyModel();
  const perExpert = Array.from({ length: 4 }, () => [[0], [1]]);
  expect(() => pruneDim(dense.module, { dim: 'ffn', loop: 'layer', experts: 'experts', perExpert })).toThrow(
    /HEW6007: ffn is cut differently in each of experts, but weight .*_proj.weight is not one/,
  );
});

// ---- scores by hand, on a loop of one turn

const sizes = { d: 3, n: 5, experts: 4 };
const sequence = (count: number, step: number): number[] =>
  Array.from({ length: count }, (_, i) => ((i * step) % 13) / 6 - 1);
const weights = {
  // No two experts have the same logit for a token.
  router: sequence(sizes.experts * sizes.d, 5).map((value, i) => value + i / 50),
  gate: sequence(sizes.experts * sizes.n * sizes.d, 7),
  up: sequence(sizes.experts * sizes.n * sizes.d, 4),
  down: sequence(sizes.experts * sizes.d * sizes.n, 9),
};

function routedModule(): Module {
  const constant = (type: string, values: readonly number[]): string =>
    `constant(${type}, "${Buffer.from(encodeBytes('f32', values)).toString('base64')}")`;
  const param = (name: keyof typeof weights, type: string): string =>
    `param @${name} in layer : ${type} = ${constant(type, weights[name])}`;
  return parseModule(`module @m {
    dim d = ${sizes.d}
    dim n = ${sizes.n}
    dim experts = ${sizes.experts}
    dim layers = 1
    dim T in 1..8
    loop layer over layers = [0]
    ${param('router', 'f32[experts, d]')}
    ${param('gate', 'f32[experts, n, d]')}
    ${param('up', 'f32[experts, n, d]')}
    ${param('down', 'f32[experts, d, n]')}
    func @body in layer(%h: f32[T, d]) -> (f32[T, d]) {
      %r = param(name=@router) : f32[experts, d]
      %logits = linear(%h, %r) : f32[T, experts]
      %s, %i = moe_route(%logits, num_groups=2, topk_per_group=1) : f32[T, 2], i32[T, 2]
      %gw = param(name=@gate) : f32[experts, n, d]
      %uw = param(name=@up) : f32[experts, n, d]
      %dw = param(name=@down) : f32[experts, d, n]
      %g = grouped_linear(%h, %i, %gw) : f32[T, 2, n]
      %u = grouped_linear(%h, %i, %uw) : f32[T, 2, n]
      %a = swiglu(%g, %u) : f32[T, 2, n]
      %y = grouped_linear(%a, %i, %dw) : f32[T, 2, d]
      %w = reshape(%s, shape=[T, 2, 1]) : f32[T, 2, 1]
      %m = mul(%w, %y) : f32[T, 2, d]
      %b = reduce_sum(%m, axes=[1]) : f32[T, d]
      %out = add(%h, %b) : f32[T, d]
      return %out
    }
    entry @main(%h: f32[T, d]) -> (y: f32[T, d]) {
      %0 = repeat(%h, callee=@body, loop=@layer, carried=1) : f32[T, d]
      return %0
    }
  }`);
}

/** Σ over tokens of |silu(gate x) · up x| for the tokens that choose an expert: one of each half by its logit. */
function scoresByHand(rows: readonly number[][]): number[] {
  const { d, n, experts } = sizes;
  const dot = (w: readonly number[], at: number, x: readonly number[]): number =>
    x.reduce((sum, value, i) => sum + value * (w[at + i] as number), 0);
  const sums = Array.from({ length: experts * n }, () => 0);
  for (const x of rows) {
    const logits = Array.from({ length: experts }, (_, e) => dot(weights.router, e * d, x));
    for (const half of [0, 2]) {
      const e = (logits[half] as number) >= (logits[half + 1] as number) ? half : half + 1;
      for (let m = 0; m < n; m++) {
        const [g, u] = [weights.gate, weights.up].map((w) => dot(w, (e * n + m) * d, x)) as [number, number];
        sums[e * n + m] = (sums[e * n + m] as number) + Math.abs((g / (1 + Math.exp(-g))) * u);
      }
    }
  }
  return sums;
}

test('scores of routed experts are those of the formula', async () => {
  const module = routedModule();
  const rows = Array.from({ length: 6 }, (_, t) => sequence(18, 11).slice(t * 3, t * 3 + 3));
  const h = Float32Array.from(rows.flat());
  const data = fromCalls(module, [{ inputs: { h: { data: h, shape: [6, 3] } } }]);
  const { reports } = await runDataPipeline(module, parsePipeline('prune{n=2}'), { source: undefined, data });
  const detail = reports[0]?.details?.n as Detail | undefined;
  expect(largestDifference(detail?.scores['0'] ?? [], scoresByHand(rows))).toBeLessThan(1e-5);
});

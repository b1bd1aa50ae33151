/** Passes in any order: each order either gives a sound model or is refused with a reason. And every family at full size. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromCalls } from '../../compiler/calibration.js';
import { checkOrder, runDataPipeline } from '../../compiler/data-pipeline.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import type { HewError } from '../../ir/diagnostics.js';
import { interpretEntry } from '../../ir/interpret.js';
import { modelDims } from '../../ir/module.js';
import type { Tensor } from '../../ir/tensor.js';
import { tensor } from '../../ir/tensor.js';
import { parsePipeline, type StepReport } from '../../passes/pipeline.js';
import { type Kept, pruneDim } from '../../passes/prune/prune-dim.js';
import { axisKind } from '../../passes/prune/scores.js';
import { structureOf } from '../../passes/structure.js';
import {
  largestDifference,
  logitsOf,
  randomSource,
  type TinyModel,
  tinyData,
  tinyDit,
  tinyModel,
  tinyMoge,
  tinyMole,
  weightsOf,
} from './tiny-model.js';

const tiny = tinyModel();
const data = tinyData(tiny.module);
const cache = new ObservationCache();
const apply = (text: string) =>
  runDataPipeline(tiny.module, parsePipeline(text), { source: tiny.source, data, cache });

const steps = [
  'prune{layers=3,drop=2}',
  'clap',
  'prune{d=12}',
  'prune{ffn=50%}',
  'prune{heads=2}',
  'slnp',
  'absorb-post-norm',
  'refit',
];

/** Orders that are refused, by what stands in them. */
function illegal(order: readonly string[]): boolean {
  const at = (name: string): number => order.findIndex((step) => step.startsWith(name));
  const after = (late: string, early: string): boolean =>
    at(late) > at(early) && at(early) >= 0 && at(late) >= 0;
  const cuts = order.filter((step) => step.startsWith('prune'));
  const absorbed =
    after('slnp', 'absorb') ||
    after('clap', 'absorb') ||
    cuts.some((cut) => order.indexOf(cut) > at('absorb') && at('absorb') >= 0);
  // Groups move whole, so all other cuts and fits stand behind clap, once a layer has gone.
  const moves = at('prune{layers') >= 0 && after('clap', 'prune{layers');
  const changed = ['prune{d', 'prune{ffn', 'prune{heads', 'refit'].some((step) => after('clap', step));
  return absorbed || (moves && changed);
}

describe('orders', () => {
  test('give a sound model or are refused with a reason', async () => {
    const property = fc.asyncProperty(
      fc.shuffledSubarray(steps, { minLength: 2, maxLength: 5 }),
      async (order) => {
        const text = order.join(',');
        if (illegal(order)) {
          await expect(apply(text), text).rejects.toThrow(/HEW6009: \w.+/);
          return;
        }
        const { module } = await apply(text);
        expect(logitsOf({ ...tiny, module }).every(Number.isFinite), text).toBe(true);
        const has = (step: string): boolean => order.some((other) => other.startsWith(step));
        expect(module.dims.get('layers')).toEqual({ value: has('prune{layers') ? 3 : 4 });
        expect(module.dims.get('d')).toEqual({ value: has('prune{d') ? 12 : 16 });
      },
    );
    await fc.assert(property, { numRuns: 10, seed: 7 });
  }, 180_000);

  test('are refused before anything runs, where the names alone say so', () => {
    const [first] = steps.filter((step) => step.startsWith('prune{d'));
    try {
      checkOrder(parsePipeline(`absorb-post-norm,${first}`));
      expect.unreachable();
    } catch (error) {
      const [diagnostic] = (error as HewError).diagnostics;
      expect(diagnostic).toMatchObject({ code: 'HEW6009', help: 'write prune before absorb-post-norm' });
    }
  });

  test('of cuts that do not touch one another give the same weights', async () => {
    const cuts = ['prune{d=12}', 'prune{ffn=50%}', 'prune{heads=2}'];
    const wanted = weightsOf({ ...tiny, module: (await apply(cuts.join(','))).module });
    const property = fc.asyncProperty(fc.shuffledSubarray(cuts, { minLength: 3 }), async (order) => {
      expect(weightsOf({ ...tiny, module: (await apply(order.join(','))).module })).toEqual(wanted);
    });
    await fc.assert(property, { numRuns: 5 });
  }, 60_000);
});

const dit = tinyDit();
const noise = Float32Array.from({ length: 128 }, (_, i) => Math.sin(i * 1.7));
const ditInputs = {
  x: { data: noise, shape: [2, 1, 8, 8] },
  t: Int32Array.of(3, 700),
  y: Int32Array.of(1, 3),
};
const ditData = fromCalls(dit.module, [{ inputs: ditInputs }]);

function outputOf({ module, source }: TinyModel): Float64Array {
  if (!module.functions.has('denoise')) return logitsOf({ module, source });
  const inputs = {
    x: tensor('f32', [2, 1, 8, 8], noise),
    t: tensor('i32', [2], ditInputs.t),
    y: tensor('i32', [2], ditInputs.y),
  };
  return (interpretEntry(module, 'denoise', inputs, { source, precision: 'f64' }).eps as Tensor).data;
}

const families: readonly (readonly [string, TinyModel])[] = [
  ['dense', tiny],
  ['grouped experts', tinyMoge()],
  ['lookup experts', tinyMole()],
  ['diffusion transformer', dit],
];

describe.each(families)('%s', (name, family) => {
  const structure = structureOf(family.module);
  const kinds = [...modelDims(family.module)].flatMap(([dim, size]) => {
    const kind = axisKind(structure, dim);
    return kind === undefined ? [] : [{ dim, size, kind }];
  });

  test('at full size is the module itself', async () => {
    const text = `prune{${kinds.map(({ dim }) => `${dim}=100%`).join(',')}}`;
    const own = name === 'diffusion transformer' ? ditData : tinyData(family.module);
    const { module } = await runDataPipeline(family.module, parsePipeline(text), {
      source: family.source,
      data: own,
    });
    expect(module).toBe(family.module);
  });

  const orders: Readonly<Record<string, readonly (readonly number[])[]>> = {
    // Query heads stay with their group, experts in theirs.
    heads: [
      [0, 1],
      [2, 3],
    ],
    experts:
      name === 'grouped experts'
        ? [
            [0, 1],
            [2, 3],
          ]
        : [[0, 1, 2]],
  };
  const permutable = kinds.filter(
    ({ dim, kind }) => kind !== 'layers' && kind !== 'groups' && !(dim === 'd' && name.startsWith('diff')),
  );
  test.each(permutable)('$dim in another order changes no output', ({ dim, size, kind }) => {
    const units = kind === 'heads' && name.startsWith('diff') ? undefined : orders[dim];
    const single = Array.from({ length: size }, (_, i) => [i]);
    const swapped = (units ?? [single.flat()]).flatMap((unit) => unit.toReversed());
    const kept: Kept = { dim, indices: swapped };
    const [a, b] = [family.module, pruneDim(family.module, kept)].map((module) =>
      outputOf({ ...family, module }),
    );
    expect(weightsOf({ ...family, module: pruneDim(family.module, kept) })).not.toEqual(weightsOf(family));
    expect(largestDifference(a as Float64Array, b as Float64Array)).toBeLessThan(1e-9);
  });
});

describe('clap with one weight for q, k and v', () => {
  test('moves the heads of a block that goes, in all three parts', async () => {
    const source = randomSource(dit.module, (name, values) =>
      // Heads of the second block count more in the second half, those of the first in the first.
      /attn\.qkv\.weight/.test(name)
        ? values.map((v, i) => (Math.floor(i / 64) % 4 < 2 === name.includes('blocks.0') ? 3 * v : v))
        : values,
    );
    const { module, reports } = await runDataPipeline(
      dit.module,
      parsePipeline('prune{blocks=1,drop=1},clap'),
      {
        source,
        data: ditData,
      },
    );
    const { moves } = (reports[1] as StepReport).details as {
      moves: { groups: { index: number; group: number }[] }[];
    };
    const groups = moves[0]?.groups ?? [];
    expect(groups.map(({ index, group }) => `${index}.${group}`)).toEqual(['0.0', '0.1', '1.2', '1.3']);
    const [before, after] = [weightsOf({ ...dit, source }), weightsOf({ ...dit, module, source })];
    for (const [name, row] of [
      ['weight', 16],
      ['bias', 1],
    ] as const) {
      const param = `blocks.{block}.attn.qkv.${name}`;
      const head = (from: Tensor | undefined, part: number, at: number): Float64Array | undefined =>
        from?.data.slice((part * 4 + at) * 4 * row, (part * 4 + at + 1) * 4 * row);
      for (const part of [0, 1, 2]) {
        groups.forEach(({ index, group }, at) => {
          expect(head(after.get(`${param}#0`), part, at)).toEqual(
            head(before.get(`${param}#${index}`), part, group),
          );
        });
      }
    }
  }, 60_000);
});

describe('weights that are not finite', () => {
  const poisoned = (part: string, value: number) =>
    randomSource(tiny.module, (name, values) => (name.includes(part) ? values.map(() => value) : values));
  test.each([
    ['prune{layers=3}', 'up_proj', Number.NaN],
    ['prune{layers=3,by=greedy}', 'lm_head', Number.NaN],
    ['prune{heads=2}', 'v_proj', Number.POSITIVE_INFINITY],
    ['prune{ffn=50%}', 'gate_proj', Number.NaN],
    ['prune{layers=3,drop=1},clap', 'v_proj', Number.NaN],
    ['absorb-post-norm', 'o_proj', Number.NaN],
    ['absorb-post-norm{share=0.5}', 'lm_head', Number.NaN],
  ])(
    'stop %s when %s is %d',
    async (pipeline, part, value) => {
      const settings = { source: poisoned(part, value), data, cache: new ObservationCache() };
      await expect(runDataPipeline(tiny.module, parsePipeline(pipeline), settings)).rejects.toThrow(
        /HEW6011.*finite/,
      );
    },
    60_000,
  );

  test('are not made by slnp where only zeros are kept', async () => {
    const zero = randomSource(tiny.module, (name, values) =>
      name.includes('input_layernorm') ? values.map(() => 0) : values,
    );
    const settings = { source: zero, data, cache: new ObservationCache() };
    const { module } = await runDataPipeline(tiny.module, parsePipeline('prune{d=8},slnp'), settings);
    expect(logitsOf({ module, source: zero }).every(Number.isFinite)).toBe(true);
  }, 60_000);
});

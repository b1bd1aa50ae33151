/** The passes on a tiny model: what they choose, what they keep exactly, and the orders that are refused. */
import { parsePipeline, runPipeline, type StepReport } from 'hew';
import { describe, expect, test } from 'vitest';
import { checkOrder, type DataPipelineOptions, runDataPipeline } from '../../compiler/data-pipeline.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import type { Module } from '../../ir/module.js';
import { greatest, greatestInGroups, groupMeans } from '../../passes/prune/scores.js';
import { structureOf } from '../../passes/structure.js';
import { largestDifference, logitsOf, randomSource, tinyData, tinyModel, weightsOf } from './tiny-model.js';

const tiny = tinyModel();
const data = tinyData(tiny.module);
const cache = new ObservationCache();

async function apply(text: string, module: Module = tiny.module, options: Partial<DataPipelineOptions> = {}) {
  const settings = { source: tiny.source, data, cache, ...options };
  return runDataPipeline(module, parsePipeline(text), settings);
}

function detailsOf({ reports }: { readonly reports: readonly StepReport[] }, step = 0): unknown {
  return reports[step]?.details;
}

const norm = (values: ArrayLike<number>): number =>
  Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0));

describe('selection', () => {
  test('ties go to the lower index, and the order stays', () => {
    expect(greatest([1, 3, 3, 2, 3], 2)).toEqual([1, 2]);
    expect(greatest([5, 1, 4], 2)).toEqual([0, 2]);
  });

  test('inside groups, and of groups by the mean of their heads', () => {
    expect(greatestInGroups([1, 2, 9, 8], 2, 2)).toEqual([1, 2]);
    expect(Array.from(groupMeans(Float64Array.of(1, 2, 9, 8), 2))).toEqual([1.5, 8.5]);
  });
});

describe('structure', () => {
  test('of a sandwich-norm decoder', () => {
    const { norms, attentions, feedForwards, streams, skipped } = structureOf(tiny.module);
    expect(norms.filter(({ func }) => func.startsWith('prefill')).map(({ role }) => role)).toEqual([
      'pre',
      'post',
      'pre',
      'post',
      'final',
    ]);
    expect(attentions.map(({ heads, kv }) => `${heads}/${kv}`)).toEqual(['heads/kv', 'heads/kv']);
    expect(feedForwards.map(({ neurons }) => neurons)).toEqual(['ffn', 'ffn']);
    expect(streams.map(({ channels }) => channels)).toEqual(['d', 'd']);
    expect(skipped).toEqual([]);
  });
});

describe('prune', () => {
  test('to full size is the identity', async () => {
    const { module } = await apply('prune{d=100%,ffn=24,heads=4,kv=2,layers=4}');
    expect(module).toBe(tiny.module);
  });

  test('of several dimensions does not depend on the order of the steps', async () => {
    const results = ['prune{d=8,ffn=12}', 'prune{d=8},prune{ffn=12}', 'prune{ffn=12},prune{d=8}'].map(
      (text) => apply(text),
    );
    const [a, b, c] = (await Promise.all(results)).map(({ module }) => weightsOf({ ...tiny, module }));
    expect(b).toEqual(a);
    expect(c).toEqual(a);
  });

  test('rounds sizes to multiples', async () => {
    const { module } = await apply('prune{d=60%,multiple=4}');
    expect(module.dims.get('d')).toEqual({ value: 8 });
  });

  test('at random is the same every time', async () => {
    const [a, b] = [
      await apply('prune{ffn=50%,score=random,seed=4}'),
      await apply('prune{ffn=50%,score=random,seed=4}'),
    ];
    expect(a.reports[0]?.details).toEqual(b.reports[0]?.details);
  });

  test('ranks the query heads of the groups that stay', async () => {
    const { module, reports } = await apply('prune{kv=1,heads=1}');
    expect([module.dims.get('kv'), module.dims.get('heads')]).toEqual([{ value: 1 }, { value: 1 }]);
    const details = reports[0]?.details as Record<
      string,
      { kept: Record<string, number[]>; scores: Record<string, number[]> }
    >;
    for (const turn of ['0', '1', '2', '3']) {
      const [group = 0] = details.kv?.kept[turn] ?? [];
      const [a = 0, b = 0] = (details.heads?.scores[turn] ?? []).slice(2 * group, 2 * group + 2);
      expect(details.heads?.kept[turn], turn).toEqual([b > a ? 1 : 0]);
    }
  });

  test('says how much of the score goes, in each layer', async () => {
    const { reports } = await apply('prune{ffn=18}');
    const [report] = reports as [StepReport];
    const { ffn } = report.details as Record<
      string,
      { kept: Record<string, number[]>; scores: Record<string, number[]>; removed: Record<string, number> }
    >;
    for (const turn of ['0', '3']) {
      const scores = ffn?.scores[turn] ?? [];
      const all = scores.reduce((sum, score) => sum + score, 0);
      const gone = scores
        .filter((_, i) => ffn?.kept[turn]?.includes(i) === false)
        .reduce((sum, score) => sum + score, 0);
      expect(ffn?.removed[turn]).toBeCloseTo(gone / all, 9);
    }
  });

  test('takes query heads along with their KV group', async () => {
    const { module } = await apply('prune{kv=1}');
    expect([module.dims.get('kv'), module.dims.get('heads')]).toEqual([{ value: 1 }, { value: 2 }]);
  });

  test('chooses layers greedily by the calibration data, apart from one another, or as told', async () => {
    const { reports } = await apply('prune{layers=3,by=greedy}');
    expect(reports[0]?.counts).toEqual({ layers: 1 });
    const spaced = await apply('prune{layers=2,apart=2}');
    const { removed } = (detailsOf(spaced) as { layers: { removed: number[] } }).layers;
    expect(Math.abs((removed[0] as number) - (removed[1] as number))).toBeGreaterThan(1);
    const told = await apply('prune{layers=3,drop=2}');
    expect(told.module.loops.get('layer')?.indices).toEqual([0, 1, 3]);
  }, 60_000);

  test.each([
    ['prune{d=0}', /HEW6008.*leaves nothing/],
    ['prune{d=0%}', /HEW6008.*leaves nothing/],
    ['prune{d=17}', /HEW6008.*17, but d is 16/],
    ['prune{d=many}', /HEW6002.*no size/],
    ['prune', /HEW6002.*needs a dimension/],
    ['prune{heads=3}', /HEW6008: 3 heads cannot be spread evenly over 2 KV groups/],
    ['prune{hd=2}', /HEW6007: nothing in the model shows what hd counts/],
    ['prune{vocab=16}', /HEW6007: nothing in the model shows what vocab counts/],
    ['prune{dd=2}', /HEW6007: 'dd' is not a dimension/],
    ['prune{d=8,score=best}', /HEW6002: there is no score 'best' for channels/],
    ['prune{layers=2,by=luck}', /HEW6002.*cannot be chosen by 'luck'/],
    ['prune{layers=3,drop=9}', /HEW6008.*does not have/],
    ['prune{layers=1,apart=3}', /HEW6008.*can be removed 3 apart/],
  ])('%s is refused', async (text, message) => {
    await expect(apply(text)).rejects.toThrow(message);
  });

  test('needs data', () => {
    expect(() => runPipeline(tiny.module, parsePipeline('prune{d=8}'))).toThrow(/HEW6006/);
  });

  test('says so when weights are not finite', async () => {
    const source = randomSource(tiny.module, (name, values) =>
      name.includes('up_proj') ? values.map(() => Number.NaN) : values,
    );
    await expect(apply('prune{d=8}', tiny.module, { source, cache: new ObservationCache() })).rejects.toThrow(
      /HEW6011.*not finite/,
    );
  });
});

describe('slnp', () => {
  test('restores the length of every gain that was cut', async () => {
    const { module } = await apply('prune{d=8},slnp');
    const [before, after] = [weightsOf(tiny), weightsOf({ ...tiny, module })];
    const gains = [...after].filter(([name]) => name.includes('norm'));
    expect(gains).toHaveLength(17);
    for (const [name, gain] of gains)
      expect(norm(gain.data)).toBeCloseTo(norm(before.get(name)?.data ?? []), 5);
  });

  test('leaves gains alone that lost nothing', async () => {
    const { reports } = await apply('prune{ffn=12},slnp');
    expect(reports[1]).toMatchObject({ changed: false, counts: { scaled: 0, whole: 5 } });
  });
});

describe('clap', () => {
  test('removes the first layer plainly, as no layer stands before it', async () => {
    const { module, reports } = await apply('prune{layers=3,drop=0},clap');
    expect(reports[1]?.counts).toEqual({ moved: 0 });
    expect(reports[1]?.notes.join()).toMatch(/no layer before them: removed plainly/);
    expect(module.loops.get('layer')?.indices).toEqual([1, 2, 3]);
  });

  test('takes slices of q, k, v and o from the layer that goes', async () => {
    const { module, reports } = await apply('prune{layers=3,drop=2},clap');
    const { moves } = detailsOf({ reports }, 1) as {
      moves: { groups: { index: number; group: number }[] }[];
    };
    const groups = moves[0]?.groups ?? [];
    const [before, after] = [weightsOf(tiny), weightsOf({ ...tiny, module })];
    const name = 'model.layers.{layer}.self_attn.k_proj.weight';
    groups.forEach(({ index, group }, at) => {
      const wanted = before.get(`${name}#${index}`)?.data.subarray(group * 64, (group + 1) * 64);
      expect(after.get(`${name}#1`)?.data.subarray(at * 64, (at + 1) * 64)).toEqual(wanted);
    });
    const o = 'model.layers.{layer}.self_attn.o_proj.weight';
    const [first] = groups;
    expect(after.get(`${o}#1`)?.data.slice(0, 8)).toEqual(
      before.get(`${o}#${first?.index}`)?.data.slice((first?.group ?? 0) * 8, (first?.group ?? 0) * 8 + 8),
    );
  });

  test('is refused once other dimensions were cut', async () => {
    await expect(apply('prune{layers=3,drop=2,d=8},clap')).rejects.toThrow(
      /HEW6009: clap cannot move groups/,
    );
  });
});

describe('absorb-post-norm', () => {
  test('is exact where the root mean square is constant', async () => {
    // One layer whose attention and MLP write 0: only the constant part of the sums is left, so norms see zeros.
    const single = tinyModel({ num_hidden_layers: '1' });
    const source = randomSource(single.module, (name, values) =>
      /o_proj|down_proj/.test(name) ? values.map(() => 0) : values,
    );
    const { module } = await apply('absorb-post-norm', single.module, {
      source,
      data: tinyData(single.module),
      cache: new ObservationCache(),
    });
    const [before, after] = [single.module, module].map((m) => logitsOf({ module: m, source }));
    expect(largestDifference(before as Float64Array, after as Float64Array)).toBeLessThan(1e-6);
  });

  test.each(['mean', 'rms', 'least-squares', 'channel'])(
    'removes the norms with the constant %s',
    async (constant) => {
      const { module, reports } = await apply(`absorb-post-norm{constant=${constant}}`);
      expect(structureOf(module).norms.filter(({ role }) => role === 'post')).toEqual([]);
      expect([...module.params.keys()].filter((name) => name.includes('post_'))).toEqual([]);
      expect(reports[0]?.counts).toEqual({ absorbed: 8, left: 0 });
    },
  );

  test('of a share of the norms keeps the others', async () => {
    const { module, reports } = await apply('absorb-post-norm{share=0.5,sites=attention}');
    expect(reports[0]?.counts).toEqual({ absorbed: 2, left: 2 });
    expect([...module.params.keys()].some((name) => name.endsWith('.absorbed'))).toBe(true);
  }, 60_000);

  test('within a limit of the calibration loss', async () => {
    const { reports } = await apply('absorb-post-norm{max_nll=1000,sites=mlp}');
    expect(reports[0]?.counts).toEqual({ absorbed: 4, left: 0 });
  }, 60_000);

  test('has nothing to do without post-norms', async () => {
    const plain = tinyModel({ sandwich_norm: 'false' });
    const { reports } = await apply('absorb-post-norm', plain.module, {
      source: plain.source,
      data: tinyData(plain.module),
    });
    expect(reports[0]?.notes).toEqual(['the model has no post-norms: nothing to absorb']);
  });

  test.each([
    ['absorb-post-norm{constant=median}', /HEW6002.*no constant/],
    ['absorb-post-norm{sites=head}', /HEW6002.*no sites/],
    ['absorb-post-norm{share=0}', /HEW6008.*share/],
  ])('%s is refused', async (text, message) => {
    await expect(apply(text)).rejects.toThrow(message);
  });
});

describe('order', () => {
  test.each([
    ['absorb-post-norm,slnp', /HEW6009: slnp cannot stand after absorb-post-norm: an absorbed gain is gone/],
    ['absorb-post-norm,prune{d=8}', /HEW6009: prune cannot stand after absorb-post-norm/],
    ['absorb-post-norm,clap', /HEW6009: clap cannot stand after absorb-post-norm/],
  ])('%s is refused', (text, message) => {
    expect(() => checkOrder(parsePipeline(text))).toThrow(message);
  });

  test('of the paper is allowed', async () => {
    const { module } = await apply('prune{layers=3},clap,prune{heads=2,ffn=50%,d=75%},slnp,absorb-post-norm');
    expect(module.dims.get('d')).toEqual({ value: 12 });
    expect(logitsOf({ ...tiny, module }).every(Number.isFinite)).toBe(true);
  });
});

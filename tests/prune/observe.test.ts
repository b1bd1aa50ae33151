/** Statistics: what wasm accumulates over calibration data equals sums taken from the reference interpreter. */
import { describe, expect, test } from 'vitest';
import { fromTokens } from '../../compiler/calibration.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { observe } from '../../compiler/observe.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Func, Module, Value } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import {
  combinationOf,
  combinations,
  type Probe,
  probedModule,
  type StatisticName,
  statistics,
} from '../../passes/probe.js';
import { expertSite } from '../../passes/prune/expert-neurons.js';
import { observedEntry, observedStructure } from '../../passes/structure.js';
import { type TinyModel, tinyData, tinyModel, tinyMoge, tinyMole } from './tiny-model.js';

const tiny = tinyModel();
const { module, source } = tiny;
const data = tinyData(module, 2, 6);

/** A place of the model that each statistic makes sense for. */
function placeOf(statistic: StatisticName): { func: string; values: readonly Value[] } {
  const { attentions, norms, streams } = observedStructure(module);
  const [attention] = attentions;
  const [stream] = streams;
  const [norm] = norms;
  if (attention === undefined || stream === undefined || norm === undefined)
    throw new Error('the model has all of these');
  const { func } = attention;
  const places: Partial<Record<StatisticName, readonly Value[]>> = {
    group_norm: [attention.result],
    projected_norm: [attention.result, attention.o.op.operands[1] as Value],
    cosine: [stream.input, stream.output],
    moment: [norm.result, stream.output],
    normed_moment: [norm.result, stream.output],
  };
  return { func, values: places[statistic] ?? [norm.result] };
}

/** Statistics of the neurons of experts are taken where there are experts. */
const ofExperts = { leading: tinyMole(), routed: tinyMoge() };
type ExpertKind = keyof typeof ofExperts;
const kindOf = (name: StatisticName): ExpertKind | undefined =>
  (Object.keys(ofExperts) as ExpertKind[]).find((kind) => name.startsWith(kind));

const names = Object.keys(statistics) as StatisticName[];
const probes: Probe[] = names
  .filter((name) => kindOf(name) === undefined)
  .map((statistic) => ({ key: statistic, module, ...placeOf(statistic), statistic, eps: 1e-5 }));

function expertProbes(kind: ExpertKind): Probe[] {
  const structure = observedStructure(ofExperts[kind].module);
  const layer = structure.feedForwards.find(({ neurons }) => neurons === 'expert_ffn');
  const site = layer && expertSite(layer, 'experts');
  if (layer === undefined || site?.kind !== kind) throw new Error('the model has experts of this kind');
  const values = site.kind === 'routed' ? [layer.product, site.index, site.weight] : [layer.product];
  return names
    .filter((name) => kindOf(name) === kind)
    .map((statistic) => ({
      key: statistic,
      module: structure.module,
      func: layer.func,
      values,
      statistic,
    }));
}

/** Compares what wasm adds up with what the interpreter adds up. */
async function checkAgreement({ module, source }: TinyModel, probes: readonly Probe[]): Promise<void> {
  const data = tinyData(module, 2, 6);
  const found = await observe(probes, data, { source });
  const probed = probedModule(module, data.entry, probes);
  const sums = new Map<string, Float64Array[]>();
  for (const { inputs } of data.calls) {
    const states = new Map<string, Tensor>();
    const ids = inputs.ids as Int32Array;
    interpretEntry(
      probed.module,
      data.entry,
      { ids: tensor('i32', [ids.length], ids) },
      { source, states, precision: 'f64' },
    );
    probes.forEach(({ key, statistic }, i) => {
      const combine = combinations[combinationOf(statistic)];
      const turns = (module.loops.get('layer')?.indices ?? []).map(
        (turn) => states.get(`${probed.states[i]}#${turn}`)?.data ?? new Float64Array(),
      );
      const before = sums.get(key);
      sums.set(
        key,
        before === undefined
          ? turns
          : before.map((sum, turn) => sum.map((v, j) => combine(v, turns[turn]?.[j] ?? 0))),
      );
    });
  }
  for (const { key } of probes) {
    const [wanted, got] = [
      sums.get(key)?.flatMap((s) => [...s]) ?? [],
      found.get(key)?.sums.flatMap((s) => [...s]) ?? [],
    ];
    expect(got, key).toHaveLength(wanted.length);
    const scale = Math.max(...wanted.map(Math.abs));
    got.forEach((value, i) => {
      expect(Math.abs(value - (wanted[i] as number)) / scale, `${key} ${i}`).toBeLessThan(1e-4);
    });
  }
}

describe('observing', () => {
  test('agrees with the interpreter for every statistic', () => checkAgreement(tiny, probes), 60_000);

  test.each(['leading', 'routed'] as const)(
    'agrees with the interpreter for %s experts',
    (kind) => checkAgreement(ofExperts[kind], expertProbes(kind)),
    60_000,
  );

  test('counts rows, and remembers what it has seen', async () => {
    const cache = new ObservationCache();
    let calls = 0;
    const settings = { source, cache, onProgress: () => calls++ };
    const [probe] = probes as [Probe];
    const first = await observe([probe, probe], data, settings);
    expect(first.get('abs')?.rows).toBe(12);
    expect(first.get('abs')?.indices).toEqual([0, 1, 2, 3]);
    expect(calls).toBe(2);
    await observe([{ ...probe, key: 'again' }], data, settings);
    expect(calls).toBe(2);
  }, 60_000);

  test('works on entries that take other inputs than ids', () => {
    const empty: Module = { ...module, functions: new Map(), dims: new Map([['N', { min: 1, max: 4 }]]) };
    const builder = new FuncBuilder('main', moduleScope(empty), { outputs: ['y'] });
    const x = builder.arg(
      { dtype: 'f32', shape: [{ terms: [{ coefficient: 1, factors: ['N'] }], divisor: 1 }] },
      'x',
    );
    const func: Func = builder.finish([x]);
    expect(observedEntry({ ...empty, functions: new Map([['main', func]]) })?.name).toBe('main');
  });
});

describe('calibration data', () => {
  test.each([
    [[1], /HEW6011: calibration window 0 has 1 tokens; the model takes 2 to 16/],
    [Array.from({ length: 17 }, () => 1), /HEW6011: calibration window 0 has 17 tokens/],
  ])('of a length that no call takes is refused', (ids, message) => {
    expect(() => fromTokens(module, [Int32Array.from(ids)])).toThrow(message);
  });

  test('without windows is refused', () => {
    expect(() => fromTokens(module, [])).toThrow(/HEW6011/);
  });
});

/** Re-parameterized diffusion transformers compute what they did: with the wasm backend, on a trained model. */
import { openModel } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { loadModule } from '../../compiler/in-memory.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { observe } from '../../compiler/observe.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { materialise } from '../../ir/materialise.js';
import type { Module } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import type { Observation } from '../../passes/probe.js';
import { layersOf, probeOf } from '../../passes/quantize/layers.js';
import { siteProbes } from '../../passes/quantize/site-plan.js';
import { shiftSites, weightOf } from '../../passes/quantize/sites.js';
import { midrange } from '../../passes/quantize/step-groups.js';
import { timestepInput } from '../../passes/quantize/timestep.js';
import { standardPipeline } from '../../passes/registry.js';
import { randomSource } from '../prune/tiny-model.js';
import { relativeError } from './relative-error.js';

const simplified = (spec: string, set: Record<string, string> = {}) => {
  const opened = openModel({ spec, set });
  return { ...opened, module: runPipeline(opened.module, parsePipeline(standardPipeline)).module };
};

const steps = 6;

describe('dit-1m', async () => {
  const { module, source } = simplified('examples/dit-1m/model.hew');
  const data = await calibrateOnSamples(module, source, { samples: 4, steps });
  const original = await loadModule(module, source, { optimize: false });
  const eps = data.calls.map(({ inputs }) => original.run('denoise', inputs, { outputs: ['eps'] }).eps);
  const cache = new ObservationCache();

  const worstError = async (pipeline: string): Promise<number> => {
    const changed = await runDataPipeline(module, parsePipeline(pipeline), { source, data, cache });
    const model = await loadModule(changed.module, source, { optimize: false });
    return Math.max(
      ...data.calls.map(({ inputs }, i) =>
        relativeError(
          model.run('denoise', inputs, { outputs: ['eps'] }).eps as Float32Array,
          eps[i] as Float32Array,
        ),
      ),
    );
  };

  test('one model takes samples of guidances 1 and 1.5, balanced over the classes', () => {
    expect(data.calls).toHaveLength(2 * steps);
    expect(data.calls.map(({ symbols }) => symbols.get('B'))).toEqual([
      ...Array.from({ length: steps }, () => 2),
      ...Array.from({ length: steps }, () => 4),
    ]);
  });

  test('htg is exact at every timestep, for every number of groups', async () => {
    for (let groups = 1; groups <= steps; groups++) {
      expect(await worstError(`htg{groups=${groups}}`)).toBeLessThanOrEqual(1e-5);
    }
    for (const scale of ['max', 'mean'])
      expect(await worstError(`htg{groups=3,scale=${scale},last=false}`)).toBeLessThanOrEqual(1e-5);
  });

  test('ptq4dit is exact, needs no timestep, and htg may follow', async () => {
    expect(await worstError('ptq4dit')).toBeLessThanOrEqual(1e-5);
    expect(await worstError('ptq4dit,htg{groups=2}')).toBeLessThanOrEqual(1e-5);
    const { module: balanced } = await runDataPipeline(module, parsePipeline('ptq4dit'), {
      source,
      data,
      cache,
    });
    expect([...balanced.params.keys()].filter((name) => name.includes('steps'))).toEqual([]);
  });

  test.each(['htg{groups=3,scale=max}', 'ptq4dit,htg{groups=2}'])(
    'behind %s the ranges of all layers are known, and are those that would be observed',
    async (pipeline) => {
      const known = new ObservationCache();
      const options = { source, data, cache: known };
      const { module: changed } = await runDataPipeline(module, parsePipeline(pipeline), options);
      const probes = layersOf(changed)
        .layers.filter(({ place }) => place === 'body')
        .flatMap((layer) =>
          (['minimum', 'maximum'] as const).map((side) =>
            probeOf(changed, layer, side, { byTimestep: true }),
          ),
        );
      expect(probes).toHaveLength(8);
      expect(known.missing(probes, data)).toEqual([]);
      const observed = await observe(probes, data, { source });
      for (const probe of probes) {
        const wanted = observed.get(probe.key) as Observation;
        const found = known.get(probe, data) as Observation;
        expect(found.rows).toBe(wanted.rows);
        expect(found.steps?.map(({ timestep }) => timestep)).toEqual(
          wanted.steps?.map(({ timestep }) => timestep),
        );
        for (const [turn, sums] of wanted.sums.entries()) {
          expect(relativeError(found.sums[turn] as Float64Array, sums)).toBeLessThan(1e-5);
          for (const [at, step] of (wanted.steps ?? []).entries()) {
            const own = found.steps?.[at]?.sums[turn] as Float64Array;
            expect(relativeError(own, step.sums[turn] as Float64Array)).toBeLessThan(1e-5);
          }
        }
      }
    },
  );

  test('the table of a layer has a row for each segment, and steps that were not calibrated find theirs', async () => {
    const { module: shifted } = await runDataPipeline(module, parsePipeline(`htg{groups=${steps}}`), {
      source,
      data,
      cache,
    });
    const table = shifted.params.get('blocks.{block}.attn.qkv.bias.steps');
    expect(table?.type.shape[0]).toEqual(dim(steps));
    const model = await loadModule(shifted, source, { optimize: false });
    const [first] = data.calls;
    const inputs = { ...first?.inputs, t: Int32Array.from([123, 877]) };
    const run = (m: typeof model): Float32Array =>
      m.run('denoise', inputs, { outputs: ['eps'] }).eps as Float32Array;
    expect(relativeError(run(model), run(original))).toBeLessThanOrEqual(1e-5);
  });

  test('as many groups as steps give the shifts of every step', async () => {
    const { module: shifted } = await runDataPipeline(module, parsePipeline(`htg{groups=${steps}}`), {
      source,
      data,
      cache,
    });
    const found = await observe(siteProbes(module), data, { source, cache });
    const valuesOf = (owner: Module, name: string, turn: number) =>
      materialise(owner, name, turn, source).data;
    const [qkv, fc1, proj] = ['attn.qkv', 'mlp.fc1', 'attn.proj'].map(
      (layer) => `blocks.{block}.${layer}.weight`,
    ) as [string, string, string];
    /** z_t of a site in one turn, by its index. */
    const meant = (site: number, turn: number, step: number): Float64Array => {
      const [min, max] = ['minimum', 'maximum'].map(
        (side) => found.get(`${side}.${site}`)?.steps?.[step]?.sums[turn],
      ) as [Float64Array, Float64Array];
      return midrange({ min, max });
    };
    /** s of the inputs of a layer, from its first row, which is no output of another site. */
    const scaleOf = (weight: string, turn: number): Float64Array => {
      const [after, before] = [shifted, module].map((owner) => valuesOf(owner, weight, turn));
      return Float64Array.from({ length: width }, (_, i) => (after?.[i] as number) / (before?.[i] as number));
    };
    /** The row of a table for a timestep. */
    const tableOf = (table: string, turn: number) => {
      const all = valuesOf(shifted, table, turn);
      const segments = valuesOf(shifted, `${table}.segment`, turn);
      const size = all.length / steps;
      return (timestep: number): Float64Array => {
        const row = segments[timestep] as number;
        return Float64Array.from(all.subarray(row * size, (row + 1) * size));
      };
    };
    const { sites } = shiftSites(module);
    const width = sites[0]?.channels ?? 0;
    const siteOf = (weight: string): number =>
      sites.findIndex(({ readers }) => readers.some((reader) => weightOf(reader) === weight));
    const timesteps = found.get('minimum.0')?.steps?.map(({ timestep }) => timestep) ?? [];
    expect(timesteps).toHaveLength(steps);
    const turns = module.loops.values().next().value?.indices.length ?? 0;
    for (let turn = 0; turn < turns; turn++) {
      for (const weight of [qkv, fc1]) {
        const scale = scaleOf(weight, turn);
        const rowAt = tableOf(`${weight}.shift.steps`, turn);
        for (const [step, timestep] of timesteps.entries()) {
          const shift = rowAt(timestep).map((v, i) => -v * (scale[i] as number));
          expect(relativeError(shift, meant(siteOf(weight), turn, step))).toBeLessThan(1e-5);
        }
      }
      // Rows of V: (b + W z - z') / s', where z is the shift of what qkv reads and z' that of what V becomes.
      const scale = scaleOf(proj, turn);
      const rowAt = tableOf(qkv.replace('weight', 'bias.steps'), turn);
      const [w, bias] = [valuesOf(module, qkv, turn), valuesOf(module, qkv.replace('weight', 'bias'), turn)];
      for (const [step, timestep] of timesteps.entries()) {
        const z = meant(siteOf(qkv), turn, step);
        const table = rowAt(timestep);
        const shift = scale.map((s, i) => {
          const row = 2 * width + i;
          const product = z.reduce((sum, v, at) => sum + v * (w[row * width + at] as number), 0);
          return (bias[row] as number) + product - s * (table[row] as number);
        });
        expect(relativeError(shift, meant(siteOf(proj), turn, step))).toBeLessThan(1e-4);
      }
    }
  });

  test.each([
    ['htg{groups=7}', /HEW6121: htg: 7 groups do not fit the 6 timesteps/],
    ['htg{groups=0}', /HEW6121/],
    ['htg{momentum=1}', /HEW6121: htg: momentum=1/],
    ['htg{scale=median}', /HEW6002: htg has no scale 'median'/],
  ])('%s is refused', async (pipeline, message) => {
    await expect(worstError(pipeline)).rejects.toThrow(message);
  });
});

describe('sites', () => {
  const tiny = {
    hidden_size: '16',
    depth: '2',
    num_heads: '2',
    patch_size: '4',
    input_size: '8',
    in_channels: '1',
    num_classes: '3',
  };

  test('are found by the graph: qkv, projection, fc1 and the last layer', () => {
    const { module } = simplified('examples/dit/dit.hew', tiny);
    const { sites, skipped } = shiftSites(module);
    expect(skipped).toEqual([]);
    expect(sites.map(({ kind, channels, readers }) => [kind, channels, readers.length])).toEqual([
      ['modulate', 16, 1],
      ['attention', 16, 1],
      ['modulate', 16, 1],
      ['modulate', 16, 1],
    ]);
    // Rows of V are the last third of the qkv layer.
    expect([...(sites[1]?.shift.rows ?? [])]).toEqual(Array.from({ length: 16 }, (_, i) => 32 + i));
  });

  test('say why they are skipped', () => {
    const { module } = simplified('examples/pangu-2m/model.hew');
    const { sites, skipped } = shiftSites(module);
    expect(sites).toEqual([]);
    expect(skipped.length).toBeGreaterThan(0);
    expect(skipped[0]).toMatch(
      /attention of @\S+: its result is read by a linear layer whose \S+ has another reader/,
    );
  });

  test('a language model has no timestep', () => {
    const { module } = simplified('examples/pangu-2m/model.hew');
    expect(() => timestepInput(module)).toThrow(/HEW6120/);
  });

  test('a model of random weights is exact in the interpreter too', async () => {
    const { module } = simplified('examples/dit/dit.hew', tiny);
    const source = randomSource(module);
    const data = await calibrateOnSamples(module, source, { samples: 3, steps: 3, guidances: [1] });
    const { module: changed } = await runDataPipeline(module, parsePipeline('htg{groups=2}'), {
      source,
      data,
    });
    const random = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i * 1.7));
    const inputs = {
      x: tensor('f32', [2, 1, 8, 8], [...random]),
      t: tensor('i32', [2], [500, 0]),
      y: tensor('i32', [2], [0, 2]),
    };
    const [before, after] = [module, changed].map(
      (m) => (interpretEntry(m, 'denoise', inputs, { source, precision: 'f64' }).eps as Tensor).data,
    );
    expect(relativeError(after as Float64Array, before as Float64Array)).toBeLessThan(1e-5);
  });
});

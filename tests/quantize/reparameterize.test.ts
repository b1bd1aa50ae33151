/** Re-parameterized diffusion transformers compute what they did: with the wasm backend, on a trained model. */
import { openModel } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { loadModule } from '../../compiler/in-memory.js';
import { ObservationCache } from '../../compiler/observation-cache.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { shiftSites } from '../../passes/quantize/sites.js';
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

/** The pass `quantize`: every scheme on diffusion transformers and language models, against what it replaces. */
import { ObservationCache, openModel } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { calibrateOnSamples } from '../../compiler/diffusion-calibration.js';
import { loadModule } from '../../compiler/in-memory.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline, type StepReport } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { randomSource, tinyData, tinyModel, tinyMoge } from '../prune/tiny-model.js';
import { relativeError } from './relative-error.js';

const simplify = (module: Module): Module => runPipeline(module, parsePipeline(standardPipeline)).module;

/** Names and dtypes of the parameters, in bytes of weights. */
const dtypeOf = (module: Module, name: string): string | undefined => module.params.get(name)?.type.dtype;

describe('a diffusion transformer of random weights', async () => {
  const sizes = { hidden_size: '16', depth: '2', num_heads: '2', patch_size: '4', input_size: '8' };
  const set = { ...sizes, in_channels: '1', num_classes: '3' };
  const module = simplify(openModel({ spec: 'examples/dit/dit.hew', set }).module);
  const source = randomSource(module);
  const data = await calibrateOnSamples(module, source, { samples: 4, steps: 4 });
  const cache = new ObservationCache();
  const values = Float32Array.from({ length: 2 * 64 }, (_, i) => Math.sin(i * 1.7));
  const original = await loadModule(module, source, { optimize: false });
  const inputs = {
    x: { data: values, shape: [2, 1, 8, 8] },
    t: Int32Array.from([999, 0]),
    y: Int32Array.from([0, 2]),
  };
  const wanted = original.run('denoise', inputs, { outputs: ['eps'] }).eps as Float32Array;
  const quantized = (pipeline: string) =>
    runDataPipeline(module, parsePipeline(pipeline), { source, data, cache });

  test.each([
    ['quantize', 0.03],
    ['quantize{activations=step,groups=2}', 0.03],
    ['quantize{activations=token}', 0.03],
    ['quantize{condition=same,edges=same}', 0.04],
    ['htg{groups=2},quantize{activations=step,groups=3}', 0.03],
    ['quantize{scheme=w8}', 0.02],
    ['quantize{scheme=w4}', 0.2],
    ['quantize{scheme=w4,group=8,asymmetric,clip}', 0.2],
    ['quantize{scheme=w4a8,group=8,rounding=gptq,every=1}', 0.2],
    ['quantize{activations=step,groups=2,rounding=gptq,every=1}', 0.03],
    ['quantize{scheme=w4a8,asymmetric,activations=token,condition=w4}', 0.2],
    ['quantize{scheme=w4a8,group=8,asymmetric,activations=step,bias_correction}', 0.2],
  ])(
    '%s: the backend computes what the interpreter does, with an error below %f',
    async (pipeline, limit) => {
      const { module: changed } = await quantized(pipeline);
      const model = await loadModule(changed, source, { optimize: false });
      const found = model.run('denoise', inputs, { outputs: ['eps'] }).eps as Float32Array;
      const tensors = {
        x: tensor('f32', [2, 1, 8, 8], [...values]),
        t: tensor('i32', [2], [999, 0]),
        y: tensor('i32', [2], [0, 2]),
      };
      const meant = (interpretEntry(changed, 'denoise', tensors, { source }).eps as Tensor).data;
      // Values on the border between two codes may fall on either side.
      expect(relativeError(found, meant)).toBeLessThan(0.01);
      expect(relativeError(found, wanted)).toBeGreaterThan(1e-4);
      expect(relativeError(found, wanted)).toBeLessThan(limit);
    },
  );

  test('weights of the body are integers of 4 bits, those that read the condition of 8, those of the ends none', async () => {
    const { module: changed, reports } = await quantized('quantize{scheme=w4a8}');
    expect(dtypeOf(changed, 'blocks.{block}.attn.qkv.weight')).toBe('i4');
    expect(dtypeOf(changed, 'blocks.{block}.adaLN_modulation.1.weight')).toBe('i8');
    expect(dtypeOf(changed, 'final_layer.linear.weight')).toBe('f32');
    expect(reports[0]?.notes[0]).toMatch(/^weights of \d\.\d\d bits on average/);
    const { module: narrow } = await quantized('quantize{condition=w4,group=8,rounding=gptq,every=1}');
    expect(dtypeOf(narrow, 'blocks.{block}.attn.qkv.weight')).toBe('i8');
    expect(dtypeOf(narrow, 'blocks.{block}.adaLN_modulation.1.weight')).toBe('i4');
    const { module: partly } = await quantized('quantize{edges=w8,condition=none}');
    expect(dtypeOf(partly, 'final_layer.linear.weight')).toBe('i8');
    expect(dtypeOf(partly, 'blocks.{block}.adaLN_modulation.1.weight')).toBe('f32');
  });

  test('the layers that need it most stay in 8 bits, within the mean that is asked for', async () => {
    const { module: changed, reports } = await quantized(
      'quantize{scheme=w4,target_bits=6.5,edges=none,condition=none}',
    );
    const [{ details, notes }] = reports as [StepReport];
    const bits = (details as { layers: { bits: number }[] }).layers.map((layer) => layer.bits);
    expect(new Set(bits)).toEqual(new Set([4, 8]));
    const mean = Number(/of (\S+) bits/.exec(notes[0] ?? '')?.[1]);
    expect(mean).toBeLessThanOrEqual(6.5);
    expect(mean).toBeGreaterThan(4);
    expect(changed).not.toBe(module);
  });

  test.each([
    ['quantize{scheme=w3a8}', /HEW6002: quantize has no scheme 'w3a8'/],
    ['quantize{activations=row}', /HEW6002: quantize: activations cannot be 'row'/],
    ['quantize{groups=0}', /HEW6121: quantize: groups=0/],
    ['quantize{group=1}', /HEW6121: quantize: group=1/],
    ['quantize{damp=-1}', /HEW6121: quantize: damp=-1/],
    ['quantize{sweeps=-1}', /HEW6121: quantize: sweeps=-1/],
    ['quantize{every=0}', /HEW6121: quantize: every=0/],
    ['quantize{target_bits=3}', /HEW6121: quantize: target_bits=3/],
  ])('%s is refused', async (pipeline, message) => {
    await expect(quantized(pipeline)).rejects.toThrow(message);
  });
});

describe('language models', () => {
  test.each([
    'quantize',
    'quantize{scheme=w4,group=4}',
    'quantize{activations=token}',
    'quantize{rounding=gptq,every=1}',
  ])('%s changes prefill and decode alike', async (pipeline) => {
    const { module: raw, source } = tinyModel();
    const module = simplify(raw);
    const data = tinyData(module, 40);
    const { module: changed } = await runDataPipeline(module, parsePipeline(pipeline), { source, data });
    expect(dtypeOf(changed, 'model.layers.{layer}.self_attn.q_proj.weight')).toMatch(/^i[48]$/);
    const [before, after] = await Promise.all([module, changed].map((m) => loadModule(m, source)));
    const ids = Int32Array.from([3, 1, 4, 1, 5]);
    const logits = (model: typeof before): Float32Array => {
      model?.reset();
      return model?.run('prefill', { ids }).logits as Float32Array;
    };
    const step = (model: typeof before): Float32Array =>
      model?.run('decode', { ids: Int32Array.from([9]) }).logits as Float32Array;
    const limit = pipeline.includes('w4') ? 0.3 : 0.1;
    expect(relativeError(logits(after), logits(before))).toBeLessThan(limit);
    expect(relativeError(step(after), step(before))).toBeLessThan(limit);
  });

  test('ranges by timestep need a diffusion model', async () => {
    const { module, source } = tinyModel();
    const pipeline = parsePipeline(`${standardPipeline},quantize{activations=step}`);
    await expect(runDataPipeline(module, pipeline, { source, data: tinyData(module) })).rejects.toThrow(
      /HEW6120/,
    );
  });

  test('experts are dequantized, the router is left alone', async () => {
    const { module: raw, source } = tinyMoge();
    const module = simplify(raw);
    const data = tinyData(module, 40);
    const { module: changed, reports } = await runDataPipeline(module, parsePipeline('quantize'), {
      source,
      data,
    });
    const notes = reports[0]?.notes.join('\n') ?? '';
    expect(notes).toMatch(/left alone: \S+gate\.weight: it chooses experts/);
    expect(notes).toMatch(/experts\.\{e\}\.up_proj\.weight: 8 bits, inputs as they are/);
    const run = async (m: Module): Promise<Float32Array> =>
      (await loadModule(m, source)).run('prefill', { ids: Int32Array.from([3, 1, 4]) })
        .logits as Float32Array;
    expect(relativeError(await run(changed), await run(module))).toBeLessThan(0.1);
  });
});

/** Whole models in AscendC on the model of the chip, against PyTorch's outputs. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AscendReport,
  compile,
  definePass,
  load,
  openNative,
  quantizeModel,
  type ReportOptions,
  reportModel,
  sample,
  standardPipeline,
} from 'hew';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { Golden } from '../../compiler/evaluate/golden.js';
import { type HostModel, hostModel, relativeError, runEntry, runHost } from '../ascendc/host-model.js';
import { hasCompiler } from '../ascendc/run-kernels.js';
import { withIntegers } from '../bench/integer-layers.js';
import { type CliResult, hew } from '../cli/run-cli.js';

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'hew-ascend-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const slow = process.env.HEW_SLOW === '1';

/** The models of the repository; with HEW_SLOW=1 those beside it as well, a minute or two each. */
function present(names: readonly string[]): string[] {
  return names.filter((name) => {
    const isOwn = existsSync(`examples/${name}/model.safetensors`);
    return isOwn || (slow && existsSync(`../shared/models/${name}/model.safetensors`));
  });
}

function golden(name: string): Golden {
  const own = `examples/${name}/golden.safetensors`;
  return new Golden(openCheckpoint(existsSync(own) ? own : `../shared/models/${name}/golden.safetensors`));
}

describe.skipIf(!hasCompiler)('models on the model of 910b3 (skipped without g++)', () => {
  test.each(present(['pangu-2m', 'pangu-12m', 'moge-8m']))(
    '%s: logits of the prompt, and the same tokens',
    async (name) => {
      const model = await hostModel(name, directory);
      const wanted = golden(name);
      const prompt = wanted.ints('prompt');
      const logits = runEntry(model, 'prefill', { ids: prompt }, 'logits', { T: prompt.length });
      const error = relativeError(logits, wanted.floats('logits'));
      console.log(`${name}: relative error of the logits ${error.toExponential(2)}`);
      expect(error).toBeLessThan(5e-3);
      const tokens = await runHost(model, ['--ids', prompt.join(), '--max-tokens', '16']);
      expect(tokens.trim().split('\n').map(Number)).toEqual([...wanted.ints('greedy').slice(0, 16)]);
      await expect(runHost(model, ['--entry', 'encode'])).rejects.toThrow('there is no entry');
    },
  );

  test.each(present(['dit-1m', 'dit-10m']))('%s: predicted noise, and an image by 20 steps', async (name) => {
    const model = await hostModel(name, directory);
    const wanted = golden(name);
    const inputs = { x: wanted.floats('x'), t: wanted.ints('t'), y: wanted.ints('y') };
    const eps = runEntry(model, 'denoise', inputs, 'eps', { B: inputs.t.length });
    const error = relativeError(eps, wanted.floats('eps'));
    const image = await draw(model, wanted);
    const drawn = relativeError(image, wanted.floats('ddim20_cfg1.5').slice(0, image.length));
    console.log(
      `${name}: relative error of eps ${error.toExponential(2)}, of an image ${drawn.toExponential(2)}`,
    );
    expect(error).toBeLessThan(5e-3);
    expect(drawn).toBeLessThan(2e-2);
  });
});

test.skipIf(!hasCompiler)('pangu-2m with layers and caches in 8 bits is as near as WebAssembly', async () => {
  const wanted = golden('pangu-2m');
  const ids = wanted.ints('prompt');
  const errors: number[] = [];
  for (const target of ['wasm', 'ascendc']) {
    const output = join(directory, `integers-${target}`);
    await quantizeModel({
      spec: 'examples/pangu-2m/model.hew',
      pipeline: 'quantize{edges=same},quantize-kv{asymmetric=true}',
      calibration: 'examples/pangu-2m/golden.safetensors',
      calibrationTensor: 'greedy',
      output,
      target,
    });
    const bundle = join(output, 'bundle');
    const cache = join(directory, 'cache');
    const { model } = target === 'wasm' ? { model: await load(bundle) } : await openNative(bundle, { cache });
    const { logits } = model.run('prefill', { ids }, { outputs: ['logits'], symbols: { T: ids.length } });
    errors.push(relativeError(logits as Float32Array, wanted.floats('logits')));
  }
  const [wasm, ascend] = errors as [number, number];
  console.log(
    `pangu-2m in 8 bits: relative error of the logits ${ascend.toExponential(2)}, by wasm ${wasm.toExponential(2)}`,
  );
  expect(wasm).toBeLessThan(0.15);
  expect(ascend / wasm).toBeLessThan(1.2);
});

/** The first of the golden images. */
async function draw({ model }: HostModel, wanted: Golden): Promise<Float32Array> {
  const [batch] = wanted.shape('noise') as [number];
  const all = wanted.floats('noise');
  const noise = all.slice(0, all.length / batch);
  const classes = [...wanted.ints('noise_y').slice(0, 1)];
  return (await sample(model, { classes, noise, steps: 20, guidance: 1.5 })).data;
}

test.skipIf(!hasCompiler)('hew run writes text, and passes on the faults of kernels (HEW6214)', async () => {
  const bundle = join(directory, 'text');
  await compile({ spec: 'examples/pangu-2m/model.hew', output: bundle, target: 'ascendc' });
  const env = { HEW_CACHE: join(directory, 'cache') };
  const run = (): Promise<CliResult> =>
    hew(['run', bundle, '--device', 'ascend-host', '--prompt', 'import ', '--max-tokens', '2', '--greedy'], {
      env,
    });
  const { code, stdout } = await run();
  expect(code).toBe(0);
  expect(stdout.length).toBeGreaterThan(2);
  const path = join(bundle, 'manifest.json');
  writeFileSync(path, readFileSync(path, 'utf8').replaceAll(/"cores": \d+/g, '"cores": 100'));
  const failed = await run();
  expect(failed.stderr).toMatch(/HEW6214.*blocks are launched; 910b3 has/);
});

/** Weights that a step of decoding reads: all but the table of embeddings. */
const weights = (() => {
  const [d, ffn, heads, kv, hd, vocab, layers] = [4096, 12_800, 32, 8, 128, 153_376, 34];
  const products = 2 * d * heads * hd + 2 * d * kv * hd + 3 * d * ffn;
  const outputs = 2 * d + heads * hd + 2 * kv * hd + 2 * ffn;
  return {
    products: layers * products + vocab * d,
    outputs: layers * outputs + vocab,
    norms: (2 * layers + 1) * d,
  };
})();

const integerLayers = definePass({
  name: 'integer-layers',
  summary: 'Linear layers in integers of 8 bits whose values are made up.',
  run: (module) => ({ module: withIntegers(module, { dtype: 'i8', group: 0, inputs: true }) }),
});

describe.skipIf(!hasCompiler)('a step of a 7B model takes hardly longer than reading its weights', () => {
  const reportOf = (more: Partial<ReportOptions> = {}): Promise<AscendReport> =>
    reportModel({
      spec: 'examples/pangu/pangu.hew',
      config: 'tests/bench/cuda/pangu-7b.json',
      entry: 'decode',
      cache: join(directory, 'cache'),
      ...more,
    });

  function expectNearBound({ totals }: AscendReport, title: string, bytes: number): void {
    const { weightBytes, memoryBytes, predicted, byteBound } = totals;
    console.log(
      `7B ${title} on 910B3: weights ${weightBytes} B, memory ${memoryBytes} B, ${predicted} s, bound ${byteBound} s`,
    );
    // One row of the table of embeddings is read, and frequencies of positions.
    expect(weightBytes / bytes).toBeCloseTo(1, 3);
    expect(predicted / byteBound).toBeGreaterThan(1);
    expect(predicted / byteBound).toBeLessThan(1.15);
  }

  test('in f16', async () => {
    expectNearBound(await reportOf(), 'f16', 2 * (weights.products + weights.norms));
  });

  test('with weights and inputs of linear layers in 8 bits', async () => {
    const report = await reportOf({
      pipeline: `${standardPipeline},integer-layers`,
      passes: [integerLayers],
    });
    // Scales are f32, and one for each output.
    expectNearBound(report, 'W8A8', weights.products + 4 * weights.outputs + 2 * weights.norms);
    expect(report.kernels.filter(({ kernel }) => /^(linear|dequantize)/.test(kernel))).toEqual([]);
  });
});

test('reports of entries that do not exist (HEW7004)', async () => {
  await expect(
    reportModel({ spec: 'examples/pangu-2m/model.hew', entry: 'encode', cache: join(directory, 'cache') }),
  ).rejects.toMatchObject({ diagnostics: [{ code: 'HEW7004' }] });
});

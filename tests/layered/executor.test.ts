/** Running a model layer by layer gives the bits of running it whole. */
import { existsSync } from 'node:fs';
import { openModel, readTokenFile } from 'hew';
import { describe, expect, test } from 'vitest';
import { lowerModule, memoryOf } from '../../compiler/build.js';
import { type CalibrationData, fromTokens } from '../../compiler/calibration.js';
import { calibrationLoss } from '../../compiler/calibration-loss.js';
import { evaluateWindows } from '../../compiler/evaluate/tokens.js';
import { createExecutor, type ExecutorCall } from '../../compiler/executor.js';
import { LayeredExecutor } from '../../compiler/layered.js';
import { observe } from '../../compiler/observe.js';
import type { TensorSource } from '../../ir/materialise.js';
import type { Func, Module } from '../../ir/module.js';
import type { Probe, StatisticName } from '../../passes/probe.js';
import { stagesOf } from '../../passes/stages.js';
import { observedEntry, observedStructure } from '../../passes/structure.js';
import { tinyData, tinyModel } from '../prune/tiny-model.js';

const modes = { whole: Number.POSITIVE_INFINITY, layered: 0 } as const;

/** All outputs of some calls, by call and name. */
async function outputsOf(
  module: Module,
  source: TensorSource,
  sequences: readonly (readonly ExecutorCall[])[],
  residentBytes: number,
): Promise<unknown[]> {
  const executor = await createExecutor(module, source, { residentBytes });
  const [{ entry } = { entry: '' }] = sequences[0] ?? [];
  const { outputs = [] } = module.functions.get(entry) as Func;
  const found: unknown[] = [];
  await executor.run(
    { sequences, outputs },
    { outputs: (sequence, call, values) => found.push([sequence, call, values]) },
  );
  return found;
}

async function expectEqualOutputs(
  module: Module,
  source: TensorSource,
  sequences: readonly (readonly ExecutorCall[])[],
): Promise<void> {
  const [whole, layered] = await Promise.all(
    [modes.whole, modes.layered].map((bytes) => outputsOf(module, source, sequences, bytes)),
  );
  expect(layered).toEqual(whole);
}

const callsOf = ({ entry, calls }: CalibrationData): ExecutorCall[][] =>
  calls.map((call) => [{ entry, ...call }]);

describe('a tiny model', () => {
  const { module, source } = tinyModel();
  const data = tinyData(module, 3, 9);

  test('is cut in front of its loop and behind it', () => {
    const { stages, sharedStates } = stagesOf(module, 'prefill');
    expect(stages.map(({ loop }) => loop)).toEqual([undefined, 'layer', undefined]);
    expect(sharedStates).toEqual([]);
  });

  test.each(['true', 'false'])(
    'gives the same outputs (tied embeddings: %s)',
    async (tie_word_embeddings) => {
      const model = tinyModel({ tie_word_embeddings });
      await expectEqualOutputs(model.module, model.source, callsOf(data));
    },
  );

  test('gives the same outputs in calls that follow each other', async () => {
    const ids = [1, 5, 9, 2, 6, 30, 11];
    const part = (start: number, end: number): ExecutorCall => ({
      entry: 'prefill',
      inputs: { ids: Int32Array.from(ids.slice(start, end)) },
    });
    await expectEqualOutputs(module, source, [[part(0, 3), part(3, 4), part(4, 7)], [part(2, 6)]]);
  });

  test('gives the same outputs in rounds of one call', async () => {
    const { module: lowered } = await lowerModule(module);
    const { layouts } = await memoryOf(lowered);
    const turns: number[] = [];
    for (const carriedBytes of [undefined, 0]) {
      const executor = new LayeredExecutor(lowered, source, { layouts, carriedBytes });
      const found: unknown[] = [];
      const outputs = ['logits'];
      await executor.run(
        { sequences: callsOf(data), outputs },
        { outputs: (i, call, values) => found.push([i, call, values]), progress: (done) => turns.push(done) },
      );
      const whole = await createExecutor(module, source);
      const wanted: unknown[] = [];
      await whole.run(
        { sequences: callsOf(data), outputs },
        { outputs: (i, call, values) => wanted.push([i, call, values]) },
      );
      expect(found).toEqual(wanted);
    }
    // 6 stages for 3 calls at once, then one by one.
    expect(turns).toEqual([3, 6, 9, 12, 15, 18, ...Array.from({ length: 18 }, (_, i) => i + 1)]);
  });

  test('calls share a round by their own sizes, not by those that the model allows', async () => {
    const wide = { ...module, dims: new Map(module.dims).set('T', { min: 1, max: 2 ** 20 }) };
    const { module: lowered } = await lowerModule(wide);
    const turns: number[] = [];
    // 9 rows of 16 and of 32 numbers cross for each call, and little else.
    await new LayeredExecutor(lowered, source, { carriedBytes: 32 * 1024 }).run(
      { sequences: callsOf(data), outputs: ['logits'] },
      { progress: (done) => turns.push(done) },
    );
    expect(turns).toEqual([3, 6, 9, 12, 15, 18]);
  });

  test('without layers gives the same outputs', async () => {
    const none: Module = {
      ...module,
      dims: new Map(module.dims).set('layers', { value: 0 }),
      loops: new Map([...module.loops].map(([name, loop]) => [name, { ...loop, indices: [] }])),
    };
    await expectEqualOutputs(none, source, callsOf(data));
  });

  test('shows the same statistics for probes of every shape', async () => {
    const { attentions, norms, streams } = observedStructure(module);
    const final = norms.find(({ role }) => role === 'final');
    const [attention, stream, norm] = [attentions[0], streams[0], norms[0]];
    if (!attention || !stream || !norm || !final) throw new Error('the model has all of these');
    const places: Partial<Record<StatisticName, Probe['values']>> = {
      abs: [norm.result],
      square: [norm.result],
      scaled_square: [norm.result],
      reciprocal_rms: [norm.result],
      softmax: [norm.result],
      group_norm: [attention.result],
      projected_norm: [attention.result, ...attention.o.op.operands.slice(1, 2)],
      cosine: [stream.input, stream.output],
      moment: [norm.result, stream.output],
    };
    const inLoop = Object.entries(places).map(([key, values]): Probe => {
      const statistic = key as StatisticName;
      return { key, module, func: norm.func, values, statistic, eps: 1e-5 };
    });
    const behind: Probe = {
      key: 'final',
      module,
      func: final.func,
      values: [final.result],
      statistic: 'abs',
    };
    const probes = [...inLoop, behind];
    const [whole, layered] = await Promise.all(
      [modes.whole, modes.layered].map((residentBytes) => observe(probes, data, { source, residentBytes })),
    );
    for (const { sums } of whole?.values() ?? []) expect(sums.at(-1)?.some((value) => value > 0)).toBe(true);
    expect(layered).toEqual(whole);
  });

  test('probes of every call and of some find together what each finds alone', async () => {
    const [norm] = observedStructure(module).norms;
    if (norm === undefined) throw new Error('the model has norms');
    const calls = tinyData(module, 7, 5);
    const probe = (every: number): Probe => {
      const { func, result } = norm;
      return { key: `every ${every}`, module, func, values: [result], statistic: 'abs', every };
    };
    const probes = [1, 2, 3].map(probe);
    const together = await observe(probes, calls, { source });
    for (const one of probes) {
      const { every = 1, key } = one;
      const last = calls.calls.length - 1;
      const seen = { ...calls, calls: calls.calls.filter((_, i) => (last - i) % every === 0) };
      const alone = (await observe([{ ...one, every: 1 }], seen, { source })).get(key);
      const found = together.get(key);
      expect(found?.rows).toBe(5 * Math.ceil(7 / every));
      found?.sums.forEach((sum, turn) => {
        sum.forEach((value, i) => {
          expect(value).toBeCloseTo(alone?.sums[turn]?.[i] as number, 10);
        });
      });
    }
  });

  test('has the same likelihood, also of windows longer than a call', async () => {
    const windows = [5, 16, 2].map((length, i) => Int32Array.from({ length }, (_, at) => (at * 7 + i) % 32));
    const short = { ...module, dims: new Map(module.dims).set('T', { min: 1, max: 6 }) };
    const reports = [];
    for (const owner of [module, short])
      for (const residentBytes of [modes.whole, modes.layered])
        reports.push(
          await evaluateWindows(await createExecutor(owner, source, { residentBytes }), owner, windows),
        );
    const [first, ...others] = reports;
    expect(others[0]).toEqual(first);
    expect(others[2]).toEqual(others[1]);
    expect(others[1]?.nll).toBeCloseTo(first?.nll ?? 0, 5);
  });

  test('refuses calls that take turns between entries', async () => {
    const short = { ...module, dims: new Map(module.dims).set('T', { min: 4, max: 6 }) };
    const executor = await createExecutor(short, source, { residentBytes: modes.layered });
    const window = Int32Array.from({ length: 8 }, (_, i) => i);
    await expect(evaluateWindows(executor, short, [window])).rejects.toThrow(
      /HEW6030: entries prefill and decode/,
    );
  });
});

const trained = ['pangu-2m', 'moge-8m', 'mole-7m', 'dit-1m'];

describe.each(trained)('%s', (name) => {
  const folder = `../shared/models/${name}`;
  const reason = existsSync(`${folder}/model.safetensors`) ? undefined : `${folder} is absent`;
  if (reason !== undefined) console.log(`skipping ${name}: ${reason}`);

  test.skipIf(reason !== undefined)('gives the same outputs and figures', async () => {
    const model = openModel({ spec: `examples/${name}/model.hew` });
    try {
      const { module, source } = model;
      const entry = observedEntry(module) as Func;
      if (source === undefined) throw new Error('the model has weights');
      if (entry.name === 'denoise') {
        const x = Float32Array.from({ length: 2 * 32 * 32 }, (_, i) => Math.sin(i * 0.7));
        const call: ExecutorCall = {
          entry: entry.name,
          inputs: { x, t: Int32Array.of(500, 20), y: Int32Array.of(3, 36) },
          symbols: new Map([['B', 2]]),
        };
        await expectEqualOutputs(module, source, [[call]]);
        return;
      }
      const windows = readTokenFile(`${folder}/golden.safetensors`, { tensor: 'eval_tokens' })
        .slice(0, 2)
        .map((window) => window.subarray(0, 40));
      const data = fromTokens(module, windows);
      await expectEqualOutputs(module, source, callsOf(data));
      const losses = [];
      for (const residentBytes of [modes.whole, modes.layered])
        losses.push(await calibrationLoss(module, { source, data, original: module, residentBytes }));
      expect(losses[1]).toBe(losses[0]);
    } finally {
      model.close();
    }
  });
});

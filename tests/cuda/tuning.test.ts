/** Measured choices for kernels: the table of parameters, what `hew tune` measures on a GPU that is made up here, and its files. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type CompiledKernels,
  checkArchitecture,
  compile,
  type Gpu,
  type KernelCall,
  readTuning,
  type TuneOptions,
  type TuningDevice,
  type TuningFile,
  tune,
  tuneModule,
} from 'hew';
import { describe, expect, test, vi } from 'vitest';
import { candidatesOf, requestsOf } from '../../backends/cuda/candidates.js';
import { emitCuda, lower } from '../../backends/cuda/compile.js';
import {
  batchBytes,
  choicesOf,
  recordText,
  requestKey,
  tuningOf,
  untuned,
} from '../../backends/cuda/tuning.js';
import type { LaunchStep, PlanStep } from '../../backends/native/manifest.js';
import { difference, madeUp } from '../../compiler/tuning/operands.js';
import { fail } from '../../ir/diagnostics.js';
import type { Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { codeOf } from '../checkpoint/hew-errors.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { byteLayerCases } from './byte-caches.js';
import { type DecodingCase, layerCases, productCases } from './decoding.js';
import { streamingCases } from './streaming.js';

const directory = scratchDirectory();
const spec = 'examples/pangu-2m/model.hew';
const hopper: Gpu = { name: 'made up', architecture: 'sm_90a', multiprocessors: 132 };

const cases = [...layerCases, ...productCases, ...streamingCases];

const lowered = (name: string): Module => {
  const found = cases.find((c) => c.name.startsWith(name));
  return lower((found ?? fail('HEW9001', name)).module, 'bf16').module;
};

describe('the table of parameters', () => {
  test('choices are distinct, and the default is the first', () => {
    for (const { module } of cases)
      for (const { kind, shape } of requestsOf(lower(module, 'bf16').module)) {
        const texts = choicesOf(kind, shape).map(recordText);
        expect(new Set(texts).size, requestKey(kind, shape)).toBe(texts.length);
        expect(texts.length).toBeGreaterThan(1);
      }
  });

  test('candidates of products on tensor cores fit the shared memory of a block', () => {
    const shape = {
      rows: 32,
      columns: 4096,
      inner: 4096,
      all: 4096,
      weights: 1,
      x: 'read',
      dtype: 'bf16',
      group: 0,
      words: 4,
    } as const;
    const tiles = choicesOf('batch', shape).map((choice) => choice.tiles);
    expect(new Set(tiles)).toEqual(new Set([1, 2]));
    for (const count of tiles) expect(batchBytes(32, 1, count)).toBeLessThanOrEqual(48 * 1024);
  });

  test('integers of several turns keep one ahead', () => {
    const shape = {
      columns: 153376,
      inner: 4096,
      all: 153376,
      weights: 1,
      x: 'read',
      dtype: 'i4',
      group: 128,
    } as const;
    const steps = 4096 / 32 / 32;
    for (const { turns, ahead } of choicesOf('packed', shape)) if (turns > 1) expect(ahead).toBe(steps);
  });
});

describe('candidates', () => {
  test('attention over bytes is a shape of its own, with bytes and scales among the caches that rotate', () => {
    const { module } = lower((byteLayerCases[1] as DecodingCase).module, 'bf16');
    const request =
      requestsOf(module).find(({ kind }) => kind === 'decode') ?? fail('HEW9001', 'no attention');
    expect(request.shape).toMatchObject({ width: 64, cache: 'bytes' });
    const { cuda, launches } = candidatesOf(module, request, untuned);
    expect(cuda.source).toContain('attend_tiles<');
    const plan = cuda.plans.get('candidate_0') ?? [];
    expect(plan.filter((step) => 'copy' in step)).toEqual([]);
    expect(plan).toHaveLength(launches);
  });

  test('every copy of a kernel has its own parameters and rotates among operands', () => {
    const module = lowered('layer of 1 x 64');
    const request =
      requestsOf(module).find(({ kind }) => kind === 'decode') ?? fail('HEW9001', 'no attention');
    const { choices, copies, launches, cuda, checked } = candidatesOf(module, request, untuned);
    expect(copies).toHaveLength(choices.length);
    expect(launches).toBe(16);
    expect(checked).toHaveLength(1);
    choices.forEach((choice, i) => {
      const { splits } = choice as { readonly splits: number };
      const from = cuda.source.indexOf(` kernel_${i}(`);
      expect(cuda.source.slice(from, from + 4000)).toContain(`kSplits = ${splits},`);
      const plan = cuda.plans.get(`candidate_${i}`) ?? [];
      const own = plan.filter((step: PlanStep): step is LaunchStep => 'kernel' in step);
      expect(own.map(({ kernel }) => kernel)).toEqual(Array(16).fill(`kernel_${i}`));
      expect(new Set(own.map(({ pointers }) => JSON.stringify(pointers))).size).toBe(16);
      // Caches are appended to where they lie.
      expect(plan.filter((step) => 'copy' in step)).toEqual([]);
    });
  });

  test('weights are parameters, and what is computed in a model is an input', () => {
    const module = lowered('product of 8 x 96 with bf16');
    const [request] = requestsOf(module);
    const { cuda } = candidatesOf(module, request ?? fail('HEW9001', 'nothing'), untuned);
    const names = [...cuda.module.params.keys()].map((name) => name.split('.')[0]);
    expect(new Set(names).size).toBeLessThanOrEqual(2);
    expect(cuda.module.functions.get('candidate_0')?.args.map(({ type }) => type.dtype)).toContain('bf16');
  });
});

/** The kernel of a copy in the source of a module of candidates. */
function copyOf(source: string, i: number): string {
  const from = source.indexOf(` kernel_${i}(`);
  const to = source.indexOf(` kernel_${i + 1}(`, from);
  return source.slice(from, to < 0 ? undefined : to);
}

describe.each([
  ['row', 'layer_norm: long rows', { warps: 4 }, ['threadIdx.x / 128', '= group_sum<4>(']],
  ['row', 'softmax: odd rows', { warps: 2 }, ['threadIdx.x / 64', '= group_max<2>(']],
  ['row', 'rms_norm: few rows', { warps: 4 }, ['own[5][4]']],
  ['reduce', 'reduce_max: of all', { warps: 8 }, ['element += 256', 'group_reduce<8>(total, ']],
  ['pointwise', 'mul: rows of fours', { turns: 4 }, ['values[4][4]', 'if (quad >= (T * 18)) continue;']],
  [
    'flash',
    'attention: many queries behind',
    { keys: 128, resident: 1, hopper: 'none' },
    ['attend_tile<32, 128>('],
  ],
  ['grouped', 'grouped_linear: few slots', { perWarp: 2, resident: 3 }, ['vector_product<1, N, K, 2>(']],
] as const)('a choice of kind %s for %s', (kind, name, choice, code) => {
  test('is what its kernel is made of', () => {
    const module = lowered(name);
    const request = requestsOf(module).find((own) => own.kind === kind) ?? fail('HEW9001', 'no request');
    const { choices, cuda } = candidatesOf(module, request, untuned);
    const at = choices.findIndex((other) => recordText(other) === recordText(choice));
    for (const part of code) expect(copyOf(cuda.source, at)).toContain(part);
    for (const part of code) expect(copyOf(cuda.source, 0)).not.toContain(part);
    const launched = (entry: string): unknown[] =>
      (cuda.plans.get(entry) ?? []).flatMap((step: PlanStep) => ('kernel' in step ? [step.grid] : []));
    expect(launched('candidate_0').length).toBeGreaterThan(0);
    const sameGrid = kind === 'flash';
    if (sameGrid) expect(launched(`candidate_${at}`)).toEqual(launched('candidate_0'));
    else expect(launched(`candidate_${at}`)).not.toEqual(launched('candidate_0'));
  });
});

describe('results', () => {
  const of = (dtype: 'f32' | 'i8', ...values: number[]): Uint8Array => encodeBytes(dtype, values);

  test('floats agree up to the order of sums, integers to the last bit or the last step', () => {
    expect(difference('f32', of('f32', 1, 2), of('f32', 1, 2.00001), false)).toBeUndefined();
    expect(difference('f32', of('f32', 1, 2), of('f32', 1, 2.01), false)).toContain('differ by');
    expect(difference('f32', of('f32', 1, 2), of('f32', 1, Number.NaN), false)).toContain('differ by');
    expect(
      difference('f32', of('f32', 1, Number.NaN), of('f32', 1.00001, Number.NaN), false),
    ).toBeUndefined();
    expect(difference('i8', of('i8', 3, 4), of('i8', 3, 5), false)).toBeUndefined();
    expect(difference('i8', of('i8', 3, 4), of('i8', 3, 5), true)).toBe('another result');
    expect(difference('i8', of('i8', 3, 4), of('i8', 3, 6), false)).toBe('integers differ by 2');
  });

  test('operands are made up', () => {
    expect(new Int32Array(madeUp('i32', 3, 7).buffer)).toEqual(Int32Array.of(7, 7, 7));
    const indices = new Set(new Int32Array(madeUp('i32', 200, { below: 6 }).buffer));
    expect(indices).toEqual(new Set([0, 1, 2, 3, 4, 5]));
    const floats = new Float32Array(madeUp('f32', 200_000, 0).buffer);
    expect(Math.max(...floats.subarray(0, 1000))).toBeGreaterThan(0.9);
    expect(new Set(floats).size).toBeGreaterThan(60_000);
    expect(new Set(madeUp('i4', 1000, 0)).size).toBeGreaterThan(100);
  });
});

/** A GPU on which the candidate of the given number is the fastest, and another gives something else. */
function fakeDevice(fastest: number, wrong: number, gpu = hopper) {
  const measured: string[] = [];
  const made = { states: 0, open: 0, measured };
  const compiled: CompiledKernels = {
    open: async () => {
      made.open++;
      const number = ({ entry }: KernelCall): number => Number(entry.split('_')[1]);
      return {
        writeState: () => made.states++,
        run: (call, _output, bytes) => new Uint8Array(bytes).fill(number(call) === wrong ? 63 : 0),
        measure: (call, _outputs, repeats) => {
          measured.push(call.entry);
          return Array.from({ length: repeats }, (_, i) => (number(call) === fastest ? 1 : 2) + i / 1000);
        },
        close: () => made.open--,
      };
    },
  };
  const device: TuningDevice = { gpu, compile: async () => compiled };
  return { device, made };
}

const options = (name: string, more: Partial<TuneOptions> = {}): TuneOptions => ({
  spec,
  output: join(directory, name),
  kinds: ['decode'],
  ...more,
});

describe('measuring', () => {
  test('the fastest candidate with the result of the default is chosen, and stored with all times', async () => {
    const { device, made } = fakeDevice(5, 7);
    const report = await tune(options('decode.json'), device);
    expect(report.failed).toEqual([]);
    const [entry] = report.entries;
    const choices = entry?.measured ?? [];
    expect(entry?.choice).toEqual(choices[5]?.parameters);
    expect(choices[7]).toEqual({
      parameters: choices[7]?.parameters,
      refused: expect.stringContaining('differ by'),
    });
    expect(choices[5]?.microseconds).toBeCloseTo((1000 * 1.003) / 16, 2);
    expect(choices[0]?.microseconds).toBeCloseTo((1000 * 2.003) / 16, 2);
    // In turns, without the one that is wrong.
    expect(made.measured.slice(0, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 8].map((i) => `candidate_${i}`));
    expect(made.measured.filter((name) => name === 'candidate_3')).toHaveLength(3);
    expect(made.open).toBe(0);
    // Caches of the kernel alone, and the position of the model, without and with the choice, in each round and entry.
    expect(made.states).toBe(32 + 2 * 3 * 2);
    expect(readTuning(report.output).entries).toEqual(report.entries);
  });

  test('a choice that makes the whole model slower is taken back', async () => {
    const { device } = fakeDevice(1, -1);
    const asked: string[] = [];
    // The model itself has entries of other names: it is slower with one of the choices for attention.
    const slower: TuningDevice['compile'] = async (manifest, source, files) => {
      expect(manifest.weights.map(({ file }) => file)).toEqual([...files.keys()]);
      expect(files.size).toBe('candidate_0' in manifest.entries ? 0 : 1);
      const kernels = await device.compile(manifest, source, files);
      const splits = [...source.matchAll(/kSplits = (\d+),/g)].map(([, own]) => Number(own));
      const open: CompiledKernels['open'] = async () => {
        const opened = await kernels.open();
        const measure: typeof opened.measure = (call, outputs, repeats) => {
          if (call.entry.startsWith('candidate')) return opened.measure(call, outputs, repeats);
          asked.push(`${call.entry} ${JSON.stringify(call.symbols)}`);
          return Array.from({ length: repeats }, () => (splits.includes(1) ? 3 : 2));
        };
        return { ...opened, measure };
      };
      return { open };
    };
    const tuneWith = (name: string, compile: TuningDevice['compile'], kinds = ['decode', 'vector']) =>
      tune(options(name, { kinds, symbols: { T: [16, 64] } }), { ...device, compile });
    const report = await tuneWith('whole.json', slower);
    expect(new Set(asked)).toEqual(new Set(['decode {}', 'prefill {"T":16}', 'prefill {"T":64}']));
    for (const { kind, choice, measured, whole } of report.entries) {
      const lost = kind === 'decode';
      expect(whole, kind).toBeCloseTo(lost ? 2 / 3 : 1, 4);
      expect(choice).toEqual(measured[lost ? 0 : 1]?.parameters);
    }
    expect(readTuning(report.output).entries).toEqual(report.entries);
    // A model that cannot be opened leaves the choices as they are.
    const refused: TuningDevice['compile'] = async (manifest, ...more) => {
      const { open } = await device.compile(manifest, ...more);
      return { open: () => ('candidate_0' in manifest.entries ? open() : fail('HEW6214', 'too large')) };
    };
    const alone = await tuneWith('alone.json', refused, ['decode']);
    expect(alone.failed).toEqual([{ key: 'the whole model', reason: 'HEW6214: too large' }]);
    expect(alone.entries[0]?.choice).toEqual(alone.entries[0]?.measured[1]?.parameters);
  });

  test('slots choose among all experts', async () => {
    const { device } = fakeDevice(1, -1);
    const chosen: number[] = [];
    const compile: TuningDevice['compile'] = async (...args) => {
      const kernels = await device.compile(...args);
      const open: CompiledKernels['open'] = async () => {
        const opened = await kernels.open();
        const run: typeof opened.run = (call, ...more) => {
          for (const { data } of call.inputs)
            if (data.byteLength === 16) chosen.push(...new Int32Array(data.buffer));
          return opened.run(call, ...more);
        };
        return { ...opened, run };
      };
      return { open };
    };
    const name = 'grouped_linear: few slots';
    const { module } = cases.find((c) => c.name === name) ?? fail('HEW9001', name);
    const report = await tuneModule(
      module,
      { output: join(directory, 'grouped.json'), kinds: ['grouped'] },
      { ...device, compile },
    );
    expect(report.entries.map(({ kind }) => kind)).toEqual(['grouped']);
    expect(new Set(chosen).size).toBeGreaterThan(1);
    expect(Math.max(...chosen)).toBeLessThan(6);
    expect(readTuning(report.output).entries).toEqual(report.entries);
  });

  test('a gain within the noise does not replace the default', async () => {
    const { device } = fakeDevice(-1, -1);
    const report = await tune(options('noise.json'), device);
    expect(report.entries[0]?.choice).toEqual(report.entries[0]?.measured[0]?.parameters);
  });

  test('rows are measured at the sizes asked for, and what a file has stays', async () => {
    const sizes = { kinds: ['tile'], symbols: { T: [16, 100] } };
    const first = await tune(options('both.json', sizes), fakeDevice(3, -1).device);
    expect(new Set(first.entries.map(({ shape }) => shape.rows))).toEqual(new Set([16, 128]));
    await tune(options('both.json'), fakeDevice(1, -1).device);
    const file = readTuning(join(directory, 'both.json'));
    expect(file.entries).toHaveLength(first.entries.length + 1);
    await tune(options('both.json'), fakeDevice(1, -1).device);
    expect(readTuning(join(directory, 'both.json'))).toEqual(file);
  });

  test('a shape that nvcc refuses does not stop the others', async () => {
    const { device } = fakeDevice(1, -1);
    let calls = 0;
    const compile: TuningDevice['compile'] = async (...args) =>
      calls++ === 0 ? fail('HEW6210', 'no') : device.compile(...args);
    const report = await tune(options('some.json', { kinds: ['decode', 'vector'] }), { ...device, compile });
    expect(report.failed.map(({ reason }) => reason)).toEqual(['HEW6210: no']);
    expect(report.entries.length).toBeGreaterThan(3);
  });

  test('unknown kinds and symbols, and a GPU that runs none of the kinds, are told', async () => {
    const { device } = fakeDevice(1, -1);
    const old = { ...device, gpu: { ...hopper, architecture: 'sm_80' } };
    expect(await codeOf(() => tune(options('x.json', { kinds: ['decoder'] }), device))).toBe('HEW7004');
    expect(await codeOf(() => tune(options('x.json', { symbols: { B: [1] } }), device))).toBe('HEW7004');
    expect(await codeOf(() => tune(options('x.json', { kinds: ['tile'] }), old))).toBe('HEW6243');
    expect(await codeOf(() => tune(options('decode.json'), old))).toBe('HEW6242');
  });
});

describe('compiling with a file', () => {
  const kernelsOf = (output: string): string => readFileSync(join(output, 'kernels.cu'), 'utf8');

  test('kernels take what was chosen, and equal files give equal bundles', async () => {
    vi.stubEnv('HEW_NVCC', '');
    const { output: tuning } = await tune(
      options('all.json', { kinds: ['decode', 'tile'], symbols: { T: [100] } }),
      fakeDevice(2, -1).device,
    );
    const { entries } = readTuning(tuning);
    const splits = entries.find(({ kind }) => kind === 'decode')?.choice.splits;
    const tile = entries.find(({ kind }) => kind === 'tile')?.choice.tile;
    const outputs = ['tuned', 'again', 'plain'].map((name) => join(directory, name));
    for (const output of outputs)
      await compile({ spec, output, target: 'cuda', tuning: output.endsWith('plain') ? undefined : tuning });
    const [tuned, again, plain] = outputs.map((output) => [
      kernelsOf(output),
      JSON.stringify(JSON.parse(readFileSync(join(output, 'manifest.json'), 'utf8'))),
    ]);
    expect(tuned).toEqual(again);
    expect(tuned?.[0]).toContain(`kSplits = ${splits},`);
    expect(plain?.[0]).not.toContain(`kSplits = ${splits},`);
    const preferred = [
      ...(tuned?.[1] ?? '').matchAll(/"kernel":"\w+_(\w+)"[^{}]*"preferred":\[\[65,128\]\]/g),
    ];
    expect(preferred.length).toBeGreaterThan(3);
    expect(new Set(preferred.map(([, name]) => name))).toEqual(new Set([tile]));
    expect(plain?.[1]).not.toContain('preferred');
    vi.unstubAllEnvs();
  });

  test('the ranges of neighbouring buckets of rows are one', () => {
    const module = lowered('product of 33 x 1056');
    const { plans } = emitCuda(module, {
      tuning: (request) => (request.kind === 'tile' ? ({ tile: 'low' } as never) : undefined),
    });
    const variants = (plans.get('main') ?? []).flatMap((step) =>
      'kernel' in step ? (step.variants ?? []) : [],
    );
    expect(
      variants.flatMap(({ kernel, preferred }) => (preferred ? [[kernel.split('_').at(-1), preferred]] : [])),
    ).toEqual([
      ['low', [[33, 64]]],
      ['low', [[33, 64]]],
    ]);
  });

  test('choices go by the whole shape', () => {
    const module = lowered('product of 8 x 1056');
    const requests = requestsOf(module);
    const [request] = requests;
    const key = requestKey('batch', request?.shape ?? {});
    const tuning = tuningOf(new Map([[key, { tiles: 4, ahead: 1, resident: 2 }]]));
    const { source } = emitCuda(module, { tuning });
    expect(source).toMatch(/__launch_bounds__\(256, 2\)/);
    expect(source.match(/batch_product<8, \d+, 1056, 4, 1>/g)).toHaveLength(
      requests.filter(({ kind, shape }) => requestKey(kind, shape) === key).length,
    );
  });
});

describe('files', () => {
  const good: TuningFile = {
    format: 'hew-tuning',
    version: 1,
    gpu: hopper,
    entries: [
      {
        kind: 'decode',
        shape: { rows: 2, width: 32, keyHeads: 2, length: 2048 },
        choice: { splits: 8, resident: 3 },
        measured: [],
      },
    ],
  };
  const written = (content: unknown): string => {
    const path = join(directory, 'file.json');
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const withEntry = (more: object) => ({ ...good, entries: [{ ...good.entries[0], ...more }] });

  test('a file is read as it was written', () => {
    expect(readTuning(written(good))).toEqual(good);
  });

  test.each([
    ['text that is no JSON', '{', 'HEW6240', /not valid JSON/],
    ['another format', { ...good, format: 'other' }, 'HEW6240', /not a tuning file/],
    ['another version', { ...good, version: 2 }, 'HEW6240', /not a tuning file/],
    ['a field too many', { ...good, more: 1 }, 'HEW6240', /not a tuning file/],
    [
      'no architecture',
      { ...good, gpu: { ...hopper, architecture: 'gfx90a' } },
      'HEW6240',
      /not a tuning file/,
    ],
    [
      'two entries of a shape',
      { ...good, entries: [...good.entries, ...good.entries] },
      'HEW6240',
      /two entries/,
    ],
    ['an unknown kind', withEntry({ kind: 'decoder' }), 'HEW6241', /no kernels of kind 'decoder'/],
    ['another shape', withEntry({ shape: { rows: 2 } }), 'HEW6241', /no shape of kind 'decode'/],
    [
      'an unknown parameter',
      withEntry({ choice: { split: 8, resident: 3 } }),
      'HEW6241',
      /no parameter 'split'/,
    ],
    [
      'a value that is no choice',
      withEntry({ choice: { splits: 7, resident: 3 } }),
      'HEW6241',
      /none of the choices/,
    ],
    ['a GPU without code', { ...good, gpu: { ...hopper, architecture: 'sm_75' } }, 'HEW6242', /sm_75/],
  ] as const)('%s is refused', async (_, content, code, message) => {
    const path = written(content);
    expect(await codeOf(() => readTuning(path))).toBe(code);
    expect(() => readTuning(path)).toThrow(message);
    expect(
      await codeOf(() => compile({ spec, output: join(directory, 'never'), target: 'cuda', tuning: path })),
    ).toBe(code);
  });

  test('another architecture, a missing file and another target are told', async () => {
    const path = written(good);
    checkArchitecture(good, path, hopper);
    const other = { ...hopper, name: 'older', architecture: 'sm_80' };
    expect(await codeOf(() => checkArchitecture(good, path, other))).toBe('HEW6242');
    const missing = await hew([
      'compile',
      spec,
      '--target',
      'cuda',
      '--tuning',
      join(directory, 'none.json'),
    ]);
    expect(missing.stderr).toContain('HEW3001');
    const wrong = await hew(['compile', spec, '--tuning', path]);
    expect(wrong.stderr).toContain('HEW6211');
    const device = await hew(['tune', spec, '--device', 'ascend-host']);
    expect(device.stderr).toContain('HEW8001');
  });
});

/** Calibration data from every source: what is read, made and refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CalibrationData, openCalibration } from 'hew';
import { describe, expect, test } from 'vitest';
import { runDataPipeline } from '../../compiler/data-pipeline.js';
import { createTokenizer } from '../../compiler/tokenizer.js';
import { parsePipeline, type StepReport } from '../../passes/pipeline.js';
import { scratchDirectory } from '../cli/run-cli.js';
import { tinyDit, tinyModel } from './tiny-model.js';

const directory = scratchDirectory();
const tokenizerFile = 'examples/pangu-2m/tokenizer.json';
// The tokenizer's vocabulary, and room for 16 tokens in a call.
const tiny = { ...tinyModel({ vocab_size: '4096' }), tokenizerFile };
const dit = { ...tinyDit(), tokenizerFile: undefined };

function file(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

const sentence = 'def area(width, height):\n    return width * height\n\n';

describe('text', () => {
  test('is cut into windows of what its tokenizer makes of it', async () => {
    const path = file('corpus.txt', sentence.repeat(6));
    const ids = createTokenizer(readFileSync(tokenizerFile, 'utf8')).encode(sentence.repeat(6));
    const { windows = [] } = await openCalibration(tiny, path);
    expect(
      windows
        .map(({ length }) => length)
        .slice(0, -1)
        .every((length) => length === 16),
    ).toBe(true);
    expect(windows.flatMap((window) => [...window])).toEqual(
      ids.slice(0, windows.flatMap((w) => [...w]).length),
    );
    expect(ids.length - windows.flatMap((w) => [...w]).length).toBeLessThan(2);
  });

  test('longer than one piece is encoded no further than needed', async () => {
    const path = file('long.txt', sentence.repeat(40_000));
    const { windows = [] } = await openCalibration(tiny, path, { window: 8, windows: 3 });
    expect(windows.map(({ length }) => length)).toEqual([8, 8, 8]);
  });

  test.each([
    ['empty', '', {}, /HEW6011.*holds 0 tokens; a window needs two/],
    ['shorter than a window', 'x = 1\n', { window: 16 }, /HEW6011.*a window of 16 was asked for/],
    ['binary', new Uint8Array([1, 0, 2]), {}, /HEW6011.*neither UTF-8 text nor/],
    ['not UTF-8', new Uint8Array([0xff, 0xfe, 0x41]), {}, /HEW6011.*neither UTF-8 text nor/],
    ['asked for in windows of one token', sentence, { window: 1 }, /HEW6011.*window is 1/],
    [
      'asked for in windows longer than a call',
      sentence.repeat(9),
      { window: 17 },
      /HEW6011: calibration window 0 has 17 tokens/,
    ],
    ['asked for in no windows', sentence, { windows: 0 }, /HEW6011.*windows is 0/],
  ])('that is %s is refused', async (_what, content, options, message) => {
    await expect(openCalibration(tiny, file('bad.txt', content), options)).rejects.toThrow(message);
  });

  test('needs a tokenizer and a file', async () => {
    const path = file('corpus.txt', sentence);
    await expect(openCalibration({ ...tiny, tokenizerFile: undefined }, path)).rejects.toThrow(
      /HEW6011.*no tokenizer/,
    );
    await expect(openCalibration(tiny, join(directory, 'none.txt'))).rejects.toThrow(/HEW3001/);
  });
});

describe('generated text', () => {
  test('is the same for the same seed, and other for another', async () => {
    const made: CalibrationData[] = [];
    for (const seed of [3, 3, 4]) made.push(await openCalibration(tiny, `generate:2x6,seed=${seed}`));
    const [a, b, c] = made.map(({ windows }) => windows?.map((window) => [...window]));
    expect(a?.map(({ length }) => length)).toEqual([6, 6]);
    expect(b).toEqual(a);
    expect(c).not.toEqual(a);
    expect(a?.[0]).not.toEqual(a?.[1]);
  });

  test.each([
    ['generate:2x1', /HEW6011.*length cannot be '1'/],
    ['generate:0x8', /HEW6011.*windows cannot be '0'/],
    ['generate:2x8x9x1x3', /HEW6011.*no setting/],
    ['generate:colour=1', /HEW6011.*no setting 'colour'/],
    ['generate:2x8,4', /HEW6011.*is not name=value/],
    ['generate:1x99', /HEW6011.*calibration window 0 has 99 tokens|HEW6011.*context ends/],
    ['sample:2', /declares no diffusion sampler/],
  ])('%s is refused', async (from, message) => {
    await expect(openCalibration(tiny, from)).rejects.toThrow(message);
  });
});

describe('samples of a diffusion model', () => {
  test('are the calls that drawing them makes', async () => {
    const data = await openCalibration(dit, 'sample:6,steps=3,seed=1');
    // In each of 3 steps three samples without guidance, then three with it, which are six in batches of 4 and 2.
    expect(data.calls.map(({ symbols }) => symbols.get('B'))).toEqual([3, 3, 3, 4, 2, 4, 2, 4, 2]);
    const times = data.calls.map(({ inputs }) => (inputs.t as Int32Array)[0]);
    expect(times[0]).toBe(999);
    expect(times.at(-1)).toBe(0);
    const again = await openCalibration(dit, 'sample:6,steps=3,seed=1');
    expect(again.fingerprint).toBe(data.fingerprint);
  });

  test('calibrate pruning, and judge what comes out', async () => {
    const data = await openCalibration(dit, 'sample:4,steps=2');
    const pipeline = parsePipeline('prune{heads=2,ffn=50%},prune{blocks=1,by=greedy}');
    const { module, reports } = await runDataPipeline(dit.module, pipeline, { source: dit.source, data });
    expect(module.dims.get('blocks')).toEqual({ value: 1 });
    const { blocks } = (reports[1] as StepReport).details as { blocks: { scores: number[] } };
    expect(blocks.scores.some((score) => score > 0 && Number.isFinite(score))).toBe(true);
  }, 60_000);

  test('do not exist for a language model, nor text for a diffusion model', async () => {
    await expect(openCalibration(dit, 'generate')).rejects.toThrow(/HEW6011.*writes no text/);
  });
});

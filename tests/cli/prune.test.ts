/** hew prune: what it writes loads again and is the model that the passes made; what it refuses leaves nothing behind. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PruneReport } from 'hew';
import { beforeAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { ints } from './fixture.js';
import { writePanguFiles } from './pangu-files.js';
import { hew, parsed, scratchDirectory } from './run-cli.js';

const directory = scratchDirectory();
const path = (name: string): string => join(directory, name);

let model: readonly string[] = [];

function prune(pipeline: string, output: string, ...more: string[]) {
  return hew(['prune', ...model, '--pipeline', pipeline, '-o', output, '--no-cache', ...more]);
}

function reportOf(output: string): PruneReport {
  return parsed(readFileSync(join(output, 'prune.json'), 'utf8')) as unknown as PruneReport;
}

beforeAll(async () => {
  model = await writePanguFiles(directory);
});

describe('hew prune', () => {
  test('writes a model, a bundle and a report', async () => {
    const output = path('small');
    const result = await prune(
      'prune{layers=2},clap,prune{d=75%,ffn=-25%},slnp,absorb-post-norm',
      output,
      '--eval',
      path('tokens.safetensors'),
      '--json',
    );
    expect(result.stderr).not.toMatch(/error/);
    expect(result.code).toBe(0);
    const report = parsed(result.stdout);
    expect(report).toMatchObject({
      ok: true,
      reloadDifference: 0,
      after: { dims: { d: 12, ffn: 18, layers: 2, hd: 4 } },
    });
    const { passes, layers, before, after } = report as unknown as PruneReport;
    const nlls = passes.map((pass) => pass.after.nll);
    expect(nlls.every((nll) => nll !== undefined && Number.isFinite(nll))).toBe(true);
    expect(passes.at(-1)?.after).toEqual(after);
    expect(passes[0]?.after.parameters).toBeLessThan(before.parameters);
    expect(layers.map(({ loop, index }) => `${loop} ${index}`)).toHaveLength(2);
    // d = 12, ffn = 18: norms, q, k, v, o and the three layers of SwiGLU; post-norms are gone.
    expect(layers[0]?.parameters).toBe(2 * 12 + 12 * (16 + 8 + 8 + 16) + 3 * 12 * 18);
    expect(readdirSync(output).sort()).toEqual([
      'bundle',
      'config.json',
      'model.hew',
      'model.safetensors',
      'prune.json',
    ]);
    const written = parsed(readFileSync(join(output, 'config.json'), 'utf8'));
    expect(written).toMatchObject({
      hidden_size: 12,
      intermediate_size: 18,
      num_hidden_layers: 2,
      head_dim: 4,
      sandwich_norm: false,
    });
    const checkpoint = openCheckpoint(join(output, 'model.safetensors'));
    expect(checkpoint.tensors.get('model.layers.1.mlp.down_proj.weight')?.shape).toEqual([12, 18]);
    expect(
      [...checkpoint.tensors.keys()].filter((name) => name.includes('layers.2') || name.includes('post_')),
    ).toEqual([]);
    checkpoint.close();
    const again = await hew([
      'eval',
      join(output, 'bundle'),
      '--tokens',
      path('tokens.safetensors'),
      '--json',
    ]);
    expect(parsed(again.stdout).nll).toBeCloseTo((report.after as { nll: number }).nll, 9);
  }, 120_000);

  test('prints what was done, and replaces what it wrote before', async () => {
    const output = path('twice');
    await prune('prune{ffn=50%}', output);
    const { stdout, code } = await prune('prune{heads=2}', output);
    expect(code).toBe(0);
    expect(stdout).toMatch(/heads: 2 of 4 kept in each of 3 turns of layer/);
    expect(stdout).toMatch(
      /turns of layer, \d+\.\d % of the score removed \(\d+\.\d % in turn \d to \d+\.\d % in turn \d\)/,
    );
    expect(stdout).toMatch(/heads +4 +2 +50\.0 %/);
    expect(stdout).toMatch(/after +parameters +weights +FLOPs\nnothing .*\nprune /);
    expect(stdout).toMatch(/each of 3 turns of layer: .* parameters, .* FLOPs/);
    expect(readdirSync(directory).filter((name) => name.startsWith('.twice'))).toEqual([]);
  }, 120_000);

  test('meets a budget, and says how', async () => {
    const output = path('budget');
    const args = ['prune', ...model, '--calib', path('tokens.safetensors'), '-o', output];
    const { stdout, code } = await hew([...args, '--target-params', '90%']);
    expect(code).toBe(0);
    expect(stdout).toMatch(/\d+ params of at most \d+ params \(\d\d\.\d\d %\)/);
    expect(stdout).toMatch(/chosen: .*=\d+.*, calibration loss \d/);
    expect(stdout).toMatch(/equal shares: /);
    const { before, after } = reportOf(output);
    expect(after.parameters).toBeLessThanOrEqual(0.9 * before.parameters);
    const nothing = await hew(args);
    expect(nothing.stderr).toMatch(/HEW6002.*nothing says what to prune/);
  }, 120_000);

  test('takes text that the model writes itself', async () => {
    const result = await prune('prune{ffn=50%}', path('synthetic'), '--calib', 'generate:2x8', '--json');
    expect(result.code).toBe(0);
    expect(parsed(result.stdout)).toMatchObject({ after: { dims: { ffn: 12 } } });
  }, 120_000);

  test('writes layers that lost different norms as a spec', async () => {
    const output = path('partial');
    const { code } = await prune('absorb-post-norm{share=0.5}', output);
    expect(code).toBe(0);
    const { layers, reloadDifference } = reportOf(output);
    expect(reloadDifference).toBe(0);
    expect(new Set(layers.map(({ loop }) => loop)).size).toBeGreaterThan(1);
    expect(new Set(layers.map(({ parameters }) => parameters)).size).toBeGreaterThan(1);
    expect(parsed(readFileSync(join(output, 'config.json'), 'utf8'))).toMatchObject({
      sandwich_norm: true,
      absorbed_post_norms: true,
    });
    // What was written is a model like any other: the rest of its norms can go too.
    const rest = path('partial-rest');
    const again = ['prune', join(output, 'model.hew'), '--calib', path('tokens.safetensors'), '-o', rest];
    expect((await hew([...again, '--pipeline', 'absorb-post-norm', '--no-cache'])).code).toBe(0);
    expect(new Set(reportOf(rest).layers.map(({ parameters }) => parameters)).size).toBe(1);
  }, 120_000);

  test('writes the bundle alone when a spec cannot say what was made', async () => {
    const output = path('bundle-only');
    const spec = path('strict.hew');
    const text = readFileSync('examples/pangu/pangu.hew', 'utf8');
    writeFileSync(
      spec,
      text.replaceAll(/PostNorm\((\w+), rms_norm_eps, \w+\)/g, 'RMSNorm($1, rms_norm_eps)'),
    );
    const strict = [
      'prune',
      spec,
      ...model.slice(1),
      '--pipeline',
      'absorb-post-norm{share=0.5}',
      '-o',
      output,
    ];
    const refused = await hew(strict);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/HEW6010.*spec cannot express/);
    expect(existsSync(output)).toBe(false);
    expect((await hew([...strict, '--bundle-only'])).code).toBe(0);
    expect(readdirSync(output).sort()).toEqual(['bundle', 'prune.json']);
  }, 120_000);

  test.each([
    ['prune{d=0}', 'HEW6008'],
    ['prune{heads=3}', 'HEW6008'],
    ['prune{vocab=16}', 'HEW6007'],
    ['absorb-post-norm,slnp', 'HEW6009'],
    ['prune{d=8}', 'HEW6011', '--calib', 'short.safetensors'],
    ['prune{d=8}', 'HEW6011', '--calib', 'text.txt'],
    ['prune{d=8}', 'HEW8003', '-o', 'taken'],
  ])(
    '%s is refused with %s and leaves nothing',
    async (pipeline, code, option = '-o', value = 'refused') => {
      await writeSafetensors(path('short.safetensors'), [ints('tokens', [2, 1], [1, 2])]);
      writeFileSync(path('text.txt'), 'text for a model without a tokenizer');
      mkdirSync(path('taken'), { recursive: true });
      writeFileSync(path('taken/notes.txt'), 'not made by hew');
      const before = readdirSync(directory, { recursive: true }).sort();
      const result = await prune(pipeline, path('refused'), option, path(value));
      expect(result.stderr).toMatch(code);
      expect(result.code).toBe(1);
      expect(readdirSync(directory, { recursive: true }).sort()).toEqual(before);
    },
    60_000,
  );
});

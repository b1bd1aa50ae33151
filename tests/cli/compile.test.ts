/** compile, check, inspect, fmt and passes on a model of one matrix product. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { passes } from '../../compiler/api.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { floats, lineSpec, writeLineModel } from './fixture.js';
import { hew, parsed, scratchDirectory } from './run-cli.js';

const directory = scratchDirectory();
const path = (name: string): string => join(directory, name);
let spec = '';
beforeAll(async () => {
  spec = await writeLineModel(directory);
});

test('compile writes a bundle and says what is in it', async () => {
  const { code, stdout, stderr } = await hew(['compile', spec, '-o', path('line')]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toMatch(/^\S*line: weights .*, code .*, memory .*, compiled in .* s\n$/);
  expect(readdirSync(path('line')).sort()).toEqual(['manifest.json', 'module.wasm', 'weights-00001.bin']);
});

test('compile --json reports passes and bytes', async () => {
  const { code, stdout } = await hew(['compile', spec, '-o', path('json'), '--json']);
  expect(code).toBe(0);
  expect(parsed(stdout)).toMatchObject({
    ok: true,
    output: path('json'),
    bytes: { weights: expect.any(Number), total: expect.any(Number), code: expect.any(Number) },
    warnings: [],
  });
  expect((parsed(stdout).passes as object[])[0]).toMatchObject({ pass: 'canonicalize' });
});

test('--time-passes and --print-after write to stderr', async () => {
  const options = ['--time-passes', '--print-after', 'fuse'];
  const { code, stdout, stderr } = await hew(['compile', spec, '-o', path('timed'), ...options]);
  expect(code).toBe(0);
  expect(stderr).toContain('// after fuse\nmodule @line {');
  expect(stderr).toMatch(/^pass +ms +changed +what it did$/m);
  expect(stdout).not.toContain('fuse');
});

test.each([
  [['--pipeline', 'canonicalise'], 'HEW6001', 1],
  [['--pipeline', 'fuse{epilogue=true}'], 'HEW6002', 1],
  [['--set', 'sise=3'], 'HEW3008', 1],
  [['--set', 'size=big'], 'HEW3003', 1],
  [['--set', 'size=8'], 'HEW4003', 1],
  [['--config', 'absent.json'], 'HEW3001', 1],
  [['--weights', 'absent.safetensors'], 'HEW3001', 1],
])('compile %j fails with %s and leaves nothing', async (options, code, exit) => {
  const result = await hew(['compile', spec, '-o', path('failed'), ...options]);
  expect(result.stderr).toContain(`error[${code}]`);
  expect(result.code).toBe(exit);
  expect(existsSync(path('failed'))).toBe(false);
});

test.each([
  ['not JSON', '{', 'HEW3004'],
  ['no object', '[1, 2]', 'HEW3004'],
  ['a wrong kind', '{"size": "4"}', 'HEW3003'],
  ['an absurd size', '{"size": 1e15}', 'HEW2007'],
  ['a negative size', '{"size": -4}', 'HEW2007'],
  ['a prototype', '{"__proto__": {"size": 5}, "constructor": 1}', undefined],
  ['deep nesting', `${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'HEW3004'],
])('a configuration with %s is no surprise', async (_what, text, code) => {
  const config = path('config.json');
  writeFileSync(config, text);
  const { code: exit, stderr } = await hew(['check', spec, '--config', config]);
  if (code === undefined) expect({ exit, stderr }).toEqual({ exit: 0, stderr: '' });
  else expect(stderr).toContain(`error[${code}]`);
  expect(exit).toBe(code === undefined ? 0 : 1);
});

test('an output that is something else is refused', async () => {
  mkdirSync(path('precious'));
  writeFileSync(join(path('precious'), 'thesis.txt'), 'words');
  const { code, stderr } = await hew(['compile', spec, '-o', path('precious')]);
  expect(code).toBe(1);
  expect(stderr).toContain('error[HEW8003]');
  expect(readdirSync(path('precious'))).toEqual(['thesis.txt']);
});

test('compile without weights says how to give them', async () => {
  const bare = path('bare.hew');
  writeFileSync(bare, lineSpec.replace(/^weights.*$/m, ''));
  const { code, stderr } = await hew(['compile', bare, '-o', path('bare')]);
  expect(code).toBe(1);
  expect(stderr).toContain('error[HEW4006]');
  expect(stderr).toContain('--weights');
});

test('check: no errors, warnings without weights, and everything that is wrong', async () => {
  expect(await hew(['check', spec])).toEqual({
    code: 0,
    stdout: `${spec}: no errors, no warnings\n`,
    stderr: '',
  });
  const bare = path('bare-check.hew');
  writeFileSync(bare, lineSpec.replace(/^weights.*$/m, ''));
  const warned = await hew(['check', bare]);
  expect(warned).toMatchObject({ code: 0, stdout: `${bare}: no errors, 1 warning\n` });
  expect(warned.stderr).toContain('warning[HEW4006]');
  const wrong = path('wrong.hew');
  writeFileSync(wrong, `${lineSpec}entry other(x: [T, m]) -> (y: [T, n]) { return (y = z) }\n`);
  const failed = await hew(['check', wrong, '--json']);
  expect(failed.code).toBe(1);
  const { ok, diagnostics } = parsed(failed.stdout) as { ok: boolean; diagnostics: { code: string }[] };
  expect(ok).toBe(false);
  expect(diagnostics.map(({ code }) => code)).toContain('HEW2001');
});

test('check reports tensors that are not used', async () => {
  const weights = path('more.safetensors');
  const zeros = new Array<number>(16).fill(0);
  await writeSafetensors(weights, [floats('w', [4, 4], zeros), floats('spare', [2], [1, 2])]);
  const { code, stderr } = await hew(['check', spec, '--weights', weights]);
  expect(code).toBe(0);
  expect(stderr).toMatch(/^warning\[HEW4004\].*spare/);
});

test('check says that a model does not fit the target', async () => {
  const huge = path('huge.hew');
  writeFileSync(huge, lineSpec.replace('size: int = 4', 'size: int = 40000').replace(/^weights.*$/m, ''));
  const { code, stderr } = await hew(['check', huge]);
  expect(code).toBe(4);
  expect(stderr).toContain('error[HEW6004]');
});

test('what the bundle format cannot express ends with exit code 4 and leaves nothing', async () => {
  const half = path('half.hew');
  const entry = 'entry half(x: [T, n]) -> (y: [T / 2, n]) { return (y = x[0 : T / 2]) }';
  writeFileSync(half, `dim n = 4\ndim T in 2..8\n${entry}\n`);
  const { code, stderr } = await hew(['compile', half, '-o', path('half')]);
  expect(stderr).toContain('error[HEW6003]');
  expect(code).toBe(4);
  expect(existsSync(path('half'))).toBe(false);
});

test('inspect describes a spec', async () => {
  const { code, stdout, stderr } = await hew(['inspect', spec]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).toContain('16 parameters, 64 B');
  const summary = parsed((await hew(['inspect', spec, '--json'])).stdout);
  expect(summary).toMatchObject({
    name: 'line',
    dims: [
      { name: 'n', value: 4 },
      { name: 'T', min: 1, max: 8 },
    ],
    parameters: [{ name: 'w', type: 'f32[n, n]', shape: [4, 4], count: 1, elements: 16, bytes: 64 }],
    states: [],
    totals: { parameters: 16, parameterBytes: 64, stateBytes: 0 },
  });
  const [entry] = summary.entries as { flops: { symbols: object; total: number }[] }[];
  // A product of [T, 4] and [4, 4] takes T * 4 * 4 multiply-adds.
  expect(entry?.flops).toMatchObject([
    { symbols: { T: 1 }, total: 32 },
    { symbols: { T: 8 }, total: 256 },
  ]);
});

test('inspect describes a bundle', async () => {
  await hew(['compile', spec, '-o', path('inspected')]);
  const { code, stdout } = await hew(['inspect', path('inspected')]);
  expect(code).toBe(0);
  expect(stdout).toContain('line  x: f32[T, 4]  y: f32[T, 4]');
  const json = parsed((await hew(['inspect', join(path('inspected'), 'manifest.json'), '--json'])).stdout);
  expect(json).toMatchObject({ name: 'line', target: 'wasm', symbols: { T: { min: 1, max: 8 } } });
});

test('fmt rewrites what is not formatted, once', async () => {
  const file = path('ugly.hew');
  writeFileSync(file, 'dim   n=4\n\n\n\nfn f(x:[n])->[n]{return x+x}\n');
  const checked = await hew(['fmt', '--check', file, spec]);
  expect(checked.code).toBe(3);
  expect(checked.stderr).toBe(`error[HEW8002]: ${file} is not formatted\n`);
  expect(await hew(['fmt', file, spec])).toEqual({ code: 0, stdout: `${file}\n`, stderr: '' });
  expect(readFileSync(file, 'utf8')).toBe('dim n = 4\n\nfn f(x: [n]) -> [n] { return x + x }\n');
  expect(await hew(['fmt', file])).toEqual({ code: 0, stdout: '', stderr: '' });
  expect((await hew(['fmt', '--check', file])).code).toBe(0);
});

test('fmt leaves files with syntax errors alone and formats the others', async () => {
  const [bad, good] = [path('bad.hew'), path('good.hew')];
  writeFileSync(bad, 'dim = \n');
  writeFileSync(good, 'dim  n = 4\n');
  const { code, stdout, stderr } = await hew(['fmt', bad, good, '--json']);
  expect(code).toBe(1);
  expect(stderr).toContain('error[HEW1002]');
  expect(parsed(stdout)).toMatchObject({ ok: false, changed: [good] });
  expect(readFileSync(bad, 'utf8')).toBe('dim = \n');
});

test('passes lists every registered pass with its options', async () => {
  const { code, stdout } = await hew(['passes']);
  expect(code).toBe(0);
  for (const { name, kind, summary } of passes) expect(stdout).toContain(`${name} (${kind})\n    ${summary}`);
  expect(stdout).toContain('    epilogues=true  (bool) ');
  expect(parsed((await hew(['passes', '--json'])).stdout)).toMatchObject({
    standardPipeline: expect.any(String),
  });
});

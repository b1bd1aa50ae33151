/** eval and sample on the hand-made bundles of the loader's tests. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { largestDifference, psnr } from '../../compiler/evaluate/golden.js';
import { floats, ints, toyNll, writeToyBundle, writeToyGolden } from './fixture.js';
import { hew, parsed, scratchDirectory } from './run-cli.js';

const directory = scratchDirectory();
const path = (name: string): string => join(directory, name);
let toy = '';
let denoiser = '';
beforeAll(async () => {
  toy = await writeToyBundle(directory, 'text');
  denoiser = await writeToyBundle(directory, 'diffusion');
});

// ---- golden outputs

test('eval --golden prints one row per check and passes', async () => {
  await writeToyGolden(path('golden.safetensors'));
  const { code, stdout } = await hew(['eval', toy, '--golden', path('golden.safetensors')]);
  expect(code).toBe(0);
  const [head, ...rows] = stdout.trim().split('\n');
  expect(head).toMatch(/^check +value +limit +what$/);
  expect(rows.map((row) => row.split(/ {2,}/)[0])).toEqual(['logits', 'greedy', 'eval_nll']);
  expect(rows.every((row) => row.includes('pass'))).toBe(true);
});

test('eval --golden beyond a limit exits with 3 and names the check', async () => {
  await writeToyGolden(path('wrong.safetensors'), 0.25);
  const argv = ['eval', toy, '--golden', path('wrong.safetensors')];
  const { code, stdout, stderr } = await hew(argv);
  expect(code).toBe(3);
  expect(stdout).toMatch(/^logits +0\.25 +<= 0\.002 +FAIL/m);
  expect(stderr).toBe('error[HEW8002]: logits is 0.25, above the limit of 0.002\n');
  expect((await hew([...argv, '--limit', 'logits=0.3'])).code).toBe(0);
  expect((await hew([...argv, '--only', 'greedy,eval_nll'])).code).toBe(0);
});

test('eval --golden --json is one document, also when a gate fails', async () => {
  await writeToyGolden(path('json.safetensors'), 0.25);
  const { code, stdout } = await hew(['eval', toy, '--golden', path('json.safetensors'), '--json']);
  expect(code).toBe(3);
  expect(parsed(stdout)).toMatchObject({
    ok: false,
    kind: 'language model',
    checks: [
      { name: 'logits', value: 0.25, limit: 0.002, bound: 'max', pass: false },
      { name: 'greedy', value: 3, limit: 3, bound: 'min', pass: true },
      { name: 'eval_nll', pass: true },
    ],
  });
});

test('a check that cannot be made is skipped with its reason', async () => {
  await writeSafetensors(path('part.safetensors'), [
    ints('prompt', [1], [1]),
    floats('logits', [1, 8], toyRow),
  ]);
  const { code, stdout } = await hew(['eval', toy, '--golden', path('part.safetensors')]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^greedy .* skip +the golden file has no 'greedy'$/m);
});

const toyRow = [-1, 2, 0.25, 1.5, -0.5, 3, 1, 0.5];

test('golden files of no known kind and limits of no known check are refused', async () => {
  await writeSafetensors(path('other.safetensors'), [floats('weights', [1], [1])]);
  const other = await hew(['eval', toy, '--golden', path('other.safetensors')]);
  expect(other).toMatchObject({ code: 1, stdout: '' });
  expect(other.stderr).toContain('error[HEW8004]');
  await writeToyGolden(path('limits.safetensors'));
  const limits = await hew(['eval', toy, '--golden', path('limits.safetensors'), '--limit', 'logit=1']);
  expect(limits.code).toBe(2);
  expect(limits.stderr).toContain("there is no check 'logit'\n  help: did you mean 'logits'?");
});

test('differences and PSNR: equal, unequal, and not a number', () => {
  expect(largestDifference([1, 2], [1, 2.5])).toBe(0.5);
  expect(largestDifference([1, Number.NaN], [1, 2])).toBe(Number.POSITIVE_INFINITY);
  expect(largestDifference([1], [1, 2])).toBe(Number.POSITIVE_INFINITY);
  expect(psnr([0, 0], [0.2, 0.2], 2)).toBeCloseTo(20, 10);
  expect(psnr([1], [1], 2)).toBe(200);
  expect(psnr([Number.NaN], [1], 2)).toBeNaN();
});

// ---- tokens

test('eval --tokens gives mean NLL and perplexity', async () => {
  const windows = [
    [0, 3, 5, 1],
    [7, 7, 2, 4],
  ];
  await writeSafetensors(path('tokens.safetensors'), [ints('tokens', [2, 4], windows.flat())]);
  const { code, stdout } = await hew(['eval', toy, '--tokens', path('tokens.safetensors'), '--json']);
  expect(code).toBe(0);
  const { nll, perplexity, tokens, windows: count } = parsed(stdout) as Record<string, number>;
  const expected = (toyNll([0, 3, 5, 1]) + toyNll([7, 7, 2, 4])) / 2;
  expect(nll).toBeCloseTo(expected, 6);
  expect(perplexity).toBeCloseTo(Math.exp(expected), 5);
  expect({ tokens, count }).toEqual({ tokens: 6, count: 2 });
});

test('raw token files are cut into windows', async () => {
  writeFileSync(path('a.u16'), new Uint16Array([0, 3, 5, 1, 7, 7, 2, 4, 6]));
  writeFileSync(path('a.u32'), new Uint32Array([0, 3, 5, 1]));
  const short = await hew(['eval', toy, '--tokens', path('a.u16'), '--window', '4']);
  expect(short.stdout).toMatch(/^nll \d\.\d{4}, perplexity \d+\.\d{3} \(6 tokens in 2 windows\)\n$/);
  expect((await hew(['eval', toy, '--tokens', path('a.u32')])).stdout).toContain('(3 tokens in 1 windows)');
});

test('a limit of the NLL is a gate', async () => {
  writeFileSync(path('gate.u16'), new Uint16Array([0, 3, 5, 1]));
  const argv = ['eval', toy, '--tokens', path('gate.u16'), '--limit'];
  expect((await hew([...argv, 'nll=100'])).code).toBe(0);
  const { code, stderr } = await hew([...argv, 'nll=0.1']);
  expect(code).toBe(3);
  expect(stderr).toMatch(/^error\[HEW8002\]: nll is .*, above the limit of 0\.1\n$/);
});

test.each([
  ['one.u16', new Uint16Array([1]), 'HEW3009'],
  ['odd.u16', new Uint8Array([1, 2, 3]), 'HEW3009'],
  ['tokens.txt', new Uint8Array([1, 2, 3]), 'HEW3009'],
  ['outside.u32', new Uint32Array([1, 2 ** 32 - 1]), 'HEW7007'],
  ['long.u16', new Uint16Array(64), 'HEW7006'],
  ['fake.safetensors', new Uint8Array(40), 'HEW4001'],
])('the token file %s is refused', async (name, values, code) => {
  writeFileSync(path(name), new Uint8Array(values.buffer));
  const result = await hew(['eval', toy, '--tokens', path(name)]);
  expect(result.stderr).toContain(`error[${code}]`);
  expect(result.code).toBe(1);
});

test('the tensor of a token file is chosen by name, and holds integers', async () => {
  await writeSafetensors(path('two.safetensors'), [ints('a', [2], [1, 2]), floats('b', [2], [1, 2])]);
  const argv = ['eval', toy, '--tokens', path('two.safetensors')];
  expect((await hew(argv)).stderr).toContain('error[HEW4002]');
  expect((await hew([...argv, '--tensor', 'c'])).stderr).toContain("has no tensor 'c'");
  expect((await hew([...argv, '--tensor', 'b'])).stderr).toContain('error[HEW4003]');
  expect((await hew([...argv, '--tensor', 'a'])).code).toBe(0);
});

// ---- commands on models of the wrong kind

test('commands say what a bundle lacks', async () => {
  const run = await hew(['run', toy, '--prompt', 'a']);
  expect(run.code).toBe(1);
  expect(run.stderr).toContain('error[HEW7008]');
  expect((await hew(['sample', toy, '--classes', '1', '-o', path('no.png')])).stderr).toContain(
    'error[HEW7008]',
  );
  expect(existsSync(path('no.png'))).toBe(false);
});

// ---- sample

test('sample writes a PNG, the same for the same seed', async () => {
  const argv = ['sample', denoiser, '--classes', '0-2,1', '--steps', '3', '--guidance', '1.5', '-o'];
  const { code, stdout } = await hew([...argv, path('a.png')]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/a\.png: 4 images in /);
  expect([...readFileSync(path('a.png')).subarray(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
  await hew([...argv, path('b.png')]);
  expect(readFileSync(path('b.png'))).toEqual(readFileSync(path('a.png')));
  await hew([...argv, path('c.png'), '--seed', '7']);
  expect(readFileSync(path('c.png'))).not.toEqual(readFileSync(path('a.png')));
  const json = await hew([...argv, path('d.png'), '--columns', '4', '--json']);
  expect(parsed(json.stdout)).toMatchObject({
    ok: true,
    output: path('d.png'),
    shape: [4, 1, 2, 2],
    image: { width: 14, height: 2 },
  });
});

test('sample refuses bad settings and outputs that cannot be written', async () => {
  const argv = ['sample', denoiser, '--classes', '1', '-o'];
  expect((await hew([...argv, path('x.png'), '--steps', '0'])).stderr).toContain('error[HEW7011]');
  const nowhere = await hew([...argv, path('absent/x.png')]);
  expect(nowhere.stderr).toContain('error[HEW8003]');
  expect(nowhere.code).toBe(1);
});

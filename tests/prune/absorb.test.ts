/** Absorption on graphs of one norm: where it is exact, how it distributes over shards and experts, and what it refuses. */
import { describe, expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { assertValid } from '../../ir/verify.js';
import { absorbPostNorm } from '../../passes/absorb/absorb-post-norm.js';
import type { Observation } from '../../passes/probe.js';
import { largestDifference } from './tiny-model.js';

const d = 4;

/** A constant recipe in the text form. */
const constant = (type: string, values: readonly number[]): string =>
  `constant(${type}, "${Buffer.from(encodeBytes('f32', values)).toString('base64')}")`;

const sequence = (count: number): number[] => Array.from({ length: count }, (_, i) => ((i * 7) % 11) / 5 - 1);
const gain = [0.5, -1, 2, 1.5];

/** A loop of one turn:  h ← h + rms_norm(branch(h), g). */
function moduleOf(branch: string, params: string): Module {
  return parseModule(`module @m {
    dim d = ${d}
    dim layers = 1
    dim experts = 2
    dim T in 1..8
    loop layer over layers = [0]
    param @g in layer : f32[d] = ${constant('f32[d]', gain)}
    ${params}
    func @body in layer(%h: f32[T, d]) -> (f32[T, d]) {
      ${branch}
      %g = param(name=@g) : f32[d]
      %n = rms_norm(%b, %g, eps=0) : f32[T, d]
      %out = add(%h, %n) : f32[T, d]
      return %out
    }
    entry @main(%h: f32[T, d]) -> (y: f32[T, d]) {
      %0 = repeat(%h, callee=@body, loop=@layer, carried=1) : f32[T, d]
      return %0
    }
  }`);
}

const w = (name: string, type = 'f32[d, d]', count = d * d): string =>
  `param @${name} in layer : ${type} = ${constant(type, sequence(count))}`;

const oneLinear = moduleOf('%w = param(name=@w) : f32[d, d]\n%b = linear(%h, %w) : f32[T, d]', w('w'));

const options = { constant: 'mean', sites: 'all', share: 1, max_nll: 0 };

/** Absorbs with sums as if every token had the root mean square `r`. */
async function absorbed(module: Module, r: number): Promise<Module> {
  const observation = (values: readonly number[]): Observation => ({
    rows: 1,
    indices: [0],
    sums: [Float64Array.from(values)],
  });
  const result = await absorbPostNorm.data?.run(module, options, {
    original: module,
    statistics: new Map([
      ['reciprocal_rms.0', observation([1 / r])],
      ['square.0', observation(Array.from({ length: d }, () => r * r))],
      ['scaled_square.0', observation(Array.from({ length: d }, () => r))],
    ]),
    calibration: { entry: 'main', calls: [] },
    load: () => Promise.reject(new Error('nothing is run')),
    progress: () => {},
    evaluate: () => Promise.reject(new Error('nothing is evaluated')),
    weight: () => tensor('f32', [0], []),
  });
  const changed = result?.module ?? module;
  assertValid(changed, 'absorption');
  return changed;
}

function outputs(module: Module, rows: readonly number[]): Float64Array {
  const h = tensor('f32', [rows.length / d, d], rows);
  return (interpretEntry(module, 'main', { h }, { precision: 'f64' }).y as Tensor).data;
}

describe('absorption', () => {
  test('is exact where all inputs have the root mean square of the constant', async () => {
    // A scaled identity and rows of ±1: every token has the root mean square 3.
    const identity = Array.from({ length: d * d }, (_, i) => (i % (d + 1) === 0 ? 3 : 0));
    const module = moduleOf(
      '%w = param(name=@w) : f32[d, d]\n%b = linear(%h, %w) : f32[T, d]',
      `param @w in layer : f32[d, d] = ${constant('f32[d, d]', identity)}`,
    );
    const rows = [1, -1, 1, 1, -1, -1, 1, -1];
    const after = await absorbed(module, 3);
    expect(printModule(after)).not.toMatch(/rms_norm/);
    expect(largestDifference(outputs(after, rows), outputs(module, rows))).toBeLessThan(1e-6);
  });

  test('commutes with splitting a layer over devices', async () => {
    const half = (from: number): number[] =>
      sequence(d * d).filter((_, i) => i % d >= from && i % d < from + 2);
    const shards = moduleOf(
      `%a = param(name=@a) : f32[d, 2]
      %c = param(name=@c) : f32[d, 2]
      %left, %right = split(%h, sizes=[2, 2], axis=1) : f32[T, 2], f32[T, 2]
      %p = linear(%left, %a) : f32[T, d]
      %q = linear(%right, %c) : f32[T, d]
      %b = add(%p, %q) : f32[T, d]`,
      `param @a in layer : f32[d, 2] = ${constant('f32[d, 2]', half(0))}
       param @c in layer : f32[d, 2] = ${constant('f32[d, 2]', half(2))}`,
    );
    const [whole, split] = [await absorbed(oneLinear, 2), await absorbed(shards, 2)];
    const rows = [0.5, -2, 1, 0.25];
    expect(largestDifference(outputs(split, rows), outputs(whole, rows))).toBeLessThan(1e-9);
  });

  test('scales a bias with its layer, and every expert', async () => {
    const biased = moduleOf(
      '%w = param(name=@w) : f32[d, d]\n%v = param(name=@v) : f32[d]\n%l = linear(%h, %w) : f32[T, d]\n%b = add(%l, %v) : f32[T, d]',
      `${w('w')}\n${w('v', 'f32[d]', d)}`,
    );
    const experts = moduleOf(
      `%w = param(name=@w) : f32[experts, d, d]
      %i = full(value=1, dtype=i32, shape=[T, 1]) : i32[T, 1]
      %l = grouped_linear(%h, %i, %w) : f32[T, 1, d]
      %s = full(value=0.5, shape=[T, 1, 1]) : f32[T, 1, 1]
      %m = mul(%s, %l) : f32[T, 1, d]
      %b = reduce_sum(%m, axes=[1]) : f32[T, d]`,
      w('w', 'f32[experts, d, d]', 2 * d * d),
    );
    const rows = [0.5, -2, 1, 0.25];
    for (const module of [biased, experts]) {
      // Without its norm the branch is b; absorbed it must be b · g / r.
      const free = parseModule(printModule(module).replace(/rms_norm\(%b, %g, eps=0\)/, 'mul(%b, %g)'));
      const branch = (m: Module): Float64Array =>
        outputs(m, rows).map((value, i) => value - (rows[i] as number));
      const wanted = branch(free).map((value) => value / 2);
      expect(largestDifference(branch(await absorbed(module, 2)), wanted)).toBeLessThan(1e-6);
    }
  });

  test.each([
    [
      'a second reader',
      '%w = param(name=@w) : f32[d, d]\n%b = linear(%h, %w) : f32[T, d]\n%z = mul(%b, %b) : f32[T, d]',
      /the result of linear has a second reader/,
    ],
    [
      'something that is not linear',
      '%w = param(name=@w) : f32[d, d]\n%l = linear(%h, %w) : f32[T, d]\n%b = silu(%l) : f32[T, d]',
      /silu stands between/,
    ],
    [
      'a gate',
      '%w = param(name=@w) : f32[d, d]\n%l = linear(%h, %w) : f32[T, d]\n%b = mul(%l, %h) : f32[T, d]',
      /a product of two values of its channels/,
    ],
    [
      'a weight with another reader',
      '%w = param(name=@w) : f32[d, d]\n%b = linear(%h, %w) : f32[T, d]\n%z = linear(%h, %w) : f32[T, d]',
      /weight w has another reader/,
    ],
  ])('is refused behind %s', async (_name, branch, message) => {
    await expect(absorbed(moduleOf(branch, w('w')), 1)).rejects.toThrow(message);
  });
});

/** Passes on large modules: nothing may be quadratic in the number of ops, nor depend on the turns of a loop. */
import { describe, expect, test } from 'vitest';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { emptyModule, type Module, type Value, withFunctions } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { printFunc, printModule } from '../../ir/print.js';
import { tensorType } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';

/** Milliseconds, thirty times what is needed: a quadratic step takes minutes on these sizes, a busy machine does not. */
const limit = 25_000;

const hidden = tensorType('f32', ['T', 'd']);

/** An entry over x: f32[T, d] whose body `grow` writes. */
function moduleOf(grow: (b: FuncBuilder, x: Value) => Value): Module {
  const weight = tensorType('bf16', ['d', 'd']);
  const base: Module = {
    ...emptyModule('large'),
    dims: new Map([
      ['T', { min: 1, max: 8 }],
      ['d', { value: 8 }],
    ]),
    params: new Map([['w', { type: weight, recipe: { kind: 'source', name: 'w', type: weight } }]]),
  };
  const builder = new FuncBuilder('main', moduleScope(base), { outputs: ['y'] });
  const result = grow(builder, builder.arg(hidden, 'x'));
  return withFunctions(base, [builder.finish([result])]);
}

function times(count: number, start: Value, step: (x: Value, i: number) => Value): Value {
  let value = start;
  for (let i = 0; i < count; i++) value = step(value, i);
  return value;
}

/** A layer as a spec elaborates it: ten ops, with a transposed and widened weight and constants. */
function layer(b: FuncBuilder, x: Value): Value {
  const norm = b.one('rms_norm', [x]);
  const w = b.one('cast', [b.one('param', [], { name: 'w' })], { dtype: 'f32' });
  const product = b.one('matmul', [norm, b.one('transpose', [w], { perm: [1, 0] })]);
  const scaled = b.one('mul', [product, b.one('full', [], { value: 0.5 })]);
  return b.one('add', [x, b.one('add', [b.one('silu', [scaled]), b.one('full', [], { value: 0 })])]);
}

/** Pairs of values are added up, so that every sum joins two groups of equal size. */
function tree(b: FuncBuilder, values: readonly Value[]): Value {
  const [first, second] = values;
  if (first === undefined || second === undefined) return first as Value;
  const sums = values.flatMap((v, i) =>
    i % 2 === 0 ? [values[i + 1] === undefined ? v : b.one('add', [v, values[i + 1] as Value])] : [],
  );
  return tree(b, sums);
}

function milliseconds(module: Module, pipeline: string): number {
  const started = performance.now();
  runPipeline(module, parsePipeline(pipeline));
  return performance.now() - started;
}

const shapes: Record<string, Module> = {
  'unrolled layers': moduleOf((b, x) => times(2000, x, (h) => layer(b, h))),
  'one chain of pointwise ops': moduleOf((b, x) =>
    times(20_000, x, (h, i) => b.one(i % 2 === 0 ? 'neg' : 'exp', [h])),
  ),
  'a chain on the right': moduleOf((b, x) =>
    times(7000, x, (h) => b.one('sub', [b.one('neg', [b.one('exp', [x])]), h])),
  ),
  'a tree of sums': moduleOf((b, x) =>
    tree(
      b,
      Array.from({ length: 10_000 }, () => b.one('exp', [x])),
    ),
  ),
  'one value with many readers': moduleOf((b, x) =>
    tree(
      b,
      Array.from({ length: 10_000 }, (_, i) => b.one('mul', [x, b.one('full', [], { value: i + 2 })])),
    ),
  ),
};

describe('twenty thousand ops', () => {
  test.each(Object.entries(shapes))(
    '%s',
    (_, module) => {
      expect(milliseconds(module, 'canonicalize,fold,cse,fuse')).toBeLessThan(limit);
    },
    60_000,
  );

  test('text is written and read in linear time', () => {
    const started = performance.now();
    const text = printModule(shapes['unrolled layers'] as Module);
    expect(printModule(parseModule(text))).toBe(text);
    expect(performance.now() - started).toBeLessThan(limit);
  });
});

test('a repeated layer costs the same whatever the number of turns', () => {
  const text = (turns: number): string => `module @m {
    dim T in 1..8
    dim d = 8
    loop layer over ${turns} = [${Array.from({ length: turns }, (_, i) => i)}]
    param @w in layer : bf16[d, d] = source("layers.{layer}.w", bf16[d, d])
    func @body in layer(%x: f32[T, d]) -> (f32[T, d]) {
      %w = param(name=@w) : bf16[d, d]
      %y = linear(%x, %w) : f32[T, d]
      %z = add(%x, %y) : f32[T, d]
      return %z
    }
    entry @main(%x: f32[T, d]) -> (y: f32[T, d]) {
      %y = repeat(%x, callee=@body, loop=@layer, carried=1) : f32[T, d]
      return %y
    }
  }`;
  const functionsOf = (turns: number): string[] => {
    const { module } = runPipeline(parseModule(text(turns)), parsePipeline(`${standardPipeline},fuse`));
    return [...module.functions.values()].map((func) => printFunc(func));
  };
  expect(functionsOf(94)).toEqual(functionsOf(2));
});

/** The interpreter and `materialise`: states, loops, weights, precision, and what each refuses (HEW5003, HEW4006). */
import { describe, expect, test } from 'vitest';
import { type InterpretOptions, interpretEntry } from '../../ir/interpret.js';
import { materialise, materialiseBytes, type TensorSource } from '../../ir/materialise.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { recipeType } from '../../ir/recipe-type.js';
import { scalar, type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, printType } from '../../ir/type.js';

const vector = (...values: readonly number[]): Tensor => tensor('f32', [values.length], values);

function run(
  text: string,
  inputs: Record<string, Tensor>,
  options?: InterpretOptions,
): Record<string, number[]> {
  const results = interpretEntry(parseModule(`module @m { ${text} }`), 'main', inputs, options);
  return Object.fromEntries(Object.entries(results).map(([name, value]) => [name, [...value.data]]));
}

/** Checkpoint tensors by name; each read is recorded. */
function sourceOf(
  tensors: Record<string, { dtype: DType; values: readonly number[] }>,
): TensorSource & { reads: string[] } {
  const reads: string[] = [];
  return {
    reads,
    read(name) {
      reads.push(name);
      const found = tensors[name];
      if (found === undefined) throw new Error(`${name} is not in the checkpoint`);
      return { dtype: found.dtype, bytes: encodeBytes(found.dtype, found.values) };
    },
  };
}

const base64 = (dtype: DType, ...values: readonly number[]): string =>
  Buffer.from(encodeBytes(dtype, values)).toString('base64');

describe('states', () => {
  const counter = `dim turns = 3
    loop turn over turns = [0, 1, 2]
    state @count in turn : f32[]
    state @total : f32[]
    func @body in turn(%x: f32[]) -> (f32[]) {
      %n = state_read(name=@count) : f32[]
      %next = add(%n, %x) : f32[]
      state_write(%next, name=@count)
      return %next
    }
    entry @main(%x: f32[]) -> (y: f32[], before: f32[]) {
      %before = state_read(name=@total) : f32[]
      %y = repeat(%x, callee=@body, loop=@turn, carried=1) : f32[]
      %after = add(%before, %y) : f32[]
      state_write(%after, name=@total)
      return %y, %before
    }`;

  test('live between calls, one per turn of their loop', () => {
    const states = new Map<string, Tensor>();
    const x = { x: scalar('f32', 1) };
    expect(run(counter, x, { states })).toEqual({ y: [1], before: [0] });
    expect([...states.keys()].sort()).toEqual(['count#0', 'count#1', 'count#2', 'total']);
    // Turn by turn: 1 + 1, then + 2, then + 4, each added to what the state held.
    expect(run(counter, x, { states })).toEqual({ y: [4], before: [1] });
    expect(run(counter, x, { states })).toEqual({ y: [10], before: [5] });
  });

  test('are zero without a store, and each call without one starts anew', () => {
    const x = { x: scalar('f32', 1) };
    expect(run(counter, x)).toEqual(run(counter, x));
  });

  test('of a failed call keep what finished turns wrote, not what the failing one did', () => {
    const text = `loop turn over 2 = [0, 1]
      state @s in turn : f32[]
      param @i in turn : i32[] = per_index(constant(i32[], "${base64('i32', 0)}"), constant(i32[], "${base64('i32', 9)}"))
      param @t : f32[2] = constant(f32[2], "${base64('f32', 5, 6)}")
      func @body in turn(%x: f32[]) -> (f32[]) {
        %i = param(name=@i) : i32[]
        %t = param(name=@t) : f32[2]
        state_write(%x, name=@s)
        %y = gather(%t, %i) : f32[]
        return %y
      }
      entry @main(%x: f32[]) -> (y: f32[]) {
        %y = repeat(%x, callee=@body, loop=@turn, carried=1) : f32[]
        return %y
      }`;
    const states = new Map<string, Tensor>();
    const failing = (): unknown => run(text, { x: scalar('f32', 1) }, { states });
    expect(failing).toThrow('HEW5003: gather in @body: index 9 is out of range for an axis of size 2');
    expect([...states.keys()]).toEqual(['s#0']);
  });
});

describe('loops', () => {
  const chain = `loop layer over 2 = [7, 4]
    param @w in layer : f32[2] = source("layers.{layer}.w", f32[2])
    param @b in layer : f32[2] = per_index(source("first", f32[2]), constant(f32[2], "${base64('f32', 1, 2)}"))
    func @body in layer(%h: f32[2]) -> (f32[2]) {
      %w = param(name=@w) : f32[2]
      %b = param(name=@b) : f32[2]
      %m = mul(%h, %w) : f32[2]
      %y = add(%m, %b) : f32[2]
      return %y
    }
    entry @main(%x: f32[2]) -> (y: f32[2]) {
      %y = repeat(%x, callee=@body, loop=@layer, carried=1) : f32[2]
      return %y
    }`;

  test('read the weights of their turn, once each', () => {
    const source = sourceOf({
      'layers.7.w': { dtype: 'f32', values: [2, 3] },
      'layers.4.w': { dtype: 'f32', values: [5, 7] },
      first: { dtype: 'f32', values: [10, 20] },
    });
    expect(run(chain, { x: vector(1, 1) }, { source })).toEqual({ y: [61, 163] });
    expect(source.reads).toEqual(['layers.7.w', 'first', 'layers.4.w']);
  });

  test('need their weights', () => {
    expect(() => run(chain, { x: vector(1, 1) })).toThrow(
      'HEW4006: the value of layers.7.w is needed, but no weights are given',
    );
  });
});

test('kernels are functions like any other', () => {
  const text = `dim T in 1..8
    func @k kernel pointwise(%a: f32[T]) -> (f32[T]) {
      %n = dim_size(dim=T) : i32[]
      %f = cast(%n, dtype=f32) : f32[]
      %y = mul(%a, %f) : f32[T]
      return %y
    }
    entry @main(%x: f32[T]) -> (y: f32[T]) {
      %h = kernel(%x, callee=@k) : f32[T]
      %y = kernel(%h, callee=@k) : f32[T]
      return %y
    }`;
  expect(run(text, { x: vector(1, 2, 3) })).toEqual({ y: [9, 18, 27] });
});

test('f64 mode does not round floats, and still wraps integers', () => {
  const text = `entry @main(%x: f32[1], %i: i32[]) -> (y: f32[1], h: f16[1], j: i32[]) {
    %y = sqrt(%x) : f32[1]
    %h = cast(%y, dtype=f16) : f16[1]
    %j = add(%i, %i) : i32[]
    return %y, %h, %j
  }`;
  const inputs = { x: vector(2), i: scalar('i32', 2 ** 30) };
  const rounded = [Math.fround(Math.SQRT2)];
  expect(run(text, inputs)).toEqual({ y: rounded, h: [Math.f16round(Math.SQRT2)], j: [-(2 ** 31)] });
  expect(run(text, inputs, { precision: 'f64' })).toEqual({
    y: [Math.SQRT2],
    h: [Math.SQRT2],
    j: [-(2 ** 31)],
  });
});

describe('inputs', () => {
  const text = `dim T in 2..4
    dim d = 2
    entry @main(%x: f32[T, d], %y: f32[T/2]) -> (x: f32[T, d]) { return %x }`;
  const x = (rows: number): Tensor => tensor('f32', [rows, 2], new Float64Array(rows * 2));
  test.each<[string, Record<string, Tensor>, string]>([
    ['missing', { x: x(2) }, "input 'y' of @main is missing"],
    [
      'of another dtype',
      { x: tensor('i32', [2, 2], [1, 2, 3, 4]), y: vector(1) },
      "input 'x' must be f32[2, 2], not i32[2, 2]",
    ],
    ['of another rank', { x: vector(1, 2), y: vector(1) }, "input 'x' must be f32[2, 2], not f32[2]"],
    [
      'of another size',
      { x: tensor('f32', [2, 1], [1, 2]), y: vector(1) },
      "input 'x' must be f32[2, 2], not f32[2, 1]",
    ],
    ['that disagree', { x: x(4), y: vector(1) }, "input 'y' must be f32[2], not f32[1]"],
    ['of no even length', { x: x(3), y: vector(1) }, "input 'y' must be f32[?], not f32[1]"],
    ['above the bounds', { x: x(6), y: vector(1, 2, 3) }, 'T is 6, its bounds are 2..4'],
    ['below the bounds', { x: x(0), y: vector() }, 'T is 0, its bounds are 2..4'],
  ])('%s', (_, inputs, message) => {
    expect(() => run(text, inputs)).toThrow(`HEW5003: ${message}`);
  });

  test('of an entry that does not exist', () => {
    const module = parseModule('module @m { func @f() -> () { return } }');
    expect(() => interpretEntry(module, 'f', {})).toThrow('HEW5003: there is no entry @f');
  });
});

describe('materialise', () => {
  const source = sourceOf({
    w: { dtype: 'bf16', values: [1, 2, 3, 4, 5, 6] },
    'e.0': { dtype: 'f32', values: [1, 2] },
    'e.1': { dtype: 'f32', values: [3, 4] },
    wide: { dtype: 'f32', values: [1.00390625, 70000, -3.7, Number.NaN] },
  });

  /** The value of the parameter `p` of a small module. */
  function value(type: string, recipe: string, turn?: number): Tensor {
    const loop = turn === undefined ? '' : ' in l';
    const module = parseModule(
      `module @m { dim d = 3 loop l over 2 = [1, 0] param @p${loop} : ${type} = ${recipe} }`,
    );
    const param = module.params.get('p');
    if (param === undefined) throw new Error('@p was parsed');
    expect(printType(recipeType(module, param.recipe))).toBe(type);
    const { dtype, shape, bytes } = materialiseBytes(module, 'p', turn, source);
    const result = materialise(module, 'p', turn, source);
    expect(result).toEqual({ dtype, shape, data: decodeBytes(dtype, bytes) });
    return result;
  }

  test.each<[string, string, string, readonly number[], readonly number[]]>([
    ['a source as it is', 'bf16[2, d]', 'source("w", bf16[2, d])', [2, 3], [1, 2, 3, 4, 5, 6]],
    ['a source in another dtype', 'f32[2, d]', 'source("w", f32[2, d])', [2, 3], [1, 2, 3, 4, 5, 6]],
    [
      'a source rounded to bf16',
      'bf16[4]',
      'source("wide", bf16[4])',
      [4],
      [1, 70144, -3.703125, Number.NaN],
    ],
    [
      'a source rounded to f16',
      'f16[4]',
      'source("wide", f16[4])',
      [4],
      [1.00390625, Number.POSITIVE_INFINITY, -3.69921875, Number.NaN],
    ],
    ['a source as integers', 'i32[4]', 'source("wide", i32[4])', [4], [1, 70000, -3, 0]],
    ['a stack', 'f32[2, 2]', 'stack(2, source("e.1", f32[2]), source("e.0", f32[2]))', [2, 2], [3, 4, 1, 2]],
    [
      'a stack of stacks',
      'f32[1, 2, 2]',
      'stack(1, stack(2, source("e.0", f32[2]), source("e.1", f32[2])))',
      [1, 2, 2],
      [1, 2, 3, 4],
    ],
    ['a constant', 'i8[2]', 'constant(i8[2], "/wI=")', [2], [-1, 2]],
    [
      'ops',
      'bf16[d, 1]',
      'slice(transpose(source("w", bf16[2, d]), perm=[1, 0]), axis=1, start=1, end=2)',
      [3, 1],
      [4, 5, 6],
    ],
    ['arithmetic', 'f32[2]', 'mul(source("e.0", f32[2]), full(value=0.5))', [2], [0.5, 1]],
  ])('%s', (_, type, recipe, shape, values) => {
    const result = value(type, recipe);
    expect(result.shape).toEqual(shape);
    expect([...result.data]).toEqual(values);
  });

  test('by turn: placeholders are filled with the index of the turn', () => {
    expect([...value('f32[2]', 'source("e.{l}", f32[2])', 0).data]).toEqual([3, 4]);
    expect([...value('f32[2]', 'source("e.{l}", f32[2])', 1).data]).toEqual([1, 2]);
    const parts = 'neg(per_index(source("e.0", f32[2]), source("e.1", f32[2])))';
    expect([...value('f32[2]', parts, 1).data]).toEqual([-3, -4]);
  });

  test('fails with a diagnostic', () => {
    const module = parseModule(
      'module @m { param @p : f32[1] = gather(source("e.0", f32[2]), full(value=5, dtype=i32, shape=[1])) }',
    );
    expect(() => materialise(module, 'p', undefined, source)).toThrow(
      'HEW5003: gather in a recipe: index 5 is out of range for an axis of size 2',
    );
    expect(() => materialise(module, 'q', undefined, source)).toThrow('HEW5003: there is no parameter @q');
    expect(() => materialise(module, 'p', undefined)).toThrow(
      'HEW4006: the value of e.0 is needed, but no weights are given',
    );
  });
});

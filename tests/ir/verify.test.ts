/** One broken module per invariant of the verifier, with the message that names it. */
import { describe, expect, test } from 'vitest';
import type { HewError } from '../../ir/diagnostics.js';
import { dim } from '../../ir/dim.js';
import type { Func, Module, Op, Value } from '../../ir/module.js';
import { withFunctions } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { scalarType, tensorType } from '../../ir/type.js';
import { assertValid, symbolsOf, verifyModule } from '../../ir/verify.js';

const sound = parseModule(`module @m {
  dim T in 1..8
  dim d = 4
  dim layers = 2
  loop layer over layers = [0, 1]
  state @s : f32[d]
  state @k in layer : f32[d]
  param @w in layer : f32[d] = per_index(source("a", f32[d]), source("b", f32[d]))
  param @v : f32[d] = source("v", f32[d])

  func @kernel kernel pointwise(%x: f32[T, d]) -> (f32[T, d]) {
    %y = neg(%x) : f32[T, d]
    return %y
  }

  func @body in layer(%h: f32[T, d]) -> (f32[T, d]) {
    %w = param(name=@w) : f32[d]
    %k = state_read(name=@k) : f32[d]
    state_write(%w, name=@k)
    %a = add(%h, %k) : f32[T, d]
    return %a
  }

  entry @main(%x: f32[T, d]) -> (y: f32[T, d]) {
    %s = state_read(name=@s) : f32[d]
    %h = add(%x, %s) : f32[T, d]
    %r = repeat(%h, callee=@body, loop=@layer, carried=1) : f32[T, d]
    %y = kernel(%r, callee=@kernel) : f32[T, d]
    state_write(%s, name=@s)
    return %y
  }
}`);

function messages(module: Module): string[] {
  return verifyModule(module).map((d) => d.message);
}

function func(name: string): Func {
  const found = sound.functions.get(name);
  if (found === undefined) throw new Error(`@${name} exists`);
  return found;
}

/** The sound module with one function changed. */
function withFunc(name: string, change: (f: Func) => Partial<Func>): Module {
  return withFunctions(
    sound,
    [...sound.functions.values()].map((f) => (f.name === name ? { ...f, ...change(f) } : f)),
  );
}

/** A fresh op that nothing checked. */
function rawOp(
  name: Op['name'],
  operands: readonly Value[],
  attrs: Record<string, unknown>,
  type?: Value['type'],
): Op {
  const op = { name, operands, attrs, results: [] as Value[] };
  if (type !== undefined) op.results.push({ type, def: op as unknown as Op });
  return op as unknown as Op;
}

/** The body with an op put before the op at `index`. */
function inserted(body: readonly Op[], index: number, ...ops: Op[]): { body: Op[] } {
  return { body: body.toSpliced(index, 0, ...ops) };
}

function withEntries<V>(map: ReadonlyMap<string, V>, ...entries: [string, V][]): Map<string, V> {
  return new Map([...map, ...entries]);
}

function parsed(declarations: string): Module {
  return parseModule(`module @m { dim T in 1..8 dim d = 4 dim half in 1..4 ${declarations} }`);
}

const hidden = tensorType('f32', ['T', 'd']);

test('a sound module has no diagnostics', () => {
  expect(messages(sound)).toEqual([]);
  expect(() => assertValid(sound, 'nothing')).not.toThrow();
});

test('errors are HEW5002, say after what, and show the function', () => {
  const broken = withFunc('main', ({ body }) => ({ body: body.slice(1) }));
  expect(() => assertValid(broken, 'pass prune')).toThrow(
    'HEW5002: after pass prune: @main: operand 1 of add is not defined before it',
  );
  try {
    assertValid(broken, 'pass prune');
  } catch (error) {
    const notes = (error as HewError).diagnostics[0]?.notes[0]?.split('\n') ?? [];
    expect(notes.slice(1, 3)).toEqual([
      '  %h = add(%x, %<undefined>) : f32[T, d]',
      '  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ operand 1 of add is not defined before it',
    ]);
  }
});

describe('1: every value is defined once, before its uses, in its function', () => {
  const main = func('main');
  test.each<[string, Module, string[]]>([
    [
      'used before',
      withFunc('main', ({ body }) => ({ body: [body[1], body[0], ...body.slice(2)] as Op[] })),
      ['@main: operand 1 of add is not defined before it'],
    ],
    [
      'of another function',
      withFunc('kernel', () => ({ results: main.results })),
      ['@kernel: this returns a value that is not defined here'],
    ],
    [
      'defined twice',
      withFunc('kernel', ({ body }) => ({ body: [...body, ...body] })),
      ['@kernel: a result of neg is defined twice'],
    ],
    [
      'an argument listed twice',
      withFunc('kernel', ({ args }) => ({ args: [...args, ...args] })),
      ['@kernel: an argument is listed twice', '@main: kernel: @kernel takes 2 arguments, 1 given'],
    ],
    [
      'a result of another op',
      withFunc('kernel', ({ body: [op] }) => ({ body: [{ ...op, results: op?.results } as Op] })),
      ['@kernel: a result of neg does not point back to it'],
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toEqual(wanted));
});

describe('2: result types are what the op infers', () => {
  const x = func('kernel').args as [Value];
  const returning = (op: Op): Module => withFunc('kernel', () => ({ body: [op], results: op.results }));
  test.each<[string, Module, string]>([
    [
      'another type',
      returning(rawOp('neg', x, {}, tensorType('f32', ['d', 'T']))),
      '@kernel: the result of neg is f32[T, d], not f32[d, T]',
    ],
    [
      'a missing attribute',
      returning(rawOp('cast', x, {}, hidden)),
      "@kernel: cast needs the attribute 'dtype'",
    ],
    [
      'a wrong operand',
      returning(rawOp('not', x, {}, hidden)),
      '@kernel: not: operand 0 must be bool, not f32',
    ],
    [
      'an attribute of another kind',
      returning(rawOp('reshape', x, { shape: [2, 3] }, hidden)),
      "@kernel: reshape: attribute 'shape' must be a list of dimensions",
    ],
    [
      'an unknown op',
      returning(rawOp('frob' as never, x, {}, hidden)),
      "@kernel: there is no operation 'frob'",
    ],
    [
      'a dimension without a value',
      returning(rawOp('full', [], { value: 1, dtype: 'f32', shape: [dim('T'), dim(2 ** 40)] }, hidden)),
      '@kernel: the result of full is f32[T, 1099511627776], not f32[T, d]',
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toContain(wanted));
});

describe('3: dimensions are declared and bounded', () => {
  const dims = (name: string, min: number, max: number): Module => ({
    ...sound,
    dims: withEntries(sound.dims, [name, { min, max }]),
  });
  test.each<[string, Module, string[]]>([
    ['least above greatest', dims('S', 5, 4), ['dimension S has the bounds 5..4']],
    ['negative', dims('S', -1, 4), ['dimension S has the bounds -1..4']],
    [
      'a fraction',
      { ...sound, dims: withEntries(sound.dims, ['h', { value: 0.5 }]) },
      ['dimension h has the bounds 0.5..0.5'],
    ],
    [
      'in an argument',
      withFunc('main', (f) => ({ args: [...f.args, { type: tensorType('f32', ['Q']), name: 'q' }] })),
      ['@main: an argument uses the undeclared dimension Q'],
    ],
    [
      'in an attribute',
      withFunc('main', ({ body }) =>
        inserted(
          body,
          0,
          rawOp('full', [], { value: 1, dtype: 'f32', shape: [dim('Q')] }, tensorType('f32', ['Q'])),
        ),
      ),
      ['@main: full uses the undeclared dimension Q'],
    ],
    [
      'in a state',
      { ...sound, states: withEntries(sound.states, ['q', { type: tensorType('f32', ['Q']) }]) },
      ['@q uses the undeclared dimension Q'],
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toEqual(wanted));
});

describe('4: calls', () => {
  const call = (callee: string): Op => rawOp('kernel', func('kernel').args, { callee }, hidden);
  const [kernel, body, main] = ['kernel', 'body', 'main'].map(func) as [Func, Func, Func];
  test.each<[string, Module, string]>([
    ['of itself', withFunc('kernel', (f) => inserted(f.body, 0, call('kernel'))), '@kernel calls itself'],
    [
      'of a function that stands after it',
      withFunctions(sound, [main, kernel, body]),
      '@main calls @body, which stands after it',
    ],
    ['of nothing', withFunctions(sound, [body, main]), '@main: kernel: there is no function @kernel'],
    [
      'of a function that is no kernel',
      withFunc('kernel', () => ({ kernel: undefined })),
      '@main: @kernel is not a kernel function',
    ],
    [
      'of a function of no loop',
      withFunc('body', (f) => ({ loop: undefined, body: f.body.slice(3), results: f.args })),
      '@main: @body is not a function of loop layer',
    ],
    [
      'in a kernel',
      withFunc('kernel', (f) =>
        inserted(f.body, 0, rawOp('param', [], { name: 'v' }, tensorType('f32', ['d']))),
      ),
      '@kernel: a kernel function cannot contain param',
    ],
    [
      'a kernel in a loop',
      withFunc('kernel', () => ({ loop: 'layer' })),
      'kernel function @kernel belongs to a loop',
    ],
    [
      'a function of a missing loop',
      withFunc('body', () => ({ loop: 'other' })),
      '@body belongs to loop other, which does not exist',
    ],
    [
      'a weight of another loop',
      withFunc('main', (f) =>
        inserted(f.body, 0, rawOp('param', [], { name: 'w' }, tensorType('f32', ['d']))),
      ),
      '@main: param: parameter @w belongs to loop layer and cannot be read outside it',
    ],
    [
      'a function under another name',
      { ...sound, functions: new Map([['other', kernel]]) },
      'function @kernel is filed under @other',
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toContain(wanted));

  test('recursion through several functions ends', () => {
    const other = { ...kernel, name: 'other', body: [call('kernel')] };
    const broken = withFunctions(sound, [{ ...kernel, body: [call('other')] }, other, body, main]);
    expect(messages(broken)).toContain('@kernel calls @other, which stands after it');
    expect([...symbolsOf(broken, main)]).toEqual(['T']);
  });
});

describe('5: loops, parameters and states', () => {
  test.each<[string, string, string]>([
    ['too few indices', 'loop l over d = [0, 1]', 'loop l has 2 indices, its count is 4'],
    ['a count that is not known', 'loop l over T = [0]', 'loop l has 1 indices, its count is undefined'],
    [
      'a count that is no integer',
      'loop l over d/3 = [0]',
      'loop l: d/3 is 1.3333333333333333, which is not an exact integer',
    ],
    ['a missing loop', 'state @s in l : f32[]', '@s belongs to loop l, which does not exist'],
    ['a size of run time', 'state @s : f32[T]', 'the size of @s is not known at compile time: f32[T]'],
    [
      'a size that is no integer',
      'state @s : f32[d/3]',
      '@s: d/3 is 1.3333333333333333, which is not an exact integer',
    ],
    ['another type', 'param @p : f32[d] = source("p", f32[2])', 'recipe of @p makes f32[2], not f32[d]'],
    [
      'a constant of other size',
      'param @p : f32[d] = constant(f32[d], "AAAA")',
      'recipe of @p: the constant has 3 bytes, f32[d] has 16',
    ],
    [
      'a stack of other count',
      'param @p : f32[2] = stack(2, source("p", f32[]))',
      'recipe of @p: 1 parts are stacked, 2 is 2',
    ],
    [
      'parts that differ',
      'param @p : f32[2] = stack(2, source("p", f32[]), source("q", i32[]))',
      'recipe of @p: parts are f32[] and i32[]',
    ],
    ['no parts', 'param @p : f32[2] = per_index()', 'recipe of @p: a recipe needs at least one part'],
    [
      'an op of other type',
      'param @p : f32[d] = transpose(source("p", f32[d]), perm=[1])',
      'recipe of @p: transpose: perm [1] is not a permutation of the 1 axes',
    ],
    [
      'an op with two results',
      'param @p : f32[1] = topk(source("p", f32[d]), k=1)',
      'recipe of @p: topk does not have exactly one result',
    ],
    [
      'a structural op',
      'param @q : f32[] = source("q", f32[]) param @p : f32[] = param(name=@q)',
      'recipe of @p: param cannot stand in a recipe',
    ],
    [
      'too few parts by turn',
      'loop l over 2 = [0, 1] param @p in l : f32[] = per_index(source("p", f32[]))',
      'recipe of @p has 1 parts by turn, its loop has 2 turns',
    ],
    [
      'parts by turn without a loop',
      'param @p : f32[] = neg(per_index(source("p", f32[])))',
      'recipe of @p has 1 parts by turn, its loop has 0 turns',
    ],
  ])('%s', (_, text, wanted) => expect(messages(parsed(text))).toEqual([wanted]));
});

describe('6: states', () => {
  const states = 'loop l over 2 = [0, 1] state @s : f32[]';
  const write = 'func @write in l(%x: f32[]) -> (f32[]) { state_write(%x, name=@s) return %x }';
  const read = 'func @read in l(%x: f32[]) -> (f32[]) { %y = state_read(name=@s) : f32[] return %y }';
  const entry = (...lines: string[]): string =>
    `entry @main(%x: f32[]) -> (y: f32[]) { ${lines.join(' ')} return %x }`;
  const repeat = (callee: string, name: string): string =>
    `%${name} = repeat(%x, callee=@${callee}, loop=@l, carried=1) : f32[]`;
  const set = 'state_write(%x, name=@s)';
  const get = '%g = state_read(name=@s) : f32[]';
  test.each<[string, string, string[]]>([
    ['written twice', entry(set, set), ['@main: state @s is written twice']],
    ['read after it was written', entry(set, get), ['@main: state @s is read after it was written']],
    [
      'read after a loop wrote it',
      entry(repeat('write', 'a'), get),
      ['@main: state @s is read after it was written'],
    ],
    ['written by a loop and again', entry(repeat('write', 'a'), set), ['@main: state @s is written twice']],
    [
      'written, then read by a loop',
      entry(set, repeat('read', 'a')),
      ['@main: state @s is read after it was written'],
    ],
    ['read, by a loop too, then written', entry(get, repeat('read', 'a'), set), []],
  ])('%s', (_, text, wanted) =>
    expect(messages(parsed(`${states} ${write} ${read} ${text}`))).toEqual(wanted),
  );
});

describe('7: entries', () => {
  const main = func('main');
  const [x] = main.args as [Value];
  test.each<[string, Module, string]>([
    [
      'inputs of one name',
      withFunc('main', () => ({ args: [x, { ...x }] })),
      'inputs of @main need distinct names',
    ],
    [
      'outputs of one name',
      withFunc('main', ({ results }) => ({ outputs: ['y', 'y'], results: [...results, ...results] })),
      'outputs of @main need distinct names',
    ],
    ['too few names', withFunc('main', () => ({ outputs: [] })), '@main names 0 outputs and returns 1'],
    ['in a loop', withFunc('main', () => ({ loop: 'layer' })), 'entry @main belongs to a loop'],
    ['a kernel', withFunc('main', () => ({ kernel: 'row' })), 'entry @main is a kernel function'],
    [
      'a symbol in the body alone',
      parsed('entry @e(%x: f32[d]) -> (n: i32[]) { %n = dim_size(dim=T) : i32[] return %n }'),
      'symbol T of @e is not an axis of any input',
    ],
    [
      'a symbol in a sum alone',
      parsed('entry @e(%x: f32[T + 1]) -> (x: f32[T + 1]) { return %x }'),
      'symbol T of @e is not an axis of any input',
    ],
    [
      'a symbol in a product alone',
      parsed('entry @e(%x: f32[T*half]) -> (x: f32[T*half]) { return %x }'),
      'symbol half of @e is not an axis of any input',
    ],
    [
      'a symbol of a callee',
      parsed(
        'func @k kernel pointwise() -> (i32[]) { %n = dim_size(dim=T) : i32[] return %n } entry @e() -> (n: i32[]) { %n = kernel(callee=@k) : i32[] return %n }',
      ),
      'symbol T of @e is not an axis of any input',
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toContain(wanted));
});

describe('8: names are identifiers', () => {
  const [x] = func('main').args as [Value];
  test.each<[string, Module, string]>([
    [
      'a dimension',
      { ...sound, dims: withEntries(sound.dims, ['a b', { value: 1 }]) },
      "dimension 'a b' is not named by an identifier",
    ],
    [
      'a loop',
      { ...sound, loops: withEntries(sound.loops, ['1', { count: dim(0), indices: [] }]) },
      "loop '1' is not named by an identifier",
    ],
    [
      'an input',
      withFunc('main', () => ({ args: [x, { type: scalarType('f32') }] })),
      "input of @main '' is not named by an identifier",
    ],
    [
      'an output',
      withFunc('main', () => ({ outputs: ['y-1'] })),
      "output of @main 'y-1' is not named by an identifier",
    ],
  ])('%s', (_, module, wanted) => expect(messages(module)).toContain(wanted));
});

/** The text form: round trips, what the parser rejects and where, and text that is meant to break it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HewError } from '../../ir/diagnostics.js';
import { emptyModule } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { printFuncMarking, printModule } from '../../ir/print.js';
import { tensorType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { randomModule } from '../property/random-graph.js';

/** A module with one of everything that text can say. */
const everything = `module @"a model \\"quoted\\"" {
  dim T in 1..8
  dim d = 4
  dim layers = 2
  loop layer over layers = [3, 5]
  state @pos : i32[]
  state @cache in layer : f32[8, d]
  param @embed : bf16[6, d] = source("model.embed", bf16[6, d])
  param @"odd name, with a comma" : f32[2] = constant(f32[2], "AACAPwAAAEA=")
  param @layers.{layer}.w in layer : f32[d, d] = per_index(transpose(source("0.w", f32[d, d]), perm=[1, 0]), source("{layer}.w", f32[d, d]))
  param @experts : f32[2, d] = stack(2, source("e.0", f32[d]), source("e.1", f32[d]))
  tokenizer "tokenizer.json"
  sampler text {"temperature":0.8,"stop":[1,-2],"text":"a {b} \\"c\\"","greedy":false}

  func @neg.1 kernel pointwise(%0: f32[T, d]) -> (f32[T, d]) {
    %1 = neg(%0) : f32[T, d]
    return %1
  }

  func @body in layer(%h: f32[T, d], %pos: i32[]) -> (f32[T, d]) {
    %w = param(name=@layers.{layer}.w) : f32[d, d]
    %k = linear(%h, %w) : f32[T, d]
    %cache = state_read(name=@cache) : f32[8, d]
    %next = cache_append(%cache, %k, %pos) : f32[8, d]
    state_write(%next, name=@cache)
    %0 = kernel(%k, callee=@neg.1) : f32[T, d]
    return %0
  }

  entry @main(%ids: i32[T]) -> (y: f32[T, d], i: i32[T, 1]) {
    %pos = state_read(name=@pos) : i32[]
    %embed = param(name=@embed) : bf16[6, d]
    %rows = gather(%embed, %ids) : bf16[T, d]
    %x = cast(%rows, dtype=f32) : f32[T, d]
    %y = repeat(%x, %pos, callee=@body, loop=@layer, carried=1) : f32[T, d]
    %part = slice(%y, axis=1, start=0, end=d - 2) : f32[T, d - 2]
    %0, %i = topk(%part, k=1) : f32[T, 1], i32[T, 1]
    %low = full(value=-Infinity, shape=[T, d/2]) : f32[T, d/2]
    %nan = full(value=NaN) : f32[]
    %tiny = full(value=-5e-324) : f32[]
    %zero = full(value=-0) : f32[]
    %far = full(value=1e+21) : f32[]
    return %y, %i
  }
}
`;

describe('round trip', () => {
  test('of everything', () => {
    const module = parseModule(everything);
    expect(verifyModule(module)).toEqual([]);
    expect(printModule(module)).toBe(everything);
    expect(parseModule(printModule(module)).params).toEqual(module.params);
  });

  test('of a module without functions, and of one without anything', () => {
    expect(printModule(emptyModule('none'))).toBe('module @none {\n}\n');
    const text = 'module @m {\n  dim T in 0..3\n}\n';
    expect(printModule(parseModule(text))).toBe(text);
  });

  test('of random modules', () => {
    const law = fc.property(randomModule(), ({ module }) => {
      const text = printModule(module);
      expect(printModule(parseModule(text))).toBe(text);
    });
    fc.assert(law, { numRuns: 60 });
  });

  test('of a constant of some megabytes', () => {
    const type = tensorType('f32', [1 << 20]);
    const recipe = {
      kind: 'constant',
      type,
      bytes: encodeBytes('f32', new Float64Array(1 << 20).fill(0.1)),
    } as const;
    const module = { ...emptyModule('m'), params: new Map([['w', { type, recipe }]]) };
    expect(parseModule(printModule(module)).params.get('w')?.recipe).toEqual(recipe);
  });

  test('names that collide, or that are no identifiers, are replaced', () => {
    const text =
      'module @m { func @f(%x: f32[], %x_2: f32[]) -> (f32[]) { %y = add(%x, %x_2) : f32[] return %y } }';
    const module = parseModule(text);
    const func = module.functions.get('f');
    if (func === undefined) throw new Error('@f was parsed');
    const args = func.args.map((arg) => Object.assign(arg, { name: 'x' }));
    const [y] = func.body[0]?.results ?? [];
    Object.assign(y ?? {}, { name: 'not an identifier' });
    expect(args).toHaveLength(2);
    expect(printModule(module)).toContain('@f(%x: f32[], %x_2: f32[])');
    expect(printModule(module)).toContain('%0 = add(%x, %x_2)');
  });
});

test('a function is marked under the op to blame', () => {
  const func = parseModule(everything).functions.get('neg.1');
  if (func === undefined) throw new Error('the kernel was parsed');
  expect(printFuncMarking(func, 0, 'here').split('\n').slice(1, 3)).toEqual([
    '  %1 = neg(%0) : f32[T, d]',
    '  ^^^^^^^^^^^^^^^^^^^^^^^^ here',
  ]);
});

/** Fails unless parsing reports one HEW5001, and gives its message and the text at its place. */
function syntaxError(text: string): { message: string; at: string } {
  try {
    parseModule(text, 'test.ir');
  } catch (error) {
    if (!(error instanceof HewError)) throw error;
    const [found] = error.diagnostics;
    const span = found?.labels[0]?.span;
    expect(found?.code).toBe('HEW5001');
    expect(span?.file).toBe('test.ir');
    return { message: found?.message ?? '', at: text.slice(span?.start, span?.end) };
  }
  throw new Error('the text was accepted');
}

const inFunc = (line: string): string =>
  `module @m { dim d = 4 state @s : f32[d] func @f(%x: f32[d]) -> (f32[d]) { ${line} return %x } }`;

describe('HEW5001 names the place', () => {
  test.each<[string, string, string]>([
    ['module @m { ? }', "unexpected character '?'", '?'],
    [
      'module @m {',
      "expected one of dim, loop, param, state, func, entry, tokenizer, sampler or '}', found the end of the text",
      '',
    ],
    ['module @m { } extra', "expected the end of the text, found 'extra'", 'extra'],
    ['modul @m { }', "expected 'module', found 'modul'", 'modul'],
    ['module m { }', "expected a symbol such as @name, found 'm'", 'm'],
    [
      'module @m { import }',
      "expected one of dim, loop, param, state, func, entry, tokenizer, sampler or '}', found 'import'",
      'import',
    ],
    [
      'module @m { constructor }',
      "expected one of dim, loop, param, state, func, entry, tokenizer, sampler or '}', found 'constructor'",
      'constructor',
    ],
    ['module @m { dim d = 1.5 }', '1.5 is not an integer', '1.5'],
    ['module @m { dim d = 1 dim d = 2 }', 'd is declared twice', 'd'],
    ['module @m { state @s : f32[] state @s : f32[] }', 's is declared twice', '@s'],
    ['module @m { func @f() -> () { return } func @f() -> () { return } }', 'f is declared twice', '@f'],
    ['module @m { state @s : f33[] }', "'f33' is not a data type", 'f33'],
    ['module @m { state @s : f32[n] }', "dimension 'n' is not declared", 'n'],
    ['module @m { state @s : f32[4/0] }', 'division of a dimension by zero', '4'],
    ['module @m { state @s : f32[9007199254740991*9] }', 'dimension is too large', '9007199254740991'],
    ['module @m { param @p : f32[] = nothing() }', "'nothing' is not a recipe or an operation", 'nothing'],
    [
      'module @m { param @p : f32[] = reshape(source("a", f32[])) }',
      "reshape needs the attribute 'shape'",
      'reshape',
    ],
    ['module @m { sampler text 5 }', "expected '{', found '5'", '5'],
    ['module @m { sampler text {"a": } }', `Unexpected token '}', "{"a":}" is not valid JSON`, '{'],
    ['module @m { sampler text {"a": ', "expected '}', found the end of the text", ''],
    [
      'module @m { tokenizer "\\x" }',
      'Bad escaped character in JSON at position 2 (line 1 column 3)',
      '"\\x"',
    ],
    [inFunc('%y = frob(%x) : f32[d]'), "there is no operation 'frob'", 'frob'],
    [inFunc('%y = neg(%z) : f32[d]'), '%z is not defined', '%z'],
    [inFunc('%x = neg(%x) : f32[d]'), '%x is defined twice', '%x'],
    [inFunc('%a, %a = topk(%x, k=1) : f32[1], i32[1]'), '%a is defined twice', '%a'],
    [inFunc('%y = neg(%x) : i32[d]'), 'neg: declared i32[d], but it is f32[d]', 'neg'],
    [inFunc('%y, %z = neg(%x) : f32[d], f32[d]'), 'neg: declared f32[d], f32[d], but it is f32[d]', 'neg'],
    [inFunc('neg(%x)'), 'neg has 1 results, 0 named', 'neg'],
    [inFunc('%y = neg(%x, axis=1) : f32[d]'), "neg has no attribute 'axis'", 'axis'],
    [inFunc('%y = neg(%x, constructor=1) : f32[d]'), "neg has no attribute 'constructor'", 'constructor'],
    [inFunc('%y = softmax(%x, axis=0, axis=0) : f32[d]'), "attribute 'axis' is given twice", 'axis'],
    [inFunc('%y = softmax(%x, axis=3) : f32[d]'), 'softmax: axis 3 is out of range for rank 1', 'softmax'],
    [
      inFunc('%y = reduce_sum(%x, axes=[0], keepdims=maybe) : f32[1]'),
      "expected 'true' or 'false', found 'maybe'",
      'maybe',
    ],
    [inFunc('%y = cast(%x, dtype=f64) : f32[d]'), "cast: attribute 'dtype' must be a data type", 'cast'],
    [inFunc('%y = add(%x) : f32[d]'), 'add takes 2 operands (a, b), 1 given', 'add'],
    [inFunc('%y = state_read(name=@t) : f32[d]'), 'state_read: there is no state @t', 'state_read'],
    [inFunc('%y = kernel(%x, callee=@g) : f32[d]'), 'kernel: there is no function @g', 'kernel'],
    ['module @m { func @f(%x: f32[], %x: f32[]) -> () { return } }', '%x is defined twice', '%x'],
    [
      'module @m { func @f(%x: f32[]) -> (i32[]) { return %x } }',
      '@f returns: declared i32[], but it is f32[]',
      '}',
    ],
  ])('%s', (text, message, at) => {
    expect(syntaxError(text)).toEqual({ message, at });
  });

  test('nesting is followed to a bounded depth', () => {
    const deep = (open: string, close: string) =>
      `module @m { state @s : f32[${open.repeat(100_000)}1${close.repeat(100_000)}] }`;
    expect(syntaxError(deep('(', ')')).message).toBe('this is nested too deeply');
    expect(syntaxError(deep('-', '')).message).toBe('this is nested too deeply');
    const recipe = `${'neg('.repeat(100_000)}source("a", f32[])${')'.repeat(100_000)}`;
    expect(syntaxError(`module @m { param @p : f32[] = ${recipe} }`).message).toBe(
      'this is nested too deeply',
    );
    expect(syntaxError('module @m { dim d = - - 1 }').message).toBe("expected a number, found '-'");
  });

  test('polynomials do not explode', () => {
    const names = Array.from({ length: 12 }, (_, i) => `n${i}`);
    const sum = `(${names.join(' + ')})`;
    const text = `module @m { ${names.map((n) => `dim ${n} = 1`).join(' ')} state @s : f32[${Array(40).fill(sum).join('*')}] }`;
    expect(syntaxError(text).message).toBe('dimension has too many terms');
  });
});

/** One edit of a text: tokens removed, doubled, exchanged or replaced by others of the text or by oddities. */
const oddities = [
  '',
  '(',
  ']',
  '@x',
  '%0',
  '-1',
  '1e999',
  '"',
  '//',
  'NaN',
  '9007199254740993',
  '__proto__',
  '[[',
  ',',
  'T/3',
  '=',
  '0',
];
const edits = fc.array(fc.record({ at: fc.nat(), with: fc.nat(), how: fc.nat({ max: 4 }) }), {
  minLength: 1,
  maxLength: 4,
});

function mutate(text: string, list: readonly { at: number; with: number; how: number }[]): string {
  const parts = text.split(/(\s+|[(),[\]=:@%*+-])/);
  for (const { at, with: other, how } of list) {
    const [i, j] = [at % parts.length, other % parts.length];
    const [a, b] = [parts[i] as string, parts[j] as string];
    if (how === 0) parts[i] = '';
    if (how === 1) parts[i] = a + a;
    if (how === 2) [parts[i], parts[j]] = [b, a];
    if (how === 3) parts[i] = b;
    if (how === 4) parts[i] = oddities[other % oddities.length] as string;
  }
  return parts.join('');
}

describe('hostile text', () => {
  test('is accepted or a HewError, and what is accepted can be verified and printed', () => {
    const texts = fc.oneof(
      fc.constant(everything),
      randomModule({ steps: 8 }).map(({ module }) => printModule(module)),
    );
    const law = fc.property(texts, edits, (text, list) => {
      try {
        const module = parseModule(mutate(text, list));
        verifyModule(module);
        const printed = printModule(module);
        expect(printModule(parseModule(printed))).toBe(printed);
      } catch (error) {
        if (!(error instanceof HewError)) throw error;
      }
    });
    fc.assert(law, { numRuns: Number(process.env.HEW_PROPERTY_RUNS ?? 600) });
  });
});

/** Every mistake a spec can hold has its code, and its message says what to do. */
import { describe, expect, it } from 'vitest';
import { elaborate } from '../../compiler/frontend/elaborate.js';
import { renderDiagnostics } from '../../compiler/render.js';
import { checkpoint, memoryFiles } from './memory-files.js';

interface Case {
  readonly spec: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly overrides?: Readonly<Record<string, unknown>>;
  readonly tensors?: Readonly<Record<string, readonly number[]>>;
}

const entry = (body: string, result = '[T, d]') => `
dim d = 8
dim T <= 16
entry run(x: [T, d], ids: i32[T]) -> (y: ${result}) {
${body}
}
`;

const cases: Readonly<Record<string, Case>> = {
  'HEW2001 unknown name': { spec: entry('  return (y = xx)') },
  'HEW2001 unknown block': { spec: entry('  return (y = RmsNorm(x, 1e-5) at "norm")') },
  'HEW2001 misspelt block': {
    spec: `import "hew:blocks"${entry('  return (y = RmsNorm(x, 1e-5) at "norm")')}`,
  },
  'HEW2001 unknown type': {
    spec: 'fn f(x: f33[2]) -> f32 { return 1.0 }\nentry e(x: f33[2]) -> (y: f32[2]) { return (y = x) }',
  },
  'HEW2001 unknown member': { spec: entry('  return (y = x.t)') },
  'HEW2002 defined twice': { spec: entry('  let a = x\n  let a = x + 1.0\n  return (y = a)') },
  'HEW2002 module twice': {
    spec: `fn f(x: [2]) -> [2] { return x }\nmodule f(x: [2]) -> [2] { return x }${entry('  return (y = x)')}`,
  },
  'HEW2003 too many arguments': {
    spec: `fn f(a: [.., n]) -> [.., n] { return a }${entry('  return (y = f(x, x))')}`,
  },
  'HEW2003 missing argument': {
    spec: `fn f(a: [.., n], eps: float) -> [.., n] { return a }${entry('  return (y = f(x))')}`,
  },
  'HEW2003 unknown parameter': {
    spec: `fn f(a: [.., n], eps: float = 1.0) -> [.., n] { return a }${entry('  return (y = f(x, esp = 2.0))')}`,
  },
  'HEW2003 fn with a weight': {
    spec: `fn f(a: [.., n]) -> [.., n] {\n  weight w: [n] = "w"\n  return a * w\n}${entry('  return (y = f(x))')}`,
  },
  'HEW2004 operands': { spec: `dim e = 9\n${entry('  weight w: [d, e] = "w"\n  return (y = x @ w.T)')}` },
  'HEW2004 argument': { spec: `fn f(a: [n, n]) -> [n, n] { return a }${entry('  return (y = f(x))')}` },
  'HEW2004 equal values, other names': {
    spec: `dim e = 8\n${entry('  weight w: [e, d] = "w"\n  return (y = x @ w.T)')}`,
  },
  'HEW2004 in a library block': {
    spec: `import "hew:blocks"${entry('  return (y = SelfAttention[2, 4](x))')}`,
  },
  'HEW2005 dtypes': { spec: entry('  return (y = x + ids)') },
  'HEW2006 run-time value': { spec: entry('  if ids { let a = x }\n  return (y = x)') },
  'HEW2006 constant parameter': {
    spec: `fn f(a: [.., n], k: int) -> [.., n] { return a }${entry('  return (y = f(x, ids))')}`,
  },
  'HEW2006 run-time size': {
    spec: `dim T <= 4\ndim n = T * 2\n${entry('  return (y = x)').replace('dim T <= 16\n', '')}`,
  },
  'HEW2007 inexact division': { spec: 'dim d = 10\ndim q = d / 4\n' },
  'HEW2007 zero': { spec: 'dim d = 4 - 4\n' },
  'HEW2007 float dimension': { spec: 'dim d = 4.5\n' },
  'HEW2007 cannot be inferred': {
    spec: `fn f[k](a: [.., n]) -> [.., n] { return a * full(value = 1.0, shape = [k]) }${entry('  return (y = f(x))')}`,
  },
  'HEW2008 no return': { spec: entry('  let a = x') },
  'HEW2008 wrong output': { spec: entry('  return (z = x)') },
  'HEW2008 early return': { spec: entry('  if true { return x }\n  return (y = x)') },
  'HEW2008 no entry': { spec: 'dim d = 2\n' },
  'HEW2009 state rows': { spec: entry('  state cache: [4, d]\n  cache[0 : 3] = x[0:2]\n  return (y = x)') },
  'HEW2009 constant': { spec: entry('  d = 3\n  return (y = x)') },
  'HEW2010 one weight, two types': {
    spec: entry('  weight a: [d, 4] = "w"\n  weight b: [4, d] = "w"\n  return (y = x @ a @ b)'),
  },
  'HEW2011 requirement': {
    spec: `config heads: int = 5\nrequire heads % 2 == 0, "heads must be even, not {heads}"\n${entry('  return (y = x)')}`,
  },
  'HEW2012 missing axis': { spec: entry('  return (y = x : [T, d] -> [d])') },
  'HEW2012 group': { spec: entry('  let h = 3\n  return (y = x : [T, (h k)] -> [T, h, k])') },
  'HEW2012 rank': { spec: entry('  return (y = x : [a, b, c] -> [c, a, b])') },
  'HEW2013 recursion': {
    spec: `fn f(a: [.., n]) -> [.., n] { return g(a) }\nfn g(a: [.., n]) -> [.., n] { return f(a) }${entry('  return (y = f(x))')}`,
  },
  'HEW2014 empty loop': { spec: entry('  for i in 3 : 3 { x = x + 1.0 }\n  return (y = x)') },
  'HEW2014 nested loops': { spec: entry('  for i in 2 { for j in 3 { x = x + 1.0 } }\n  return (y = x)') },
  'HEW2014 constant carried': { spec: entry('  let k = 1\n  for i in 2 { k = k + 1 }\n  return (y = x)') },
  'HEW2015 attribute': { spec: entry('  return (y = softmax(x, axes = [0]))') },
  'HEW2015 attribute kind': { spec: entry('  return (y = softmax(x, axis = 0.5))') },
  'HEW3001 import': { spec: `import "./other.hew"${entry('  return (y = x)')}` },
  'HEW3002 missing value': { spec: `config hidden: int${entry('  return (y = x)')}` },
  'HEW3003 wrong kind': { spec: `config hidden: int${entry('  return (y = x)')}`, config: { hidden: '12' } },
  'HEW3003 override': {
    spec: `config hidden: int${entry('  return (y = x)')}`,
    overrides: { hidden: 'many' },
  },
  'HEW3004 bad JSON': {
    spec: `config "config.json"${entry('  return (y = x)')}`,
    files: { 'config.json': '{ "a": ' },
  },
  'HEW3005 absolute path': { spec: `import "/etc/blocks.hew"${entry('  return (y = x)')}` },
  'HEW3005 ending': { spec: `weights "model.bin"${entry('  return (y = x)')}` },
  'HEW3007 cycle': { spec: 'extend "a.hew"', files: { 'a.hew': 'extend "model.hew"' } },
  'HEW3008 unknown key': {
    spec: `config hidden: int = 3${entry('  return (y = x)')}`,
    overrides: { hiden: '4' },
  },
  'HEW4002 missing tensor': {
    spec: entry(
      '  for i in 3 {\n    weight w: [d] = "layers.{i}.gamma"\n    x = x * w\n  }\n  return (y = x)',
    ),
    tensors: { 'layers.0.gama': [8], 'layers.0.gamma': [8] },
  },
  'HEW4003 wrong shape': { spec: entry('  weight w: [d] = "w"\n  return (y = x * w)'), tensors: { w: [9] } },
};

function run({ spec, files = {}, config, overrides, tensors }: Case) {
  return elaborate('model.hew', {
    files: memoryFiles({ 'model.hew': spec, ...files }),
    config: { ...(config ? { json: config } : {}), ...(overrides ? { overrides } : {}) },
    tensors: tensors && checkpoint(tensors),
  });
}

describe('errors of elaboration', () => {
  it.each(Object.entries(cases))('%s', (name, given) => {
    const result = run(given);
    expect(result.module).toBeUndefined();
    expect(result.diagnostics[0]?.code).toBe(name.slice(0, 7));
    expect(
      `\n${renderDiagnostics(result.diagnostics, (file) => result.sources.get(file))}`,
    ).toMatchSnapshot();
  });

  it('reports several errors of one run, each once', () => {
    const spec = entry(
      '  let a = x + ids\n  let b = a + missing\n  let c = x @ x\n  let e = nothing(b)\n  return (y = c)',
    );
    const codes = run({ spec }).diagnostics.map((d) => d.code);
    expect(codes).toEqual(['HEW2005', 'HEW2001', 'HEW2004', 'HEW2001']);
  });

  it('ends on specs that blow up', () => {
    const doubling = Array.from(
      { length: 30 },
      (_, i) => `fn f${i}(x: [n]) -> [n] { return ${i === 0 ? 'x' : `f${i - 1}(f${i - 1}(x))`} }`,
    ).join('\n');
    const result = run({ spec: `${doubling}\nentry e(x: [2]) -> (y: [2]) { return (y = f29(x)) }` });
    expect(result.diagnostics.map((d) => d.code)).toContain('HEW1004');
  });

  it.each([
    [
      'text that doubles',
      Array.from({ length: 60 }, (_, i) => `let s${i + 1} = "{s${i}}{s${i}}"`).join('\n'),
    ],
    [
      'dimensions that grow',
      Array.from({ length: 40 }, (_, i) => `dim a${i} = ${i + 2}`).join('\n') +
        `\nlet p = (${Array.from({ length: 40 }, (_, i) => `a${i}`).join(' + ')}) ** 8`,
    ],
    ['powers that grow', 'let p = 9 ** 9 ** 9'],
    [
      'deep expressions in deep calls',
      `${Array.from(
        { length: 39 },
        (_, i) =>
          `fn f${i}(x: f32) -> f32 { return ${i === 0 ? 'x' : `f${i - 1}(x)`}${' + 1.0'.repeat(230)} }`,
      ).join('\n')}\nentry e(x: f32) -> (y: f32) { return (y = f38(x)) }`,
    ],
    [
      'names that are many',
      'dim n = 90000\n' +
        Array.from(
          { length: 40 },
          (_, i) =>
            `module W${i}(x: [2]) -> [2] {\n  weight w[e in n]: [2] = "a${i}.{e}"\n  return x + w[0]\n}`,
        ).join('\n') +
        `\nentry e(x: [2]) -> (y: [2]) { return (y = ${Array.from({ length: 40 }, (_, i) => `W${i}(x)`).join(' + ')}) }`,
    ],
  ])(
    'ends on hostile specs: %s',
    (_name, spec) => {
      const result = run({ spec: `let s0 = "ab"\n${spec}` });
      expect(result.diagnostics.length).toBeGreaterThan(0);
      for (const d of result.diagnostics) expect(d.code).toMatch(/^HEW[12]\d{3}$/);
    },
    30_000,
  );
});

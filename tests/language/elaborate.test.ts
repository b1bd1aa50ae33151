/** What specs mean: the IR that comes out of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elaborate } from '../../compiler/frontend/elaborate.js';
import { interpretEntry } from '../../ir/interpret.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { emptyTensor, type Tensor } from '../../ir/tensor.js';
import { verifyModule } from '../../ir/verify.js';
import { specText } from './arbitrary-spec.js';
import { checkpoint, memoryFiles } from './memory-files.js';

function build(spec: string, tensors?: Readonly<Record<string, readonly number[]>>) {
  const result = elaborate('test.hew', {
    files: memoryFiles({ 'test.hew': spec }),
    tensors: tensors && checkpoint(tensors),
  });
  expect(result.diagnostics).toEqual([]);
  if (result.module === undefined) throw new Error('no module');
  expect(verifyModule(result.module)).toEqual([]);
  return { ...result, module: result.module };
}

function vector(values: readonly number[], shape = [values.length]): Tensor {
  const tensor = emptyTensor('f32', shape);
  values.forEach((value, i) => {
    tensor.data[i] = value;
  });
  return tensor;
}

/** The values of `y = expression` for `x = [[1, 2, 3], [4, 5, 6]]`. */
function computed(expression: string, type: string): number[] {
  const { module } = build(`
dim T <= 9
dim n = 3
entry run(x: [T, n]) -> (y: ${type}) { return (y = ${expression}) }
`);
  const x = vector([1, 2, 3, 4, 5, 6], [2, 3]);
  return [...(interpretEntry(module, 'run', { x }).y?.data ?? [])];
}

describe('expressions', () => {
  it.each([
    ['x + 1.0', '[T, n]', [2, 3, 4, 5, 6, 7]],
    ['-x ** 2.0', '[T, n]', [-1, -4, -9, -16, -25, -36]],
    ['x @ x.T', '[T, T]', [14, 32, 32, 77]],
    ['x[0]', '[n]', [1, 2, 3]],
    ['x[-1]', '[n]', [4, 5, 6]],
    ['x[:, 1:n]', '[T, n - 1]', [2, 3, 5, 6]],
    ['x[.., 0]', '[T]', [1, 4]],
    ['x[T - 1 : T]', '[1, n]', [4, 5, 6]],
    ['x[iota(length = 1)]', '[1, n]', [1, 2, 3]],
    ['x : [T, n] -> [n, T]', '[n, T]', [1, 4, 2, 5, 3, 6]],
    ['x : [T, n] -> [(n T)]', '[n * T]', [1, 4, 2, 5, 3, 6]],
    ['x : [.., n] -> [.., 1, n]', '[T, 1, n]', [1, 2, 3, 4, 5, 6]],
    ['reduce_sum(x, axes = [0]) / T', '[n]', [2.5, 3.5, 4.5]],
    ['where(x > 3.0, x, 0.0)', '[T, n]', [0, 0, 0, 4, 5, 6]],
    ['max(x, 2.5)', '[T, n]', [2.5, 2.5, 3, 4, 5, 6]],
    ['x * (if n == 3 and not false then 2.0 else 3.0)', '[T, n]', [2, 4, 6, 8, 10, 12]],
    ['full(value = min(n, 2) + sqrt(4.0))', 'f32', [4]],
  ])('%s', (expression, type, expected) => {
    expect(computed(expression, type)).toEqual(expected);
  });
});

describe('modules', () => {
  it('place weights by path, loop and stack, and carry what a loop assigns', () => {
    const { module, weightsUsed } = build(
      `
dim d = 4
dim experts = 2
dim layers = 3
dim T <= 8
module Mix(x: [T, d]) -> [T, d] {
  weight w[e in experts]: [d, d] = "experts.{e}.weight"
  return x @ w[0].T
}
entry run(x: [T, d]) -> (y: [T, d]) {
  for i in layers { x = Mix(x) at "layers.{i}.mlp" }
  return (y = x)
}
`,
    );
    expect([...weightsUsed].slice(0, 2)).toEqual([
      'layers.0.mlp.experts.0.weight',
      'layers.0.mlp.experts.1.weight',
    ]);
    expect(weightsUsed.size).toBe(6);
    expect(printModule(module)).toMatchSnapshot();
  });

  it('count turns where the loop variable is used as a number', () => {
    const { module } = build(`
dim n = 4
entry run(x: [n]) -> (y: [n], turns: [n]) {
  let turns = full(value = 0.0, shape = [n])
  for i in n {
    x = x + cast(i, dtype = f32)
    turns[i : i + 1] = cast(i, dtype = f32) : [] -> [1]
  }
  return (y = x, turns = turns)
}
`);
    const result = interpretEntry(module, 'run', { x: vector([0, 1, 2, 3]) });
    expect([...(result.y?.data ?? [])]).toEqual([6, 7, 8, 9]);
    expect([...(result.turns?.data ?? [])]).toEqual([0, 1, 2, 3]);
  });

  it('let one loop go on where another ended', () => {
    const { module, weightsUsed } = build(`
dim n = 2
dim more = 3
entry run(x: [n]) -> (y: [n], turns: [5]) {
  let turns = full(value = 0.0, shape = [5])
  for i in n {
    weight a: [n] = "layers.{i}.a"
    x = x + a
    turns[i : i + 1] = cast(i, dtype = f32) : [] -> [1]
  }
  for i in n : n + more {
    weight b: [n] = "layers.{i}.b"
    x = x * b
    turns[i : i + 1] = cast(i, dtype = f32) : [] -> [1]
  }
  return (y = x, turns = turns)
}
`);
    expect([...weightsUsed].sort()).toEqual(
      ['0.a', '1.a', '2.b', '3.b', '4.b'].map((name) => `layers.${name}`),
    );
    expect(printModule(module)).toContain('loop i_2 over more from n = [2, 3, 4]');
    expect(printModule(parseModule(printModule(module)))).toEqual(printModule(module));
    const source = {
      read: () => ({ dtype: 'f32' as const, bytes: new Uint8Array(new Float32Array([2, 3]).buffer) }),
    };
    const result = interpretEntry(module, 'run', { x: vector([1, 1]) }, { source });
    expect([...(result.y?.data ?? [])]).toEqual([40, 189]);
    expect([...(result.turns?.data ?? [])]).toEqual([0, 1, 2, 3, 4]);
  });

  it('keep states between calls', () => {
    const { module } = build(`
state total: [2]
module Add(x: [2]) -> [2] {
  total = total + x
  return total
}
entry add(x: [2]) -> (y: [2]) { return (y = Add(x)) }
entry twice(x: [2]) -> (y: [2]) {
  let first = Add(x)
  return (y = first + Add(x))
}
`);
    const states = new Map<string, Tensor>();
    const call = (entry: string) => [
      ...(interpretEntry(module, entry, { x: vector([1, 10]) }, { states }).y?.data ?? []),
    ];
    expect([call('add'), call('twice'), call('add')]).toEqual([
      [1, 10],
      [5, 50],
      [4, 40],
    ]);
  });

  it('are generic in dimensions, and in run-time symbols', () => {
    const { module } = build(`
dim T <= 8
dim d = 3
module Last(x: [T, d]) -> [d] { return x[T - 1] }
fn pairs[k](x: [.., n]) -> [.., n / k, k] { return x : [.., (m k)] -> [.., m, k] }
entry many(x: [T, d]) -> (y: [d]) { return (y = Last(x)) }
entry one(x: [1, d]) -> (y: [d]) { return (y = Last(x)) }
entry split(x: [T, 2 * d]) -> (y: [T, d, 2]) { return (y = pairs[2](x)) }
`);
    expect([...module.functions.keys()]).toEqual(['many', 'one', 'split']);
  });

  it('follow the checkpoint in dtype and in what it has', () => {
    const spec = `
dim d = 4
let rows = tensor_size("table", 0, 7)
entry run(x: [d]) -> (y: [rows]) {
  weight table: [rows, d] = "table"
  let y = x @ table.T
  if has_tensor("bias") {
    weight bias: [rows] = "bias"
    y = y + bias
  }
  return (y = y)
}
`;
    const types = (module: ReturnType<typeof build>['module']) =>
      [...module.params].map(([name, param]) => `${name} ${param.type.dtype}`);
    expect(types(build(spec).module)).toEqual(['table f32']);
    const given = build(spec, { table: [5, 4], bias: [5] });
    expect(types(given.module)).toEqual(['table bf16', 'bias bf16']);
    expect([...given.weightsUsed]).toEqual(['table', 'bias']);
  });

  it('run as several loops where the checkpoint answers differently from turn to turn', () => {
    const spec = `
dim d = 2
dim layers = 5
module Layer(x: [d]) -> [d] {
  weight scale: [d] = "scale"
  let y = x * scale
  if has_tensor("bias") {
    weight bias: [d] = "bias"
    y = y + bias
  }
  return y
}
module Body(x: [d]) -> [d] {
  for layer in 1 : layers { x = Layer(x) at "layers.{layer}" }
  return x
}
entry run(x: [d]) -> (y: [d]) { return (y = Body(x)) }
entry again(x: [d]) -> (y: [d]) { return (y = Body(x)) }
`;
    const scales = Object.fromEntries([1, 2, 3, 4].map((i) => [`layers.${i}.scale`, [2]]));
    const loopsOf = (tensors: Readonly<Record<string, readonly number[]>>) =>
      [...build(spec, tensors).module.loops].map(([name, { indices }]) => `${name}: ${indices}`);
    expect(loopsOf(scales)).toEqual(['layer: 1,2,3,4']);
    const mixed = { ...scales, 'layers.1.bias': [2], 'layers.3.bias': [2], 'layers.4.bias': [2] };
    expect(loopsOf(mixed)).toEqual(['layer: 1', 'layer_2: 2', 'layer_3: 3,4']);
    const { module, weightsUsed } = build(spec, mixed);
    expect([...module.functions.keys()].filter((name) => name.startsWith('again'))).toHaveLength(4);
    expect([...module.params.keys()]).toEqual([
      'layers.{layer}.scale',
      'layers.{layer}.bias',
      'layers.{layer_2}.scale',
      'layers.{layer_3}.scale',
      'layers.{layer_3}.bias',
    ]);
    expect([...weightsUsed].sort()).toEqual(Object.keys(mixed).sort());
  });

  it('report what a turn lacks, whatever the turns before have', () => {
    const spec = `
dim d = 2
entry run(x: [d]) -> (y: [d]) {
  for layer in 3 {
    if has_tensor("{layer}.bias") {
      weight bias: [d] = "{layer}.bias"
      x = x + bias
    } else {
      weight scale: [d] = "{layer}.scale"
      x = x * scale
    }
  }
  return (y = x)
}
`;
    const { diagnostics } = elaborate('test.hew', {
      files: memoryFiles({ 'test.hew': spec }),
      tensors: checkpoint({ '0.bias': [2], '1.scale': [2] }),
    });
    expect(diagnostics.map(({ code, message }) => `${code} ${message}`)).toEqual([
      "HEW4002 '2.scale' is missing from the checkpoint",
    ]);
  });

  it('take their dims, names and functions from imported files', () => {
    const files = memoryFiles({
      'm/test.hew': 'extend "base.hew"\nsampler text { top_k = k, stop = [1, 2] }\n',
      'm/base.hew':
        'import "../lib/f.hew"\nlet k = 3\ndim d = k * 2\nentry run(x: [d]) -> (y: [d]) { return (y = f(x)) }\n',
      'lib/f.hew': 'let two = 2.0\nfn f(x: [n]) -> [n] { return x * two }\n',
    });
    const { module, diagnostics } = elaborate('m/test.hew', { files });
    expect(diagnostics).toEqual([]);
    expect(module?.sampler).toEqual({ kind: 'text', settings: { top_k: 3, stop: [1, 2] } });
  });
});

describe('any spec', () => {
  it('is elaborated or refused with codes, the same way each time', () => {
    fc.assert(
      fc.property(specText, (text) => {
        const run = () => elaborate('test.hew', { files: memoryFiles({ 'test.hew': text }) });
        const [first, second] = [run(), run()];
        expect(first.diagnostics).toEqual(second.diagnostics);
        for (const d of first.diagnostics) expect(d.code).toMatch(/^HEW[1-4]\d{3}$/);
        expect(first.module === undefined).toBe(first.diagnostics.length > 0);
      }),
      { numRuns: 100 },
    );
  });
});

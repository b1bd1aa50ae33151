import { beforeEach, describe, expect, it } from 'vitest';
import { load, type Model } from '../../backends/wasm/runtime/load.js';
import { codeOf, serve, toyBundle, toyLogits } from './fixture.js';

let model: Model;
beforeEach(async () => {
  model = await load('toy', { fetchFile: serve(toyBundle()) });
});

const a = Float32Array.of(1, 2, 3);
const b = Float32Array.of(4, 5, 6);

describe('run', () => {
  it('returns all outputs, or those asked for', () => {
    const all = { sum: Float32Array.of(5, 7, 9), product: Float32Array.of(4, 10, 18) };
    expect(model.run('vector', { a, b })).toEqual(all);
    expect(model.run('vector', { a, b }, { outputs: ['product'] })).toEqual({ product: all.product });
    expect(model.run('vector', { a, b }, { outputs: [] })).toEqual({});
  });

  it('computes only the outputs asked for', async () => {
    const bundle = toyBundle();
    // A state over the memory of output `sum`, to see what is written there.
    const watch = { name: 'watch', dtype: 'f32', shape: [2], address: 2176, bytes: 64 } as const;
    const manifest = { ...bundle.manifest, states: [...bundle.manifest.states, watch] };
    const watched = await load('toy', { fetchFile: serve(bundle, manifest) });
    watched.run('vector', { a, b }, { outputs: ['product'] });
    expect(watched.state('watch').read()).toEqual(Float32Array.of(0, 0));
    watched.run('vector', { a, b }, { outputs: ['sum'] });
    expect(watched.state('watch').read()).toEqual(Float32Array.of(5, 7));
  });

  it('returns copies that later calls leave alone', () => {
    const { sum } = model.run('vector', { a, b });
    model.run('vector', { a: b, b });
    expect(sum).toEqual(Float32Array.of(5, 7, 9));
  });

  it('takes views of a larger buffer, and shapes', () => {
    const view = new Float32Array([0, 1, 2, 3]).subarray(1);
    expect(model.run('vector', { a: { data: view, shape: [3] }, b }).sum).toEqual(Float32Array.of(5, 7, 9));
  });

  it('returns logits of all positions or of the last', () => {
    const ids = Int32Array.of(3, 1, 6);
    const { logits } = model.run('prefill', { ids }, { outputs: ['logits'] });
    expect(Array.from(logits as Float32Array)).toEqual([[3], [3, 1], [3, 1, 6]].flatMap(toyLogits));
    model.reset();
    expect(Array.from(model.run('prefill', { ids }).last as Float32Array)).toEqual(toyLogits([3, 1, 6]));
  });

  const x = new Float32Array(8);
  const two = Int32Array.of(0, 0);
  it.each<[string, string, Record<string, unknown>, RegExp]>([
    ['HEW7004', 'vektor', { a, b }, /no entry point 'vektor'; it has 'vector', 'prefill'/],
    ['HEW7004', 'vector', { a, b, c: a }, /input of 'vector' named 'c'/],
    ['HEW7005', 'vector', { a }, /input 'b' of 'vector' is missing/],
    ['HEW7005', 'vector', { a, b: Float64Array.of(1, 2, 3) }, /has to be a Float32Array/],
    ['HEW7005', 'vector', { a, b: [1, 2, 3] }, /has to be a Float32Array/],
    ['HEW7005', 'vector', { a, b: null }, /input 'b' of 'vector' is missing/],
    ['HEW7005', 'vector', { a, b: Float32Array.of(1) }, /input 'b' has 1 elements, which does not fit \[N\]/],
    ['HEW7005', 'vector', { a: new Float32Array(17), b }, /N = 17 is not within 1\.\.16/],
    ['HEW7005', 'vector', { a: new Float32Array(0), b: new Float32Array(0) }, /N = 0 is not within 1\.\.16/],
    ['HEW7005', 'vector', { a: { data: a, shape: [2] }, b }, /3 elements, which do not fill its shape \[2\]/],
    ['HEW7005', 'vector', { a: { data: a, shape: 3 }, b }, /shape of input 'a' is not a list/],
    ['HEW7005', 'vector', { a: { data: a, shape: [3, 1] }, b }, /has 2 dimensions/],
    ['HEW7005', 'denoise', { x: new Float32Array(6), t: two, y: two }, /does not fit \[B, 1, 2, 2\]/],
    ['HEW7005', 'denoise', { x, t: two, y: Int32Array.of(0) }, /input 'y' has 1 elements/],
    ['HEW7007', 'decode', { ids: Int32Array.of(8) }, /index 8 is out of range: there are 8 rows/],
    ['HEW7003', 'trap', {}, /'trap' broke off: unreachable/],
  ])('%s: %s %j', async (code, entry, inputs, message) => {
    const run = (): unknown => model.run(entry, inputs as Parameters<Model['run']>[1]);
    expect(run).toThrow(message);
    expect(await codeOf(run)).toBe(code);
  });

  it('refuses an unknown output and names those there are', () => {
    expect(() => model.run('vector', { a, b }, { outputs: ['total'] })).toThrow(
      /there are 'sum' and 'product'/,
    );
  });

  it('says when the context is full', async () => {
    const four = Int32Array.of(0, 0, 0, 0);
    for (let i = 0; i < 3; i++) model.run('prefill', { ids: four });
    const run = (): unknown => model.run('decode', { ids: Int32Array.of(0) });
    expect(run).toThrow(/1 more tokens do not fit after position 12/);
    expect(await codeOf(run)).toBe('HEW7006');
  });
});

describe('states', () => {
  const push = (id: number): unknown => model.run('decode', { ids: Int32Array.of(id) });

  it('are changed by steps and zeroed by reset', () => {
    push(5);
    expect(model.state('sum').read()).toEqual(Int32Array.of(5));
    model.reset();
    expect(model.state('sum').read()).toEqual(Int32Array.of(0));
  });

  it('can be written', async () => {
    model.state('sum').write(Int32Array.of(2));
    expect(push(1)).toEqual({ logits: Float32Array.from(toyLogits([3])) });
    expect(await codeOf(() => model.state('sum').write(Int32Array.of(1, 2)))).toBe('HEW7005');
    expect(await codeOf(() => model.state('sum').write(Float32Array.of(1)))).toBe('HEW7005');
    expect(await codeOf(() => model.state('cache'))).toBe('HEW7004');
  });

  it('are saved and restored as deep copies', async () => {
    push(5);
    const snapshot = model.saveState();
    push(1);
    model.restoreState(snapshot);
    expect(model.state('sum').read()).toEqual(Int32Array.of(5));
    push(2);
    model.restoreState(snapshot);
    expect(model.state('pos').read()).toEqual(Int32Array.of(1));
    expect(await codeOf(() => model.restoreState(new Map()))).toBe('HEW7005');
  });
});

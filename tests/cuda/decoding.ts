/**
 * Modules as decoding makes them, for the kernels that exist for it: a layer of a decoder that reads one token (of one
 * or several sequences at one position), and linear layers of few rows over floats and over integers.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { emptyModule, type Module, type Param, type Value } from '../../ir/module.js';
import { encodeBytes, roundTo } from '../../ir/numeric.js';
import type { QuantizedDType } from '../../ir/ops/quantization.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, elementCount, tensorType } from '../../ir/type.js';
import { type Generate, integers, randomFrom, seedOf, uniform } from '../conformance/random.js';

export interface DecodingCase {
  readonly name: string;
  readonly module: Module;
  readonly calls: readonly { readonly entry: string; readonly inputs: Readonly<Record<string, Tensor>> }[];
}

export const dims = (shape: readonly number[]) => shape.map((size) => dim(size));

export function made(name: string, dtype: DType, shape: readonly number[], generate: Generate): Tensor {
  const values = generate(elementCount(shape), randomFrom(seedOf(name)));
  return tensor(dtype, shape, Array.from(values, roundTo[dtype]));
}

/** A parameter with made-up values. */
export function parameter(
  title: string,
  name: string,
  dtype: DType,
  shape: readonly number[],
  generate: Generate,
): [string, Param] {
  const type = tensorType(dtype, dims(shape));
  const { data } = made(`${title}/${name}`, dtype, shape, generate);
  return [name, { type, recipe: { kind: 'constant', type, bytes: encodeBytes(dtype, data) } }];
}

interface LayerShape {
  readonly batch?: number;
  readonly width: number;
  readonly heads: number;
  readonly kv: number;
  readonly hd: number;
  readonly ffn: number;
  readonly context: number;
  readonly window?: number;
  readonly interleaved?: boolean;
  /** The position of each call, one after the other. */
  readonly positions: readonly number[];
}

/** A layer of a decoder: `fill` writes the caches, `decode` reads a token at `position`. */
function layerCase(shape: LayerShape): DecodingCase {
  const { batch = 1, width, heads, kv, hd, ffn, context, window = 0, interleaved = false } = shape;
  const name = `layer of ${batch} x ${width}, ${heads}/${kv} heads of ${hd}, ffn ${ffn}, context ${context}${window > 0 ? `, window ${window}` : ''}${interleaved ? ', interleaved' : ''}`;
  const weight = (id: string, rows: number, columns: number): [string, Param] => {
    const most = 1.7 / Math.sqrt(columns);
    return parameter(name, id, 'bf16', [rows, columns], uniform(-most, most));
  };
  const params = new Map([
    ...['first', 'second'].map((id) => parameter(name, id, 'bf16', [width], uniform(0.5, 1.5))),
    weight('q', heads * hd, width),
    weight('k', kv * hd, width),
    weight('v', kv * hd, width),
    weight('o', width, heads * hd),
    weight('gate', ffn, width),
    weight('up', ffn, width),
    weight('down', width, ffn),
  ]);
  const cacheShape = [context, batch * kv, hd];
  const cache = tensorType('f32', dims(cacheShape));
  const base: Module = {
    ...emptyModule('layer'),
    params,
    states: new Map([
      ['keys', { type: cache }],
      ['values', { type: cache }],
    ]),
  };
  const fill = new FuncBuilder('fill', moduleScope(base), { outputs: ['done'] });
  const start = fill.one('full', [], { value: 0, dtype: 'i32', shape: [] });
  for (const state of ['keys', 'values']) {
    const empty = fill.one('state_read', [], { name: state });
    const filled = fill.one('cache_append', [empty, fill.arg(cache, state), start]);
    fill.emit('state_write', [filled], { name: state });
  }
  const b = new FuncBuilder('decode', moduleScope(base), { outputs: ['y'] });
  const h = b.arg(tensorType('f32', dims([batch, width])), 'x');
  const tables = ['cos', 'sin'].map((id) => b.arg(tensorType('f32', dims([1, hd / 2])), id));
  const position = b.arg(tensorType('i32', []), 'position');
  const param = (id: string): Value => b.one('param', [], { name: id });
  const linear = (x: Value, id: string): Value => b.one('linear', [x, param(id)]);
  const split = (x: Value, count: number): Value =>
    b.one('reshape', [x], { shape: dims([1, batch * count, hd]) });
  const rotated = (x: Value): Value => b.one('rope', [x, ...tables], { interleaved });
  const normed = b.one('rms_norm', [h, param('first')], { eps: 1e-5 });
  const [q, k, v] = [
    rotated(split(linear(normed, 'q'), heads)),
    rotated(split(linear(normed, 'k'), kv)),
    split(linear(normed, 'v'), kv),
  ];
  const appended = [k, v].map((value, i) => {
    const state = i === 0 ? 'keys' : 'values';
    const next = b.one('cache_append', [b.one('state_read', [], { name: state }), value, position]);
    b.emit('state_write', [next], { name: state });
    return next;
  });
  const attended = b.one('attention', [q, ...appended, position], {
    causal: true,
    window,
    scale: hd ** -0.5,
  });
  const flat = b.one('reshape', [attended], { shape: dims([batch, heads * hd]) });
  const middle = b.one('add', [h, linear(flat, 'o')]);
  const again = b.one('rms_norm', [middle, param('second')], { eps: 1e-5 });
  const activated = b.one('swiglu', [linear(again, 'gate'), linear(again, 'up')]);
  const y = b.one('add', [middle, linear(activated, 'down')]);
  const functions = [fill.finish([start]), b.finish([y])];
  const module = { ...base, functions: new Map(functions.map((func) => [func.name, func])) };
  const calls = shape.positions.map((at) => ({
    entry: 'decode',
    inputs: {
      x: made(`${name}/x${at}`, 'f32', [batch, width], uniform(-1, 1)),
      cos: made(`${name}/cos${at}`, 'f32', [1, hd / 2], uniform(-1, 1)),
      sin: made(`${name}/sin${at}`, 'f32', [1, hd / 2], uniform(-1, 1)),
      position: tensor('i32', [], [at]),
    },
  }));
  const cached = (id: string): Tensor => made(`${name}/${id}`, 'bf16', cacheShape, uniform(-1, 1));
  const inputs = Object.fromEntries(
    ['keys', 'values'].map((id) => [id, { ...cached(id), dtype: 'f32' as const }]),
  );
  return { name, module, calls: [{ entry: 'fill', inputs }, ...calls] };
}

interface ProductShape {
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** Of integer weights; bf16 without. */
  readonly codes?: QuantizedDType;
  readonly group?: number;
  readonly zeros?: boolean;
}

const codeRanges = { i8: [-127, 127], u8: [0, 255], i4: [-8, 7], u4: [0, 15] } as const;

/** x w^T, and silu(x w^T) (x u^T): one sum per kernel, and two. */
function productCase({ rows, columns, inner, codes, group = 0, zeros = false }: ProductShape): DecodingCase {
  const kind =
    codes === undefined ? 'bf16' : `${codes}${group > 0 ? ` by ${group}` : ''}${zeros ? ' with zeros' : ''}`;
  const name = `product of ${rows} x ${inner} with ${kind} [${columns}, ${inner}]`;
  const scaleShape = group > 0 ? [columns, Math.ceil(inner / group)] : [columns];
  const weights = (id: string): [string, Param][] => {
    const add = (suffix: string, dtype: DType, shape: readonly number[], generate: Generate) =>
      parameter(name, `${id}${suffix}`, dtype, shape, generate);
    const most = 1.7 / Math.sqrt(inner);
    if (codes === undefined) return [add('', 'bf16', [columns, inner], uniform(-most, most))];
    const [low, high] = codeRanges[codes];
    const step = most / (high - low);
    return [
      add('', codes, [columns, inner], integers(low, high)),
      add('.scale', 'f32', scaleShape, uniform(step, 2 * step)),
      ...(zeros ? [add('.zero', codes, scaleShape, integers(low + 1, high - 1))] : []),
    ];
  };
  const base: Module = {
    ...emptyModule('product'),
    params: new Map([...weights('w'), ...weights('u')]),
  };
  const b = new FuncBuilder('main', moduleScope(base), { outputs: ['y', 'z'] });
  const x = b.arg(tensorType('f32', dims([rows, inner])), 'x');
  const param = (id: string): Value => b.one('param', [], { name: id });
  const linear = (id: string): Value => {
    if (codes === undefined) return b.one('linear', [x, param(id)]);
    const parts = [id, `${id}.scale`, ...(zeros ? [`${id}.zero`] : [])].map(param);
    const w = b.one('dequantize', parts, { axis: group > 0 ? 1 : 0, group });
    return b.one('linear', [x, w]);
  };
  const func = b.finish([linear('w'), b.one('swiglu', [linear('w'), linear('u')])]);
  const inputs = { x: made(`${name}/x`, 'f32', [rows, inner], uniform(-1, 1)) };
  return {
    name,
    module: { ...base, functions: new Map([['main', func]]) },
    calls: [{ entry: 'main', inputs }],
  };
}

export const layerCases: readonly DecodingCase[] = [
  layerCase({ width: 64, heads: 4, kv: 2, hd: 16, ffn: 96, context: 300, positions: [0, 1, 63, 200, 299] }),
  layerCase({ width: 96, heads: 8, kv: 1, hd: 64, ffn: 160, context: 700, positions: [500, 699] }),
  layerCase({
    width: 128,
    heads: 2,
    kv: 2,
    hd: 128,
    ffn: 64,
    context: 130,
    window: 100,
    positions: [20, 129],
  }),
  layerCase({
    width: 64,
    heads: 4,
    kv: 4,
    hd: 32,
    ffn: 72,
    context: 40,
    interleaved: true,
    positions: [0, 39],
  }),
  layerCase({ width: 32, heads: 2, kv: 1, hd: 32, ffn: 40, context: 2200, positions: [2199] }),
  layerCase({ batch: 8, width: 64, heads: 4, kv: 2, hd: 32, ffn: 96, context: 200, positions: [0, 150] }),
  layerCase({ batch: 3, width: 40, heads: 3, kv: 1, hd: 24, ffn: 56, context: 20, positions: [0, 19] }),
];

const plainProducts = [1, 2, 8, 9, 31, 32, 33].flatMap((rows) => [
  productCase({ rows, columns: 50, inner: 96 }),
  productCase({ rows, columns: 33, inner: 1056 }),
]);
const integerProducts = [1, 3, 8, 17, 32, 40].flatMap((rows) => [
  productCase({ rows, columns: 50, inner: 128, codes: 'i8' }),
  productCase({ rows, columns: 20, inner: 1024, codes: 'i8', group: 64, zeros: true }),
  productCase({ rows, columns: 35, inner: 160, codes: 'i8', group: 32 }),
  productCase({ rows, columns: 17, inner: 192, codes: 'u8', zeros: true }),
  productCase({ rows, columns: 50, inner: 512, codes: 'i4', group: 128 }),
  productCase({ rows, columns: 33, inner: 1024, codes: 'i4', group: 64, zeros: true }),
  productCase({ rows, columns: 18, inner: 256, codes: 'u4', group: 128, zeros: true }),
  productCase({ rows, columns: 21, inner: 100, codes: 'i4', group: 25 }),
]);
/** So many columns that blocks take them in turns. */
const wideProducts = [
  productCase({ rows: 1, columns: 3200, inner: 544, codes: 'i8' }),
  productCase({ rows: 1, columns: 4300, inner: 128, codes: 'i4', group: 64, zeros: true }),
];
/** Rows so long that warps take two at a time. */
const longProducts = [
  productCase({ rows: 1, columns: 19, inner: 6176, codes: 'i8' }),
  productCase({ rows: 1, columns: 6, inner: 12352, codes: 'i4', group: 64, zeros: true }),
];
export const productCases: readonly DecodingCase[] = [
  ...plainProducts,
  ...integerProducts,
  ...wideProducts,
  ...longProducts,
];

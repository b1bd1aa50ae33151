/**
 * Modules whose keys and values are bytes with a scale for each row: attention of one token and of many over them, layers of a
 * decoder, and rows that are quantized on their way into caches.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { emptyModule, type Module, type State, type Value } from '../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../ir/ops/quantization.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, tensorType } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import type { AttentionRow } from '../conformance/cases/attention.js';
import { integers, uniform } from '../conformance/random.js';
import { type DecodingCase, dims, layerCases, made } from './decoding.js';

interface AttentionShape extends Omit<AttentionRow, 'causal'> {
  readonly dtype?: QuantizedDType;
  readonly zeros?: boolean;
  /** Values that are floats beside keys that are bytes. */
  readonly floatValues?: boolean;
}

/** Attention over caches that are inputs: causal where there is an offset. */
function attentionCase(shape: AttentionShape): DecodingCase {
  const { tokens, length, heads, kv, width, values = width, offset, window = 0, batch = [] } = shape;
  const { dtype = 'i8', zeros = false, floatValues = false } = shape;
  const kind = `${dtype}${zeros ? ' with zeros' : ''}${floatValues ? ', values in floats' : ''}`;
  const name = `attention [${batch}] ${tokens} over ${length} in ${kind}, heads ${heads}/${kv} of ${width} ${values}, offset ${offset ?? 'absent'}, window ${window}`;
  const b = new FuncBuilder('main', moduleScope(emptyModule('caches')), { outputs: ['y'] });
  const inputs: Record<string, Tensor> = {};
  const input = (id: string, made: Tensor): Value => {
    inputs[id] = made;
    return b.arg(tensorType(made.dtype, dims(made.shape)), id);
  };
  const [low, high] = quantizedRange[dtype];
  const cache = (id: string, own: number): Value => {
    const rows = [...batch, length, kv, own];
    const one = rows.with(-1, 1);
    const bytes = (part: string, size: readonly number[]): Value =>
      input(part, made(`${name}/${part}`, dtype, size, integers(low, high)));
    const parts = [
      bytes(id, rows),
      input(`${id}_scale`, made(`${name}/${id}_scale`, 'f32', one, uniform(0.002, 0.02))),
      ...(zeros ? [bytes(`${id}_zero`, one)] : []),
    ];
    return b.one('dequantize', parts);
  };
  const q = input('q', made(`${name}/q`, 'f32', [...batch, tokens, heads, width], uniform(-1, 1)));
  const floats = (): Value =>
    input('v', made(`${name}/v`, 'f32', [...batch, length, kv, values], uniform(-1, 1)));
  const operands = [q, cache('k', width), floatValues ? floats() : cache('v', values)];
  const position = offset === undefined ? [] : [input('offset', tensor('i32', [], [offset]))];
  const attrs = { causal: offset !== undefined, window, scale: width ** -0.5 };
  const func = b.finish([b.one('attention', [...operands, ...position], attrs)]);
  const module = { ...emptyModule('caches'), functions: new Map([['main', func]]) };
  return { name, module, calls: [{ entry: 'main', inputs }] };
}

export const attentionCases: readonly DecodingCase[] = [
  // One token, by blocks that share the keys of a head.
  { tokens: 1, length: 700, heads: 8, kv: 2, width: 128, offset: 650 },
  { tokens: 1, length: 333, heads: 7, kv: 1, width: 128, offset: 332, zeros: true },
  { tokens: 1, length: 513, heads: 8, kv: 1, width: 64, offset: 400, dtype: 'u8', zeros: true },
  { tokens: 1, length: 257, heads: 6, kv: 2, width: 32, offset: 255, window: 100 },
  { tokens: 1, length: 1500, heads: 3, kv: 3, width: 16, offset: 1499 },
  { tokens: 1, length: 90, heads: 2, kv: 1, width: 256, offset: 60 },
  { tokens: 1, length: 2100, heads: 4, kv: 1, width: 64, offset: 2099, floatValues: true },
  { tokens: 1, length: 70, heads: 4, kv: 2, width: 64 },
  { tokens: 1, length: 600, heads: 5, kv: 1, width: 128, offset: 580, window: 300, floatValues: true },
  // One token on the kernel for any shape.
  { tokens: 1, length: 45, heads: 4, kv: 2, width: 7, offset: 44, zeros: true },
  { tokens: 1, length: 60, heads: 4, kv: 2, width: 24, values: 40, offset: 30 },
  { tokens: 1, length: 100, heads: 2, kv: 2, width: 64, batch: [3], offset: 77 },
  // Many tokens, on tensor cores where there are 16-bit floats.
  { tokens: 150, length: 150, heads: 2, kv: 1, width: 72 },
  { tokens: 40, length: 150, heads: 4, kv: 2, width: 128, offset: 97 },
  { tokens: 140, length: 210, heads: 2, kv: 2, width: 64, offset: 65, window: 70, zeros: true },
  { tokens: 17, length: 70, heads: 3, kv: 1, width: 24, batch: [2], offset: 30, dtype: 'u8', zeros: true },
  { tokens: 200, length: 300, heads: 4, kv: 1, width: 128, offset: 100, floatValues: true },
  { tokens: 33, length: 80, heads: 2, kv: 1, width: 32, offset: 12 },
  // Many on the kernel for any shape.
  { tokens: 5, length: 9, heads: 6, kv: 2, width: 10, values: 3, offset: 2 },
  { tokens: 20, length: 40, heads: 2, kv: 1, width: 9, offset: 20, window: 11, zeros: true },
].map((shape) => attentionCase(shape as AttentionShape));

/** The layers of decoding.ts with caches of bytes. */
export const byteLayerCases: readonly DecodingCase[] = ['', '{asymmetric}'].flatMap((options) =>
  layerCases.map(({ name, module, calls }) => ({
    name: `${name}, quantize-kv${options}`,
    module: runPipeline(module, parsePipeline(`quantize-kv${options}`)).module,
    calls,
  })),
);

interface AppendShape {
  readonly capacity: number;
  readonly tokens: number;
  readonly heads: number;
  readonly width: number;
  readonly dtype?: QuantizedDType;
  readonly symmetric?: boolean;
  readonly positions: readonly number[];
}

/** Rows that are quantized and appended to caches, which each call gives back. */
function appendCase(shape: AppendShape): DecodingCase {
  const { capacity, tokens, heads, width, dtype = 'i8', symmetric = true, positions } = shape;
  const name = `append of ${tokens} x ${heads} x ${width} to ${capacity} in ${dtype}${symmetric ? '' : ' with zeros'}`;
  const types: readonly (readonly [DType, number])[] = [
    [dtype, width],
    ['f32', 1],
    ...(symmetric ? [] : [[dtype, 1] as const]),
  ];
  const base: Module = {
    ...emptyModule('append'),
    states: new Map(
      types.map(([own, last], i): [string, State] => [
        `c${i}`,
        { type: tensorType(own, dims([capacity, heads, last])) },
      ]),
    ),
  };
  const b = new FuncBuilder('main', moduleScope(base), { outputs: types.map((_, i) => `y${i}`) });
  const x = b.arg(tensorType('f32', dims([tokens, heads, width])), 'x');
  const position = b.arg(tensorType('i32', []), 'position');
  const rows = b.emit('dynamic_quantize', [x], { dtype, symmetric });
  const caches = rows.map((row, i) =>
    b.one('cache_append', [b.one('state_read', [], { name: `c${i}` }), row, position]),
  );
  caches.forEach((cache, i) => {
    b.emit('state_write', [cache], { name: `c${i}` });
  });
  const func = b.finish(caches);
  const calls = positions.map((at) => ({
    entry: 'main',
    inputs: {
      x: made(`${name}/${at}`, 'f32', [tokens, heads, width], uniform(-3, 2)),
      position: tensor('i32', [], [at]),
    },
  }));
  return { name, module: { ...base, functions: new Map([['main', func]]) }, calls };
}

export const appendCases: readonly DecodingCase[] = [
  appendCase({ capacity: 20, tokens: 3, heads: 2, width: 128, positions: [0, 17, 5] }),
  appendCase({ capacity: 9, tokens: 1, heads: 3, width: 7, symmetric: false, positions: [0, 8] }),
  appendCase({
    capacity: 70,
    tokens: 65,
    heads: 1,
    width: 40,
    dtype: 'u8',
    symmetric: false,
    positions: [4],
  }),
  appendCase({ capacity: 6, tokens: 2, heads: 1, width: 1500, positions: [1, 3] }),
  appendCase({ capacity: 5, tokens: 2, heads: 2, width: 11000, symmetric: false, positions: [2] }),
];

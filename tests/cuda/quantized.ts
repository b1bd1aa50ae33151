/**
 * Modules as quantization leaves layers of diffusion transformers: activations in ranges by groups of timesteps, integer
 * products of weights that are parameters, and what follows them. Every operation is exact, so results are compared bit
 * for bit.
 */
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { emptyModule, type Module, type Value } from '../../ir/module.js';
import { type DType, tensorType } from '../../ir/type.js';
import { type Generate, integers, uniform } from '../conformance/random.js';
import { type DecodingCase, dims, made, parameter } from './decoding.js';

interface LayerShape {
  readonly batch: number;
  readonly tokens: number;
  readonly width: number;
  readonly columns: number;
}

const groups = 3;
const timesteps = 20;

/** `y`: a layer with a bias. `z`: a layer times a gate for each channel of a sample, added to a stream. */
function layerCase({ batch, tokens, width, columns }: LayerShape): DecodingCase {
  const name = `quantized layer of ${batch} x ${tokens} x ${width} to ${columns}`;
  const param = (id: string, dtype: DType, shape: readonly number[], generate: Generate) =>
    parameter(name, id, dtype, shape, generate);
  const ofLayer = (id: string) => [
    param(`${id}.codes`, 'i8', [columns, width], integers(-127, 127)),
    param(`${id}.scale`, 'f32', [columns], uniform(0.001, 0.01)),
  ];
  const base: Module = {
    ...emptyModule('quantized'),
    params: new Map([
      ...ofLayer('first'),
      ...ofLayer('second'),
      param('bias', 'bf16', [columns], uniform(-1, 1)),
      param('segment', 'u8', [timesteps], integers(0, groups - 1)),
      param('input_scale', 'f32', [groups], uniform(0.02, 0.04)),
      param('input_zero', 'i8', [groups], integers(-60, 60)),
    ]),
  };
  const b = new FuncBuilder('main', moduleScope(base), { outputs: ['y', 'z'] });
  const x = b.arg(tensorType('f32', dims([batch, tokens, width])), 'x');
  const t = b.arg(tensorType('i32', dims([batch])), 't');
  const stream = b.arg(tensorType('f32', dims([batch, tokens, columns])), 'h');
  const gates = b.arg(tensorType('f32', dims([batch, 2, columns])), 'gates');
  const read = (id: string): Value => b.one('param', [], { name: id });
  const segment = b.one('cast', [b.one('gather', [read('segment'), t])], { dtype: 'i32' });
  const [scale, zero] = ['input_scale', 'input_zero'].map((id) =>
    b.one('reshape', [b.one('gather', [read(id), segment])], { shape: dims([batch, 1, 1]) }),
  ) as [Value, Value];
  const codes = b.one('quantize', [x, scale, zero], { dtype: 'i8' });
  const none = (dtype: DType) => b.one('full', [], { value: 0, dtype, shape: dims([columns]) });
  const layer = (id: string, bias: Value): Value =>
    b.one('quantized_linear', [
      codes,
      read(`${id}.codes`),
      scale,
      read(`${id}.scale`),
      bias,
      none('i8'),
      zero,
    ]);
  const gate = b.one('slice', [gates], { axis: 1, start: dim(1), end: dim(2) });
  const func = b.finish([
    layer('first', read('bias')),
    b.one('add', [stream, b.one('mul', [gate, layer('second', none('f32'))])]),
  ]);
  const input = (id: string, dtype: DType, shape: readonly number[], generate: Generate) =>
    made(`${name}/${id}`, dtype, shape, generate);
  return {
    name,
    module: { ...base, functions: new Map([['main', func]]) },
    calls: [
      {
        entry: 'main',
        inputs: {
          x: input('x', 'f32', [batch, tokens, width], uniform(-5, 5)),
          t: input('t', 'i32', [batch], integers(0, timesteps - 1)),
          h: input('h', 'f32', [batch, tokens, columns], uniform(-3, 3)),
          gates: input('gates', 'f32', [batch, 2, columns], uniform(-2, 2)),
        },
      },
    ],
  };
}

export const quantizedCases: readonly DecodingCase[] = [
  layerCase({ batch: 3, tokens: 50, width: 80, columns: 36 }),
  layerCase({ batch: 2, tokens: 70, width: 272, columns: 260 }),
  layerCase({ batch: 5, tokens: 7, width: 16, columns: 33 }),
  layerCase({ batch: 1, tokens: 1, width: 48, columns: 8 }),
  // Rows that tensor cores do not read.
  layerCase({ batch: 2, tokens: 9, width: 20, columns: 12 }),
];

/**
 * Kernels of every class, at sizes that are no multiples of anything: what the golden files show, and what mutations are
 * planted into. Sizes are large enough for several rows, tiles and steps on one core.
 */
import type { Func } from '../../ir/module.js';
import { roundTo } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { tensor } from '../../ir/tensor.js';
import { elementCount, evalShape, isFloat } from '../../ir/type.js';
import { randomFrom, seedOf } from '../conformance/random.js';
import type { Subject } from './conformance.js';

export interface SampleText {
  readonly name: string;
  /** Arguments of the entry. */
  readonly args: string;
  readonly body: readonly string[];
  readonly results: string;
  /** Values of integer arguments; others are 0. */
  readonly integers?: Readonly<Record<string, readonly number[]>>;
}

/** The capacity of caches; tokens differ from run to run. */
const capacity = 203;

const texts: readonly SampleText[] = [
  {
    name: 'pointwise_flat',
    args: '%x: f16[T, 203], %y: f16[T, 203]',
    body: ['%a = silu(%x) : f16[T, 203]', '%b = mul(%a, %y) : f16[T, 203]'],
    results: '%b: f16[T, 203]',
  },
  {
    name: 'pointwise_rows',
    args: '%x: bf16[T, 203], %y: bf16[203]',
    body: ['%a = gelu_tanh(%x) : bf16[T, 203]', '%b = add(%a, %y) : bf16[T, 203]'],
    results: '%b: bf16[T, 203]',
  },
  {
    name: 'pointwise_masks',
    args: '%x: f32[T, 203], %y: f32[T, 203]',
    body: ['%m = lt(%x, %y) : bool[T, 203]', '%a = where(%m, %x, %y) : f32[T, 203]'],
    results: '%a: f32[T, 203]',
  },
  {
    name: 'pointwise_transposed',
    args: '%x: f32[203, 17]',
    body: ['%t = transpose(%x, perm=[1, 0]) : f32[17, 203]'],
    results: '%t: f32[17, 203]',
  },
  {
    name: 'pointwise_joined',
    args: '%x: f16[T, 63], %y: f16[T, 17]',
    body: ['%c = concat(%x, %y, axis=1) : f16[T, 80]'],
    results: '%c: f16[T, 80]',
  },
  {
    name: 'pointwise_padded',
    args: '%x: f32[T, 203]',
    body: ['%a = pad(%x, before=[2, 0], after=[3, 0], value=5) : f32[T + 5, 203]'],
    results: '%a: f32[T + 5, 203]',
  },
  {
    name: 'gather_rows',
    args: '%table: f16[100, 203], %i: i32[T]',
    body: ['%a = gather(%table, %i) : f16[T, 203]'],
    results: '%a: f16[T, 203]',
    integers: { i: [99, 3, 50] },
  },
  {
    name: 'rms_norm_residual',
    args: '%x: f16[T, 203], %g: f16[203], %r: f16[T, 203]',
    body: ['%n = rms_norm(%x, %g) : f16[T, 203]', '%a = add(%n, %r) : f16[T, 203]'],
    results: '%a: f16[T, 203]',
  },
  {
    name: 'layer_norm_modulate',
    args: '%x: f32[T, 203], %s: f32[203], %t: f32[203]',
    body: [
      '%n = layer_norm(%x) : f32[T, 203]',
      '%m = mul(%n, %s) : f32[T, 203]',
      '%a = add(%m, %t) : f32[T, 203]',
    ],
    results: '%a: f32[T, 203]',
  },
  {
    name: 'rms_norm_long',
    args: '%x: f16[T, 9001], %g: f16[9001]',
    body: ['%a = rms_norm(%x, %g) : f16[T, 9001]'],
    results: '%a: f16[T, 9001]',
  },
  {
    name: 'softmax',
    args: '%x: f32[T, 203]',
    body: ['%a = softmax(%x) : f32[T, 203]'],
    results: '%a: f32[T, 203]',
  },
  {
    name: 'linear',
    args: '%x: f16[T, 300], %w: f16[203, 300]',
    body: ['%a = linear(%x, %w) : f16[T, 203]'],
    results: '%a: f16[T, 203]',
  },
  {
    name: 'linear_bias_silu',
    args: '%x: bf16[T, 300], %w: bf16[203, 300], %b: bf16[203]',
    body: ['%l = linear(%x, %w, %b) : bf16[T, 203]', '%a = silu(%l) : bf16[T, 203]'],
    results: '%a: bf16[T, 203]',
  },
  {
    name: 'linear_many_rows',
    args: '%x: f16[C, 63], %w: f16[203, 63]',
    body: ['%a = linear(%x, %w) : f16[C, 203]'],
    results: '%a: f16[C, 203]',
  },
  {
    name: 'linear_f32',
    args: '%x: f32[T, 100], %w: f32[63, 100]',
    body: ['%a = linear(%x, %w) : f32[T, 63]'],
    results: '%a: f32[T, 63]',
  },
  {
    name: 'grouped_linear',
    args: '%x: f16[T, 100], %i: i32[T, 2], %w: f16[5, 63, 100]',
    body: ['%a = grouped_linear(%x, %i, %w) : f16[T, 2, 63]'],
    results: '%a: f16[T, 2, 63]',
    integers: { i: [4, 0, 3] },
  },
  {
    name: 'quantized_linear',
    args: '%x: i8[T, 300], %w: i8[203, 300], %s: f32[T, 1], %c: f32[203], %b: f16[203]',
    body: [
      '%l = quantized_linear(%x, %w, %s, %c, %b) : f32[T, 203]',
      '%a = cast(%l, dtype=f16) : f16[T, 203]',
    ],
    results: '%a: f16[T, 203]',
    integers: { x: [-128, 127, 5, -77, 0], w: [127, -3, -128, 60, 19, 1, -1] },
  },
  {
    name: 'quantized_linear_quantize',
    args: '%x: i8[T, 300], %w: i8[203, 300], %s: f32[], %c: f32[203], %b: f32[203], %u: f32[T, 203], %o: f32[]',
    body: [
      '%l = quantized_linear(%x, %w, %s, %c, %b) : f32[T, 203]',
      '%a = silu(%l) : f32[T, 203]',
      '%m = mul(%a, %u) : f32[T, 203]',
      '%q = quantize(%m, %o) : i8[T, 203]',
    ],
    results: '%q: i8[T, 203]',
    integers: { x: [-128, 127, 5, -77, 0], w: [127, -3, -128, 60, 19, 1, -1] },
  },
  {
    name: 'dynamic_quantize',
    args: '%x: f16[T, 203]',
    body: ['%q, %s = dynamic_quantize(%x) : i8[T, 203], f32[T, 1]'],
    results: '%q: i8[T, 203], %s: f32[T, 1]',
  },
  {
    name: 'quantize',
    args: '%x: f32[T, 203], %s: f32[T, 1]',
    body: ['%q = quantize(%x, %s) : i8[T, 203]'],
    results: '%q: i8[T, 203]',
  },
  {
    name: 'dequantize',
    args: '%x: i8[63, 203], %s: f16[63]',
    body: ['%a = dequantize(%x, %s, axis=0) : f32[63, 203]'],
    results: '%a: f32[63, 203]',
    integers: { x: [-128, 127, 5, -77, 0] },
  },
  {
    name: 'matmul',
    args: '%x: f16[2, T, 63], %y: f16[63, 203]',
    body: ['%a = matmul(%x, %y) : f16[2, T, 203]'],
    results: '%a: f16[2, T, 203]',
  },
  {
    name: 'matmul_f32',
    args: '%x: f32[2, T, 63], %y: f32[63, 203]',
    body: ['%a = matmul(%x, %y) : f32[2, T, 203]'],
    results: '%a: f32[2, T, 203]',
  },
  {
    name: 'conv2d',
    args: '%x: f32[1, 3, 17, 63], %w: f32[5, 3, 3, 3], %b: f32[5]',
    body: [
      '%c = conv2d(%x, %w, %b, padding=[1, 1, 1, 1]) : f32[1, 5, 17, 63]',
      '%a = relu(%c) : f32[1, 5, 17, 63]',
    ],
    results: '%a: f32[1, 5, 17, 63]',
  },
  {
    name: 'avg_pool2d',
    args: '%x: f16[1, 3, 5, 163]',
    body: ['%a = avg_pool2d(%x, kernel=[3, 3], stride=[2, 2], padding=[1, 1, 1, 1]) : f16[1, 3, 3, 82]'],
    results: '%a: f16[1, 3, 3, 82]',
  },
  {
    name: 'cumsum_rows',
    args: '%x: f16[T, 203]',
    body: ['%a = cumsum(%x) : f16[T, 203]'],
    results: '%a: f16[T, 203]',
  },
  {
    name: 'cumsum_columns',
    args: '%x: f32[T, 203]',
    body: ['%a = cumsum(%x, axis=0) : f32[T, 203]'],
    results: '%a: f32[T, 203]',
  },
  {
    name: 'attention_full',
    args: '%q: f16[T, 4, 40], %k: f16[C, 2, 40], %v: f16[C, 2, 40]',
    body: ['%a = attention(%q, %k, %v, scale=0.16) : f16[T, 4, 40]'],
    results: '%a: f16[T, 4, 40]',
  },
  {
    name: 'attention_cache',
    args: '%q: f16[T, 4, 72], %k: f16[C, 2, 72], %v: f16[C, 2, 72], %p: i32[]',
    body: ['%a = attention(%q, %k, %v, %p, causal=true, scale=0.12) : f16[T, 4, 72]'],
    results: '%a: f16[T, 4, 72]',
    integers: { p: [196] },
  },
  {
    name: 'attention_one',
    args: '%q: f16[1, 4, 40], %k: f16[C, 2, 40], %v: f16[C, 2, 40]',
    body: ['%a = attention(%q, %k, %v, scale=0.16) : f16[1, 4, 40]'],
    results: '%a: f16[1, 4, 40]',
  },
  {
    name: 'attention_step',
    args: '%q: f16[1, 4, 72], %k: f16[C, 2, 72], %v: f16[C, 2, 72], %p: i32[]',
    body: ['%a = attention(%q, %k, %v, %p, causal=true, scale=0.12) : f16[1, 4, 72]'],
    results: '%a: f16[1, 4, 72]',
    integers: { p: [196] },
  },
  {
    name: 'rope',
    args: '%x: f16[T, 3, 80], %c: f16[T, 40], %s: f16[T, 40]',
    body: ['%a = rope(%x, %c, %s) : f16[T, 3, 80]'],
    results: '%a: f16[T, 3, 80]',
  },
  {
    name: 'rope_interleaved',
    args: '%x: f32[T, 3, 80], %c: f32[T, 40], %s: f32[T, 40]',
    body: ['%a = rope(%x, %c, %s, interleaved=true) : f32[T, 3, 80]'],
    results: '%a: f32[T, 3, 80]',
  },
  {
    name: 'cache_append',
    args: '%c: f16[C, 2, 203], %x: f16[T, 2, 203], %p: i32[]',
    body: ['%a = cache_append(%c, %x, %p) : f16[C, 2, 203]'],
    results: '%a: f16[C, 2, 203]',
    integers: { p: [196] },
  },
  {
    name: 'reduce_rows',
    args: '%x: f16[T, 203]',
    body: ['%a = reduce_mean(%x, axes=[1]) : f16[T]'],
    results: '%a: f16[T]',
  },
  {
    name: 'reduce_columns',
    args: '%x: f32[T, 203]',
    body: ['%a = reduce_max(%x, axes=[0]) : f32[203]'],
    results: '%a: f32[203]',
  },
  {
    name: 'argmax',
    args: '%x: f16[T, 203]',
    body: ['%a = argmax(%x) : i32[T]'],
    results: '%a: i32[T]',
  },
  {
    name: 'topk',
    args: '%x: f32[T, 203]',
    body: ['%a, %b = topk(%x, k=9) : f32[T, 9], i32[T, 9]'],
    results: '%a: f32[T, 9], %b: i32[T, 9]',
  },
  {
    name: 'moe_route',
    args: '%x: f32[T, 48]',
    body: ['%a, %b = moe_route(%x, num_groups=4, topk_per_group=2) : f32[T, 8], i32[T, 8]'],
    results: '%a: f32[T, 8], %b: i32[T, 8]',
  },
];

export function sampleOf({ name, args, body, results, integers = {} }: SampleText, tokens: number): Subject {
  const symbols = new Map([
    ['T', tokens],
    ['C', capacity],
  ]);
  const values = [...results.matchAll(/(%\w+): /g)].map(([, value]) => value);
  const types = results.replaceAll('%', '');
  const dims = [...symbols.keys()].filter((s) => new RegExp(`\\b${s}\\b`).test(args));
  const module = parseModule(
    [
      `module @${name} {`,
      ...dims.map((s) => `  dim ${s} in 1..512`),
      `  entry @main(${args}) -> (${types}) {`,
      ...body.map((line) => `    ${line}`),
      `    return ${values.join(', ')}`,
      '  }',
      '}',
    ].join('\n'),
  );
  const entry = module.functions.get('main') as Func;
  const inputs = entry.args.map(({ name: arg, type }) => {
    const shape = evalShape(type.shape, symbols);
    const random = randomFrom(seedOf(`${name}/${arg}`));
    const given = integers[arg as string] ?? [0];
    const value = (i: number): number =>
      isFloat(type.dtype) ? 2 * random() - 1 : (given[i % given.length] as number);
    const data = Array.from({ length: elementCount(shape) }, (_, i) => roundTo[type.dtype](value(i)));
    return [arg as string, tensor(type.dtype, shape, data)] as const;
  });
  return { title: name, module, inputs: Object.fromEntries(inputs) };
}

/** The samples with so many tokens; positions in caches are for 7. */
export const samplesOf = (tokens: number): readonly Subject[] => texts.map((text) => sampleOf(text, tokens));

export const samples = samplesOf(7);

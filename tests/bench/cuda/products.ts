/**
 * Writes bundles of one linear layer each, of the shapes that the large models have: `products.ts OUTPUT`. Operands are
 * inputs, so that products.py can check the results as well as time them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emitCuda, lower } from '../../../backends/cuda/compile.js';
import { packageCuda, sourceFile } from '../../../backends/cuda/package.js';
import { FuncBuilder, moduleScope } from '../../../ir/builder.js';
import { emptyModule, type Module, type Value } from '../../../ir/module.js';
import { type DType, tensorType } from '../../../ir/type.js';

interface Shape {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /**
   * `silu(x gate) * (x up)` of two weights, or a residual stream that the product is added to. Of bytes: the scaled product
   * as bf16, gelu of it as bytes again, or added to the stream.
   */
  readonly kind: 'plain' | 'gated' | 'residual' | 'i8' | 'i8-gelu' | 'i8-residual';
}

const square = (name: string, size: number): Shape => ({
  name,
  rows: size,
  columns: size,
  inner: size,
  kind: 'plain',
});

const shapes: readonly Shape[] = [
  square('square', 8192),
  { name: 'prefill-q', rows: 4096, columns: 4096, inner: 4096, kind: 'plain' },
  { name: 'prefill-k', rows: 4096, columns: 1024, inner: 4096, kind: 'plain' },
  { name: 'prefill-o', rows: 4096, columns: 4096, inner: 4096, kind: 'residual' },
  { name: 'prefill-gate-up', rows: 4096, columns: 12800, inner: 4096, kind: 'gated' },
  { name: 'prefill-down', rows: 4096, columns: 4096, inner: 12800, kind: 'residual' },
  { name: 'prefill-head', rows: 4096, columns: 153376, inner: 4096, kind: 'plain' },
  ...[2, 16, 64].flatMap((batch): Shape[] => [
    { name: `dit-qkv-${batch}`, rows: 256 * batch, columns: 3456, inner: 1152, kind: 'plain' },
    { name: `dit-proj-${batch}`, rows: 256 * batch, columns: 1152, inner: 1152, kind: 'residual' },
    { name: `dit-fc1-${batch}`, rows: 256 * batch, columns: 4608, inner: 1152, kind: 'plain' },
    { name: `dit-fc2-${batch}`, rows: 256 * batch, columns: 1152, inner: 4608, kind: 'residual' },
  ]),
  { name: 'square-i8', rows: 8192, columns: 8192, inner: 8192, kind: 'i8' },
  ...[16, 64].flatMap((batch): Shape[] => [
    { name: `dit-qkv-i8-${batch}`, rows: 256 * batch, columns: 3456, inner: 1152, kind: 'i8' },
    { name: `dit-proj-i8-${batch}`, rows: 256 * batch, columns: 1152, inner: 1152, kind: 'i8-residual' },
    { name: `dit-fc1-i8-${batch}`, rows: 256 * batch, columns: 4608, inner: 1152, kind: 'i8-gelu' },
    { name: `dit-fc2-i8-${batch}`, rows: 256 * batch, columns: 1152, inner: 4608, kind: 'i8-residual' },
  ]),
  { name: 'ragged-i8', rows: 1001, columns: 1003, inner: 1008, kind: 'i8' },
  { name: 'ragged-i8-gelu', rows: 77, columns: 204, inner: 144, kind: 'i8-gelu' },
  { name: 'ragged-i8-residual', rows: 131, columns: 33, inner: 16, kind: 'i8-residual' },
  { name: 'dit-adaln-16', rows: 16, columns: 6912, inner: 1152, kind: 'plain' },
  { name: 'ragged', rows: 1001, columns: 1003, inner: 1000, kind: 'plain' },
  { name: 'ragged-gated', rows: 77, columns: 200, inner: 72, kind: 'gated' },
  { name: 'ragged-residual', rows: 131, columns: 33, inner: 8, kind: 'residual' },
];

/** Sums of bytes less those of the input's zero point, times the scales of the input and of each column, plus a bias. */
function integerProduct(builder: FuncBuilder, { rows, columns, inner, kind }: Shape): Value {
  const arg = (name: string, dtype: DType, ...shape: number[]) => builder.arg(tensorType(dtype, shape), name);
  const wide = (value: Value, dtype: DType) => builder.one('cast', [value], { dtype });
  const sums = builder.one('integer_linear', [arg('x', 'i8', rows, inner), arg('w', 'i8', columns, inner)]);
  const lost = builder.one('mul', [wide(arg('x_zero', 'i8', rows, 1), 'i32'), arg('w_sums', 'i32', columns)]);
  const moved = wide(builder.one('sub', [sums, lost]), 'f32');
  const scaled = builder.one('mul', [moved, arg('w_scale', 'f32', columns)]);
  const product = builder.one('add', [
    builder.one('mul', [scaled, arg('x_scale', 'f32', rows, 1)]),
    arg('bias', 'f32', columns),
  ]);
  if (kind === 'i8') return builder.one('cast', [product], { dtype: 'bf16' });
  if (kind === 'i8-residual') return builder.one('add', [arg('h', 'f32', rows, columns), product]);
  const range = [arg('y_scale', 'f32', rows, 1), arg('y_zero', 'i8', rows, 1)];
  return builder.one('quantize', [builder.one('gelu_tanh', [product]), ...range], { dtype: 'i8' });
}

function productModule(shape: Shape): Module {
  const { rows, columns, inner, kind } = shape;
  const builder = new FuncBuilder('main', moduleScope(emptyModule('product')));
  const finished = (result: Value): Module => {
    const func = { ...builder.finish([result]), outputs: ['y'] };
    return { ...emptyModule('product'), functions: new Map([['main', func]]) };
  };
  if (kind.startsWith('i8')) return finished(integerProduct(builder, shape));
  const x = builder.arg(tensorType('bf16', [rows, inner]), 'x');
  const weights = (kind === 'gated' ? ['gate', 'up'] : ['w']).map((name) =>
    builder.arg(tensorType('bf16', [columns, inner]), name),
  );
  const products = weights.map((w) => builder.one('linear', [x, w]));
  const result = (): (typeof products)[number] => {
    const [first, second] = products as [(typeof products)[number], (typeof products)[number]];
    if (kind === 'gated') return builder.one('mul', [builder.one('silu', [first]), second]);
    if (kind === 'plain') return first;
    const stream = builder.arg(tensorType('f32', [rows, columns]), 'h');
    return builder.one('add', [stream, builder.one('cast', [first], { dtype: 'f32' })]);
  };
  return finished(result());
}

function main(output: string): void {
  for (const shape of shapes) {
    const cuda = emitCuda(lower(productModule(shape), 'bf16').module);
    const directory = join(output, shape.name);
    mkdirSync(directory, { recursive: true });
    const packaged = packageCuda(cuda, 'bf16', null, {
      compilerVersion: 'benchmark',
      tokenizerFile: undefined,
      weights: true,
    });
    const files = { [sourceFile]: { bytes: Buffer.byteLength(cuda.source), sha256: '' } };
    writeFileSync(join(directory, sourceFile), cuda.source);
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...packaged, files }));
  }
  writeFileSync(join(output, 'products.json'), JSON.stringify(shapes));
  console.log(`${shapes.length} products`);
}

main(process.argv[2] ?? 'out/products');

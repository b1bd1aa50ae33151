/**
 * Writes bundles of one linear layer each, of the shapes that the large models have: `products.ts OUTPUT`. Operands are
 * inputs, so that products.py can check the results as well as time them.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { emitCuda, lower } from '../../../backends/cuda/compile.js';
import { packageCuda, sourceFile } from '../../../backends/cuda/package.js';
import { FuncBuilder, moduleScope } from '../../../ir/builder.js';
import { emptyModule, type Module } from '../../../ir/module.js';
import { tensorType } from '../../../ir/type.js';

interface Shape {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** `silu(x gate) * (x up)` of two weights, or a residual stream that the product is added to. */
  readonly kind: 'plain' | 'gated' | 'residual';
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
  { name: 'dit-adaln-16', rows: 16, columns: 6912, inner: 1152, kind: 'plain' },
  { name: 'ragged', rows: 1001, columns: 1003, inner: 1000, kind: 'plain' },
  { name: 'ragged-gated', rows: 77, columns: 200, inner: 72, kind: 'gated' },
  { name: 'ragged-residual', rows: 131, columns: 33, inner: 8, kind: 'residual' },
];

function productModule({ rows, columns, inner, kind }: Shape): Module {
  const builder = new FuncBuilder('main', moduleScope(emptyModule('product')));
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
  const func = { ...builder.finish([result()]), outputs: ['y'] };
  return { ...emptyModule('product'), functions: new Map([['main', func]]) };
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

/**
 * Matrix products with their epilogues. Linear layers of few rows have kernels of their own (few-rows.ts); others of 16-bit
 * floats run on tensor cores; the rest in tiles on the ordinary units.
 *
 * A kernel may hold several linear layers of one input (see merge.ts): their sums reach the epilogue together.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../../ir/module.js';
import { dtypes, isFloat } from '../../../ir/type.js';
import type { Grid } from '../../native/plan.js';
import { fewRows, mostVectorRows } from '../few-rows.js';
import { roundedTo } from './elementwise.js';
import { declareIndex, Expressions, storeResult } from './expression.js';
import { emitFewRows, emitSiblings } from './few-rows.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import {
  declareElement,
  declareFour,
  declareWeights,
  type LinearOp,
  leadIndex,
  linearRoots,
} from './linear.js';
import { threadPerElement } from './pointwise.js';
import { storageType } from './size.js';
import { productVariants } from './wgmma.js';

const tile = 64;
const tensorTile = 128;

/** Of a result without elements. */
const nothing: Grid = [{ count: dim(0), per: 1 }];

function constantSize(context: KernelContext, value: Dim): number {
  return constantOf(context.resolve(value)) as number;
}

export const emitLinear: KernelEmitter = (context) => {
  const roots = linearRoots(context);
  if (context.func.results.length > 1) return emitSiblings(context, roots as OpOf<'linear'>[]);
  const [first] = roots as [LinearOp];
  const [x, w] = first.operands as [Value, Value];
  const rows = productOfDims(x.type.shape.slice(0, -1));
  const [columns, inner] = w.type.shape.map((d) => constantSize(context, d)) as [number, number];
  const [result] = context.func.results as [Value];
  const { code } = context;
  const rowCount = constantOf(context.resolve(rows));
  if (rowCount === 0 || columns === 0) return nothing;
  const few = first.name === 'linear' ? fewRows(first, context.resolve) : undefined;
  if (few !== undefined) return emitFewRows(context, roots as OpOf<'linear'>[], few);
  code.line(`constexpr int N = ${columns}, K = ${inner};`);
  declareElement(context, roots, result, leadIndex(context, result.type.shape));
  const out = context.pointer(result);
  const sameDType = x.type.dtype === w.type.dtype && x.type.dtype !== 'f32';
  if (sameDType && (inner * dtypes[w.type.dtype].bits) % 128 === 0) {
    context.libraries.add('tensorCores');
    context.libraries.add('tensorProduct');
    declareWeights(context, roots);
    code.line(
      `tensor_product<N, K>(block, ${context.size(rows)}, ${context.pointer(x)}, weights, ${out}, element);`,
    );
    const grid = [
      { count: rows, per: tensorTile },
      { count: dim(columns), per: tensorTile / roots.length },
    ];
    const factors = roots.map((root) => root.operands[1] as Value);
    const variants = productVariants(context, { x, weights: factors, rows, columns, inner, result }, (own) =>
      declareFour(own, roots, result, columns),
    );
    return [{ suffix: '', grid, code, variants }];
  }
  return tiledLinear(context, roots as OpOf<'linear'>[], rows, columns);
};

/** One tile after another for several weights would need several accumulators; such kernels are not made for floats. */
function tiledLinear(
  context: KernelContext,
  roots: readonly OpOf<'linear'>[],
  rows: Dim,
  columns: number,
): Grid {
  const { code } = context;
  const [x, w] = (roots[0] as OpOf<'linear'>).operands as [Value, Value];
  const [result] = context.func.results as [Value];
  const wide = '(long long)';
  context.libraries.add('tiledProduct');
  code.line('await_predecessor();');
  code.line(`const int column_tiles = (N + ${tile - 1}) / ${tile};`);
  code.line(`const auto a = [&](int m, int k) { return load(${context.pointer(x)}[${wide}m * K + k]); };`);
  declareElementOf(context, 'b', w, 'int k, int n', ['n', 'k']);
  code.block(
    'const auto store = [&](int row, int column, float sum)',
    () =>
      code.line(
        `${context.pointer(result)}[${wide}row * N + column] = convert<${storageType[result.type.dtype]}>(element(row, column, {sum}));`,
      ),
    '};',
  );
  code.line(
    `tiled_product(block / column_tiles, block % column_tiles, ${context.size(rows)}, N, K, a, b, store);`,
  );
  return [
    { count: rows, per: tile },
    { count: dim(columns), per: tile },
  ];
}

export const emitMatmul: KernelEmitter = (context) => {
  const { code, root } = context;
  const [a, b] = root.operands as [Value, Value];
  const product = root.results[0] as Value;
  const [result] = context.func.results as [Value];
  if (!isFloat(a.type.dtype)) return integerMatmul(context);
  const [rows, inner] = a.type.shape.slice(-2) as [Dim, Dim];
  const columns = b.type.shape.at(-1) as Dim;
  const batches = product.type.shape.slice(0, -2);
  const [rowText, innerText, columnText] = [rows, inner, columns].map(context.size) as [
    string,
    string,
    string,
  ];
  const expressions = new Expressions(context);
  context.libraries.add('tiledProduct');
  code.line('await_predecessor();');
  code.line(
    `const int row_tiles = (${rowText} + ${tile - 1}) / ${tile}, column_tiles = (${columnText} + ${tile - 1}) / ${tile};`,
  );
  code.line('const int batch = block / (row_tiles * column_tiles);');
  const outer = declareIndex(context, batches.map(context.size), 'batch', 'int');
  const matrix = (value: Value, row: string, column: string): string => {
    const lead = value.type.shape.length - 2;
    const own = outer
      .slice(outer.length - lead)
      .map((at, i) => (constantOf(value.type.shape[i] as Dim) === 1 ? '0' : at));
    return `load(${expressions.element(value, [...own, row, column])})`;
  };
  code.line(`const auto a = [&](int m, int k) { return ${matrix(a, 'm', 'k')}; };`);
  code.line(`const auto b = [&](int k, int n) { return ${matrix(b, 'k', 'n')}; };`);
  code.block(
    'const auto store = [&](int row, int column, float sum)',
    () => storeResult(context, result, [...outer, 'row', 'column'], new Map([[product, 'sum']])),
    '};',
  );
  code.line(
    `tiled_product(block / column_tiles % row_tiles, block % column_tiles, ${rowText}, ${columnText}, ${innerText}, a, b, store);`,
  );
  return [
    { count: productOfDims(batches), per: 1 },
    { count: rows, per: tile },
    { count: columns, per: tile },
  ];
};

/** Integers wrap at every step, which a plain loop does. */
function integerMatmul(context: KernelContext): Grid {
  const { code, root } = context;
  const [a, b] = root.operands as [Value, Value];
  const product = root.results[0] as Value;
  const [result] = context.func.results as [Value];
  const wide = a.type.dtype === 'i64';
  return threadPerElement(context, product.type.shape, context.indexType(a.type, b.type), (index) => {
    const [row, column] = index.slice(-2) as [string, string];
    const matrix = (value: Value, at: readonly string[]): string => {
      const lead = value.type.shape.length - 2;
      const outer = index.slice(index.length - 2 - lead, index.length - 2);
      const own = outer.map((i, axis) => (constantOf(value.type.shape[axis] as Dim) === 1 ? '0' : i));
      return new Expressions(context).value(value, [...own, ...at]);
    };
    code.line(`${wide ? 'long long' : 'int'} sum = 0;`);
    code.block(`for (int k = 0; k < ${context.size(a.type.shape.at(-1) as Dim)}; k++)`, () =>
      code.line(`sum = add(sum, mul(${matrix(a, [row, 'k'])}, ${matrix(b, ['k', column])}));`),
    );
    const known = new Map([[product, roundedTo(product.type.dtype, 'sum')]]);
    storeResult(context, result, index, known);
  });
}

/** Declares a C++ function that gives an element of a value, which may be dequantized on the way. */
function declareElementOf(
  context: KernelContext,
  name: string,
  value: Value,
  parameters: string,
  index: readonly string[],
): void {
  const { code } = context;
  code.block(
    `const auto ${name} = [&](${parameters})`,
    () => code.line(`return ${new Expressions(context).value(value, index)};`),
    '};',
  );
}

/**
 * A weight per slot. Few slots are products of vectors. Otherwise each block takes one weight and 64 of its columns,
 * looks for the slots that chose the weight, and multiplies tiles of them.
 */
export const emitGroupedLinear: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x, index, w] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const [experts, columns, inner] = w.type.shape.map((d) => constantSize(context, d)) as [
    number,
    number,
    number,
  ];
  const slots = productOfDims(index.type.shape);
  const perToken = context.size(index.type.shape[1] as Dim);
  const row = x.type.shape.length === 3 ? 'slot' : `(slot / ${perToken})`;
  const slotCount = constantOf(context.resolve(slots));
  if (slotCount === 0 || columns === 0) return nothing;
  code.line(`constexpr int N = ${columns}, K = ${inner}, kExperts = ${experts};`);
  declareElement(context, [root], result, leadIndex(context, result.type.shape));
  const [from, chosen, out] = [x, index, result].map(context.pointer);
  const weightType = storageType[w.type.dtype];
  if (slotCount !== undefined && slotCount <= 4 * mostVectorRows && defOf(w) === undefined) {
    const weights = context.pointer(w);
    context.libraries.add('vectorProduct');
    const { perWarp, resident } = context.parameters('grouped', {
      slots: slotCount,
      experts,
      columns,
      inner,
      dtype: w.type.dtype,
    });
    code.line(`constexpr int kBlocks = (N + ${8 * perWarp - 1}) / ${8 * perWarp};`);
    code.line('const int slot = block / kBlocks;');
    code.line('await_predecessor();');
    code.line(`const int expert = checked_index(${chosen}[slot], kExperts);`);
    code.line(`const ${weightType}* const own[] = {${weights} + (long long)expert * N * K};`);
    code.block(
      'const auto own_element = [&](int, int column, const float (&sums)[1])',
      () => code.line('return element(slot, column, sums);'),
      '};',
    );
    code.line(`const auto rows = [&] { return ${from} + (long long)${row} * K; };`);
    code.line(
      `vector_product<1, N, K, ${perWarp}>(block % kBlocks, own, ${out} + (long long)slot * N, rows, own_element);`,
    );
    const grid = [
      { count: slots, per: 1 },
      { count: dim(columns), per: 8 * perWarp },
    ];
    return [{ suffix: '', grid, code, resident }];
  }
  context.libraries.add('tiledProduct');
  code.line('await_predecessor();');
  code.line(`constexpr int kColumnTiles = (N + ${tile - 1}) / ${tile};`);
  code.line('const int expert = block / kColumnTiles;');
  code.line(`__shared__ int list[kThreads];`);
  code.line('__shared__ int listed;');
  code.line(`const int slots = ${context.size(slots)};`);
  code.block('for (int first = 0; first < slots; first += kThreads)', () => {
    code.line('__syncthreads();');
    code.line('if (threadIdx.x == 0) listed = 0;');
    code.line('__syncthreads();');
    code.line('const int own = first + threadIdx.x;');
    code.line(
      `if (own < slots && checked_index(${chosen}[own], kExperts) == expert) list[atomicAdd(&listed, 1)] = own;`,
    );
    code.line('__syncthreads();');
    code.line(
      `const auto a = [&](int m, int k) { const int slot = list[m]; return load(${from}[(long long)${row} * K + k]); };`,
    );
    declareElementOf(context, 'b', w, 'int k, int n', ['expert', 'n', 'k']);
    code.block(
      'const auto store = [&](int m, int column, float sum)',
      () =>
        code.line(
          `${out}[(long long)list[m] * N + column] = convert<${storageType[result.type.dtype]}>(element(list[m], column, {sum}));`,
        ),
      '};',
    );
    code.line(
      `for (int m = 0; m * ${tile} < listed; m++) tiled_product(m, block % kColumnTiles, listed, N, K, a, b, store);`,
    );
  });
  return [
    { count: dim(experts), per: 1 },
    { count: dim(columns), per: tile },
  ];
};

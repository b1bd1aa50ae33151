/** Products of few rows: on the ordinary units, or on tensor cores. See ../few-rows.ts for which runs where. */
import { dim } from '../../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../../ir/module.js';
import { type FewRows, fewRows, type PackedWeights } from '../few-rows.js';
import { batchBytes, type ParametersOf, vectorElements } from '../tuning.js';
import { type KernelContext, type Phase, warps } from './kernel.js';
import { declareElement, declareWeights, leadIndex } from './linear.js';
import { declareRows } from './row.js';
import { storageType } from './size.js';

/** A product as it is emitted: its shape, and what was chosen for it. */
type Product = { readonly few: FewRows; readonly roots: readonly OpOf<'linear'>[] } & (
  | { readonly kind: 'vector'; readonly chosen: ParametersOf<'vector'> }
  | { readonly kind: 'packed'; readonly chosen: ParametersOf<'packed'> }
  | { readonly kind: 'batch'; readonly chosen: ParametersOf<'batch'> }
);

export function emitFewRows(
  context: KernelContext,
  roots: readonly OpOf<'linear'>[],
  few: FewRows,
): readonly Phase[] {
  const [result] = context.func.results as [Value];
  return emitProducts(context, [productOf(context, roots, few, few.columns)], [result]);
}

/** Linear layers of one input with results of their own (see merge.ts): each has a range of blocks. */
export function emitSiblings(context: KernelContext, roots: readonly OpOf<'linear'>[]): readonly Phase[] {
  const shapes = roots.map((root) => fewRows(root, context.resolve) as FewRows);
  const columns = shapes.reduce((sum, few) => sum + few.columns, 0);
  const products = roots.map((root, i) => productOf(context, [root], shapes[i] as FewRows, columns));
  const results = roots.map((root) => context.func.results.find((r) => r === root.results[0]) as Value);
  return emitProducts(context, products, results);
}

function emitProducts(
  context: KernelContext,
  products: readonly Product[],
  results: readonly Value[],
): readonly Phase[] {
  const { code } = context;
  const [{ roots, few }] = products as [Product];
  declareInput(context, roots, few);
  declareShared(context, products.map(sharedBytes));
  let first = 0;
  products.forEach((product, i) => {
    const result = results[i] as Value;
    const blocks = blocksOf(product);
    if (products.length === 1) emitProduct(context, product, result, first);
    else
      code.block(`if (block >= ${first} && block < ${first + blocks})`, () =>
        emitProduct(context, product, result, first),
      );
    first += blocks;
  });
  const resident = Math.max(...products.map(({ chosen }) => chosen.resident));
  return [{ suffix: '', grid: [{ count: dim(first), per: 1 }], code, resident }];
}

/** What is chosen for a product of a launch whose products have `all` columns together. */
function productOf(
  context: KernelContext,
  roots: readonly OpOf<'linear'>[],
  few: FewRows,
  all: number,
): Product {
  const { rows, columns, inner } = few;
  const [x, w] = (roots[0] as OpOf<'linear'>).operands as [Value, Value];
  const made = defOf(x) === undefined ? ('read' as const) : ('made' as const);
  const shape = { columns, inner, all, weights: roots.length, x: made, dtype: w.type.dtype };
  if (few.kind === 'vector')
    return { kind: 'vector', few, roots, chosen: context.parameters('vector', { ...shape, rows }) };
  const group = few.packed?.group ?? 0;
  const dtype = few.packed === undefined ? w.type.dtype : codesOf(few.packed).type.dtype;
  if (few.kind === 'packed')
    return { kind: 'packed', few, roots, chosen: context.parameters('packed', { ...shape, dtype, group }) };
  const words = few.packed?.words ?? 4;
  const chosen = context.parameters('batch', { ...shape, dtype, group, rows, words });
  return { kind: 'batch', few, roots, chosen };
}

/** Declares `prepare()`, which gives the rows of x once they are there. */
function declareInput(context: KernelContext, roots: readonly OpOf<'linear'>[], { rows }: FewRows): void {
  const x = (roots[0] as OpOf<'linear'>).operands[0] as Value;
  if (defOf(x) !== undefined) {
    declareRows(context, x, rows);
    return;
  }
  const { code } = context;
  code.block(
    'const auto prepare = [&]',
    () => {
      code.line('await_predecessor();');
      code.line(`return ${context.pointer(x)};`);
    },
    '};',
  );
}

/** Shared memory in which the warps of a block add what they have summed, or that holds x in fixed point. */
function sharedBytes({ few, roots, ...product }: Product): number {
  const { rows, inner, packed } = few;
  if (product.kind === 'vector') return 0;
  if (product.kind === 'batch') return batchBytes(rows, roots.length, product.chosen.tiles);
  const vectors = inner / vectorElements(codesOf(packed as PackedWeights).type.dtype);
  return (
    2 * inner + 16 * Math.ceil((4 * vectors + 4 * (hasZeros(packed as PackedWeights) ? vectors : 1)) / 16)
  );
}

function codesOf({ dequantize }: PackedWeights): Value {
  return dequantize.operands[0] as Value;
}

function hasZeros({ dequantize }: PackedWeights): boolean {
  return dequantize.operands.length > 2;
}

function declareShared({ code }: KernelContext, bytes: readonly number[]): void {
  const most = Math.max(...bytes);
  if (most > 0) code.line(`__shared__ __align__(16) char shared[${most}];`);
}

/** Blocks that take all columns of each weight. */
function blocksOf({ few, ...product }: Product): number {
  if (product.kind === 'batch') return Math.ceil(few.columns / (16 * product.chosen.tiles));
  const turns = product.kind === 'packed' ? product.chosen.turns : 1;
  return Math.ceil(few.columns / (warps * product.chosen.perWarp * turns));
}

/** Emits the product of one or more weights from block `first` on. */
function emitProduct(context: KernelContext, product: Product, result: Value, first: number): void {
  const { code } = context;
  const { few, roots } = product;
  const { rows, columns, inner } = few;
  declareElement(context, roots, result, leadIndex(context, result.type.shape));
  const block = first === 0 ? 'block' : `block - ${first}`;
  const rest = (shared: string): string =>
    `(${block}, weights, ${context.pointer(result)}, ${shared}prepare, element);`;
  if (product.kind === 'vector') {
    context.libraries.add('vectorProduct');
    declareWeights(context, roots);
    code.line(`vector_product<${rows}, ${columns}, ${inner}, ${product.chosen.perWarp}>${rest('')}`);
  } else if (product.kind === 'packed') {
    const { perWarp, ahead, turns } = product.chosen;
    context.libraries.add('zeroPoints');
    context.libraries.add('packedProduct');
    declareParts(context, roots, vectorsType(few));
    code.line(`packed_product<${columns}, ${perWarp}, ${ahead}, ${turns}>${rest('shared, ')}`);
  } else {
    const { tiles, ahead } = product.chosen;
    context.libraries.add('zeroPoints');
    context.libraries.add('batchProduct');
    declareParts(context, roots, fragmentsType((roots[0] as OpOf<'linear'>).operands[0] as Value, few));
    const shared = 'reinterpret_cast<float*>(shared), ';
    code.line(`batch_product<${rows}, ${columns}, ${inner}, ${tiles}, ${ahead}>${rest(shared)}`);
  }
}

/** The C++ type of what gives fragments of weights. */
function fragmentsType(x: Value, { inner, packed }: FewRows): string {
  const type = storageType[x.type.dtype];
  if (packed === undefined) return `PlainWeights<${type}, ${inner}>`;
  const numbers = [inner, packed.group, packed.words, hasZeros(packed)];
  return `QuantizedWeights<${[type, ...packedTypes(packed), ...numbers].join(', ')}>`;
}

/** The C++ type of what gives vectors of integers. */
function vectorsType({ inner, packed }: FewRows): string {
  const { group } = packed as PackedWeights;
  const numbers = [inner, group, hasZeros(packed as PackedWeights)];
  return `PackedWeights<${[...packedTypes(packed as PackedWeights), ...numbers].join(', ')}>`;
}

/** C++ types of the integers and their scales. */
function packedTypes({ dequantize }: PackedWeights): string[] {
  return dequantize.operands.slice(0, 2).map((value) => storageType[value.type.dtype]);
}

/** The tensors of each weight as an array of structures of that type. */
function declareParts(context: KernelContext, roots: readonly OpOf<'linear'>[], type: string): void {
  const parts = roots.map(({ operands }) => {
    const made = defOf(operands[1] as Value);
    return made === undefined ? [operands[1] as Value] : made.operands;
  });
  if (!parts.flat().every(context.isConstant)) context.code.line('await_predecessor();');
  const values = parts.map((own) => `{${own.map(context.pointer).join(', ')}}`).join(', ');
  context.code.line(`const ${type} weights[] = {${values}};`);
}

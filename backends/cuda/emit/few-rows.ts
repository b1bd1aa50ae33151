/** Products of few rows: on the ordinary units, or on tensor cores. See ../few-rows.ts for which runs where. */
import { dim } from '../../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import { type FewRows, fewRows } from '../few-rows.js';
import { type KernelContext, warps } from './kernel.js';
import { declareElement, declareWeights, leadIndex } from './linear.js';
import { declareRows } from './row.js';
import { storageType } from './size.js';

/** Columns of a warp on the ordinary units: two share what is read of x, where there are enough to fill a GPU all the same. */
export const columnsPerWarp = (columns: number): number => (columns > 16384 ? 2 : 1);

/** Bytes of weights that a thread requests ahead on tensor cores. */
const bytesAhead = 128;

export function emitFewRows(context: KernelContext, roots: readonly OpOf<'linear'>[], few: FewRows): Grid {
  declareInput(context, roots, few);
  declareShared(context, [sharedFloats(few, roots)]);
  const [result] = context.func.results as [Value];
  return [{ count: dim(emitProduct(context, roots, few, result, 0)), per: 1 }];
}

/** Linear layers of one input with results of their own (see merge.ts): each has a range of blocks. */
export function emitSiblings(context: KernelContext, roots: readonly OpOf<'linear'>[]): Grid {
  const { code, func } = context;
  const shapes = roots.map((root) => fewRows(root, context.resolve) as FewRows);
  declareInput(context, roots, shapes[0] as FewRows);
  declareShared(
    context,
    roots.map((root, i) => sharedFloats(shapes[i] as FewRows, [root])),
  );
  let first = 0;
  roots.forEach((root, i) => {
    const result = func.results.find((r) => r === root.results[0]) as Value;
    const few = shapes[i] as FewRows;
    const blocks = blocksOf(few, [root]);
    code.block(`if (block >= ${first} && block < ${first + blocks})`, () => {
      emitProduct(context, [root], few, result, first);
    });
    first += blocks;
  });
  return [{ count: dim(first), per: 1 }];
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

/** Shared memory in which the warps of a block add what they have summed. */
function sharedFloats(few: FewRows, roots: readonly OpOf<'linear'>[]): number {
  return few.kind === 'vector' ? 0 : warps * few.rows * (roots.length * tiles(few, roots) * 16 + 4);
}

function declareShared({ code }: KernelContext, floats: readonly number[]): void {
  const most = Math.max(...floats);
  if (most > 0) code.line(`__shared__ float shared_sums[${most}];`);
}

/** Columns of a block, of each weight. */
function blockColumns(few: FewRows, roots: readonly OpOf<'linear'>[]): number {
  return few.kind === 'vector' ? warps * perWarp(few, roots) : 16 * tiles(few, roots);
}

function blocksOf(few: FewRows, roots: readonly OpOf<'linear'>[]): number {
  return Math.ceil(few.columns / blockColumns(few, roots));
}

function perWarp({ columns }: FewRows, roots: readonly OpOf<'linear'>[]): number {
  return roots.length > 1 ? 1 : columnsPerWarp(columns);
}

/** Tiles of 16 columns of a block: more than one shares what many rows of x cost to read. */
function tiles({ rows }: FewRows, roots: readonly OpOf<'linear'>[]): number {
  return rows > 8 && roots.length === 1 ? 2 : 1;
}

/** Emits the product of one or more weights from block `first` on, and says how many blocks it takes. */
function emitProduct(
  context: KernelContext,
  roots: readonly OpOf<'linear'>[],
  few: FewRows,
  result: Value,
  first: number,
): number {
  const { code } = context;
  const { rows, columns, inner } = few;
  declareElement(context, roots, result, leadIndex(context, result.type.shape));
  const block = first === 0 ? 'block' : `block - ${first}`;
  const rest = (shared: string): string =>
    `(${block}, weights, ${context.pointer(result)}, ${shared}prepare, element);`;
  if (few.kind === 'vector') {
    context.libraries.add('vectorProduct');
    declareWeights(context, roots);
    code.line(`vector_product<${rows}, ${columns}, ${inner}, ${perWarp(few, roots)}>${rest('')}`);
  } else {
    context.libraries.add('batchProduct');
    const own = tiles(few, roots);
    const wordsOfThread = 2 * own * roots.length * (few.packed?.words ?? 4);
    const ahead = Math.max(2, Math.floor(bytesAhead / 4 / wordsOfThread));
    declareFragments(context, roots, few);
    code.line(`batch_product<${rows}, ${columns}, ${inner}, ${own}, ${ahead}>${rest('shared_sums, ')}`);
  }
  return blocksOf(few, roots);
}

/** Declares the array `weights` of what gives fragments of weights. */
function declareFragments(
  context: KernelContext,
  roots: readonly OpOf<'linear'>[],
  { inner, packed }: FewRows,
): void {
  const { code } = context;
  const [x, w] = (roots[0] as OpOf<'linear'>).operands as [Value, Value];
  const type = storageType[x.type.dtype];
  const parts = roots.map(({ operands }) => {
    const made = defOf(operands[1] as Value);
    return made === undefined ? [operands[1] as Value] : made.operands;
  });
  if (!parts.flat().every(context.isConstant)) code.line('await_predecessor();');
  const values = parts.map((own) => `{${own.map(context.pointer).join(', ')}}`).join(', ');
  if (packed === undefined) {
    code.line(`const PlainWeights<${type}, ${inner}> weights[] = {${values}};`);
    return;
  }
  const [codes, scale, zero] = (defOf(w) as OpOf<'dequantize'>).operands as [Value, Value, Value?];
  const types = [type, storageType[codes.type.dtype], storageType[scale.type.dtype]];
  const numbers = [inner, packed.group, packed.words, zero !== undefined];
  code.line(`const QuantizedWeights<${[...types, ...numbers].join(', ')}> weights[] = {${values}};`);
}

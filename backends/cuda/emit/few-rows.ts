/** Products of few rows: on the ordinary units, or on tensor cores. See ../few-rows.ts for which runs where. */
import { dim } from '../../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../../ir/module.js';
import { dtypes } from '../../../ir/type.js';
import type { Grid } from '../../native/plan.js';
import { type FewRows, fewRows, type PackedWeights } from '../few-rows.js';
import { type KernelContext, warps } from './kernel.js';
import { declareElement, declareWeights, leadIndex } from './linear.js';
import { declareRows } from './row.js';
import { storageType } from './size.js';

/** Columns of a warp on the ordinary units: two share what is read of x, where there are enough to fill a GPU all the same. */
export const columnsPerWarp = (columns: number): number => (columns > 16384 ? 2 : 1);

/** Bytes of weights that a thread requests ahead on tensor cores, and of integers on the ordinary units. */
const bytesAhead = 128;
/** The same where a block takes several turns and keeps one ahead, so that what it makes of x is made less often. */
const bytesOfTurn = 256;
/** Blocks of one row that fill a GPU. */
const enoughBlocks = 264;

export function emitFewRows(context: KernelContext, roots: readonly OpOf<'linear'>[], few: FewRows): Grid {
  declareInput(context, roots, few);
  declareShared(context, [sharedBytes(few, roots)]);
  const [result] = context.func.results as [Value];
  return [{ count: dim(emitProduct(context, roots, few, result, 0, few.columns)), per: 1 }];
}

/** Linear layers of one input with results of their own (see merge.ts): each has a range of blocks. */
export function emitSiblings(context: KernelContext, roots: readonly OpOf<'linear'>[]): Grid {
  const { code, func } = context;
  const shapes = roots.map((root) => fewRows(root, context.resolve) as FewRows);
  declareInput(context, roots, shapes[0] as FewRows);
  declareShared(
    context,
    roots.map((root, i) => sharedBytes(shapes[i] as FewRows, [root])),
  );
  const columns = shapes.reduce((sum, few) => sum + few.columns, 0);
  let first = 0;
  roots.forEach((root, i) => {
    const result = func.results.find((r) => r === root.results[0]) as Value;
    const few = shapes[i] as FewRows;
    const blocks = blocksOf(few, [root], columns);
    code.block(`if (block >= ${first} && block < ${first + blocks})`, () => {
      emitProduct(context, [root], few, result, first, columns);
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

/** Shared memory in which the warps of a block add what they have summed, or that holds x in fixed point. */
function sharedBytes(few: FewRows, roots: readonly OpOf<'linear'>[]): number {
  const { kind, rows, inner, packed } = few;
  if (kind === 'vector') return 0;
  if (kind === 'batch') return 4 * warps * rows * (roots.length * tiles(few, roots) * 16 + 4);
  const vectors = inner / vectorElements(packed as PackedWeights);
  return (
    2 * inner + 16 * Math.ceil((4 * vectors + 4 * (hasZeros(packed as PackedWeights) ? vectors : 1)) / 16)
  );
}

/** Weights in 16 bytes, which have one scale. */
function vectorElements({ dequantize }: PackedWeights): number {
  return 128 / dtypes[(dequantize.operands[0] as Value).type.dtype].bits;
}

function hasZeros({ dequantize }: PackedWeights): boolean {
  return dequantize.operands.length > 2;
}

function declareShared({ code }: KernelContext, bytes: readonly number[]): void {
  const most = Math.max(...bytes);
  if (most > 0) code.line(`__shared__ __align__(16) char shared[${most}];`);
}

/** Columns of a block, of each weight, where the products of the kernel have `all` together. */
function blockColumns(few: FewRows, roots: readonly OpOf<'linear'>[], all: number): number {
  if (few.kind === 'batch') return 16 * tiles(few, roots);
  return warps * perWarp(few, roots) * packedTurns(few, roots, all).turns;
}

function blocksOf(few: FewRows, roots: readonly OpOf<'linear'>[], all: number): number {
  return Math.ceil(few.columns / blockColumns(few, roots, all));
}

function perWarp(few: FewRows, roots: readonly OpOf<'linear'>[]): number {
  if (roots.length > 1) return 1;
  if (few.packed === undefined) return columnsPerWarp(few.columns);
  const vector = vectorElements(few.packed);
  return vector > 16 && turnBytes(few.inner / vector, 2) <= bytesOfTurn ? 2 : 1;
}

/** Bytes that a thread reads of `rows` rows of weights, each of so many vectors. */
function turnBytes(vectors: number, rows: number): number {
  return 16 * rows * Math.ceil(vectors / 32);
}

/** How many times a block takes columns, and how many vectors of each row a thread requests ahead: those of a turn, if few. */
function packedTurns(
  few: FewRows,
  roots: readonly OpOf<'linear'>[],
  all: number,
): { turns: number; ahead: number } {
  if (few.packed === undefined || few.kind !== 'packed') return { turns: 1, ahead: 0 };
  const vectors = few.inner / vectorElements(few.packed);
  const own = perWarp(few, roots);
  const rows = own * roots.length;
  if (turnBytes(vectors, rows) > bytesOfTurn)
    return { turns: 1, ahead: Math.max(1, Math.floor(bytesAhead / 16 / rows)) };
  const turns = Math.max(1, Math.ceil(all / (warps * own * enoughBlocks)));
  return { turns, ahead: Math.ceil(vectors / 32) };
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
  all: number,
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
  } else if (few.kind === 'packed') {
    const { ahead, turns } = packedTurns(few, roots, all);
    context.libraries.add('zeroPoints');
    context.libraries.add('packedProduct');
    declareParts(context, roots, vectorsType(few));
    code.line(`packed_product<${columns}, ${perWarp(few, roots)}, ${ahead}, ${turns}>${rest('shared, ')}`);
  } else {
    context.libraries.add('zeroPoints');
    context.libraries.add('batchProduct');
    const own = tiles(few, roots);
    const wordsOfThread = 2 * own * roots.length * (few.packed?.words ?? 4);
    const ahead = Math.max(2, Math.floor(bytesAhead / 4 / wordsOfThread));
    declareParts(context, roots, fragmentsType((roots[0] as OpOf<'linear'>).operands[0] as Value, few));
    const shared = 'reinterpret_cast<float*>(shared), ';
    code.line(`batch_product<${rows}, ${columns}, ${inner}, ${own}, ${ahead}>${rest(shared)}`);
  }
  return blocksOf(few, roots, all);
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

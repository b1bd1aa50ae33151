/**
 * Products of few rows, as decoding makes them: which of them run on which kernel. All are bound by reading the weights
 * once. What is decided here, narrowing (which keeps integer weights for such kernels), merging and emission agree on.
 */
import { constantOf, type Dim, productOfDims } from '../../ir/dim.js';
import { defOf, type OpOf, type Value } from '../../ir/module.js';
import { isQuantized } from '../../ir/ops/quantization.js';
import { dtypes } from '../../ir/type.js';

/** Products of at most this many rows run row by row over each weight. */
export const mostVectorRows = 8;
/** Products of at most this many rows run on tensor cores that read weights straight into fragments. */
export const mostBatchRows = 32;

/** Longest row that a kernel keeps in fixed point, and the longest it makes itself: both lie in shared memory. */
const longestPacked = 16384;
const longestOwnPacked = 8192;

/** `vector`: on the ordinary units, by floats; `packed`: by integers; `batch`: on tensor cores. */
export interface FewRows {
  readonly kind: 'vector' | 'packed' | 'batch';
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  /** Of weights that are integers. */
  readonly packed: PackedWeights | undefined;
}

export interface PackedWeights {
  readonly dequantize: OpOf<'dequantize'>;
  /** Weights along the inner axis that share a scale; 0 is all. */
  readonly group: number;
  /** Words of 32 bits that a thread reads at a time. */
  readonly words: 2 | 4;
}

type Resolve = (value: Dim) => Dim;

/** The kernel that a linear layer of few rows runs on; undefined where it runs on those for many. */
export function fewRows(linear: OpOf<'linear'>, resolve: Resolve): FewRows | undefined {
  const [x, w] = linear.operands as [Value, Value];
  const rows = constantOf(resolve(productOfDims(x.type.shape.slice(0, -1))));
  const [columns, inner] = w.type.shape.map((d) => constantOf(resolve(d))) as [number, number];
  if (rows === undefined || rows === 0 || columns === 0) return undefined;
  const shape = { rows, columns, inner };
  const dequantize = defOf(w);
  const narrow = x.type.dtype === 'bf16' || x.type.dtype === 'f16';
  if (dequantize?.name === 'dequantize') {
    const packed = narrow && rows <= mostBatchRows ? packedWeights(dequantize, rows, resolve) : undefined;
    const kind = rows === 1 && inner <= longestPacked ? 'packed' : 'batch';
    return packed && { kind, ...shape, packed };
  }
  const tensorCores = narrow && w.type.dtype === x.type.dtype && inner > 0 && inner % 32 === 0 && rows > 1;
  if (tensorCores && rows <= mostBatchRows) return { kind: 'batch', ...shape, packed: undefined };
  return rows <= mostVectorRows ? { kind: 'vector', ...shape, packed: undefined } : undefined;
}

/** Bytes of a block's shared memory that rows of x may take when the kernel makes them itself. */
const mostOwnRows = 32768;

/** Whether the blocks of a product can each make all rows of x for themselves. */
export function makesOwnRows({ kind, rows, inner }: FewRows, x: Value): boolean {
  if (kind === 'packed' && inner > longestOwnPacked) return false;
  return rows <= 4 && inner > 0 && (rows * inner * dtypes[x.type.dtype].bits) / 8 <= mostOwnRows;
}

/** How a kernel reads integer weights [out, in]: scales per output, or per group of inputs that four threads fit in. */
export function packedWeights(
  dequantize: OpOf<'dequantize'>,
  rows: number,
  resolve: Resolve,
): PackedWeights | undefined {
  const [codes, scale] = dequantize.operands as [Value, Value];
  if (!isQuantized(codes.type.dtype) || codes.type.shape.length !== 2) return undefined;
  const [columns, inner] = codes.type.shape.map((d) => constantOf(resolve(d))) as [number, number];
  const scales = scale.type.shape.map((d) => constantOf(resolve(d)));
  const { group, axis } = dequantize.attrs;
  const perOutput =
    group === 0 &&
    scales[0] === columns &&
    (scales.length === 1 ? (axis + 2) % 2 === 0 : scales.length === 2 && scales[1] === 1);
  if (!perOutput && (group === 0 || (axis + 2) % 2 !== 1 || scales[0] !== columns)) return undefined;
  const shared = group >= inner ? 0 : group;
  const { bits } = dtypes[codes.type.dtype];
  const wide = bits === 4 && rows > 8 ? ([2] as const) : ([4, 2] as const);
  const words = wide.find((count) => {
    const span = (4 * 32 * count) / bits;
    return inner > 0 && inner % span === 0 && shared % span === 0;
  });
  return words && { dequantize, group: shared, words };
}

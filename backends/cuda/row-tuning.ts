/** Parameters of kernels that read each element once or a few times: rows, reductions and pointwise ones. */
import type { DType } from '../../ir/type.js';

export interface RowShape {
  readonly op: string;
  readonly width: number;
  /** 0 where run-time symbols decide. */
  readonly rows: number;
  /** Tensors that the kernel reads. */
  readonly reads: number;
  /** Of the tensor that the kernel reads first. */
  readonly dtype: DType;
  readonly result: DType;
}

export interface ReduceShape {
  readonly op: string;
  /** Elements that are reduced to one; 0 where run-time symbols decide. */
  readonly inner: number;
  /** Elements of the result; 0 where run-time symbols decide. */
  readonly outputs: number;
  readonly reads: number;
  readonly dtype: DType;
}

export interface PointwiseShape {
  /** What the kernel computes: the names of its ops, joined by `+`. */
  readonly ops: string;
  /** Of a row of the result. */
  readonly columns: number;
  /** Of the result; 0 where run-time symbols decide. */
  readonly elements: number;
  readonly reads: number;
  readonly result: DType;
}

/** Warps that share a row, or what is reduced to one element. */
export interface Sharing {
  readonly warps: number;
}

/** Most elements of a thread that stay in registers. */
export const mostOwn = 40;

/** Rows up to this length are a warp's; of few rows only shorter ones, so that there is work for all of a GPU. */
const longestOfWarp = 1280;
const longestOfFew = 512;
const fewRows = 64;
const blockWarps = 8;

export function standardRow({ width, rows }: RowShape): Sharing {
  const longest = rows > 0 && rows <= fewRows ? longestOfFew : longestOfWarp;
  return { warps: width <= longest ? 1 : blockWarps };
}

/** Numbers of warps that have an element for every thread; `length` 0 is any. */
const sharings = (length: number): Sharing[] =>
  [1, 2, 4, blockWarps]
    .filter((warps) => warps === 1 || length === 0 || length >= 32 * warps)
    .map((warps) => ({ warps }));

/** Without those whose threads could not keep their part of a row, where others can. */
export const rowCandidates = ({ width }: RowShape): readonly Sharing[] =>
  sharings(width).filter(({ warps }) => warps === blockWarps || width <= mostOwn * 32 * warps);

export const reduceCandidates = ({ inner }: ReduceShape): readonly Sharing[] => sharings(inner);

/** Blocks of elements, four of a thread at a time, below which a thread that takes more of them leaves others idle. */
const enoughElements = 4 * 256 * 132;

export const pointwiseCandidates = ({ elements }: PointwiseShape): readonly { readonly turns: number }[] =>
  [1, 2, 4]
    .filter((turns) => turns === 1 || elements === 0 || elements >= turns * enoughElements)
    .map((turns) => ({ turns }));

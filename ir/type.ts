/** Data types and tensor types. A tensor type is a dtype and a list of named dimensions; rank 0 is a scalar. */
import {
  type Dim,
  type DimEnv,
  type DimLike,
  dim,
  dimsEqual,
  evalDim,
  printDim,
  substituteDim,
} from './dim.js';

interface DTypeInfo {
  /** Of one element. Elements of four bits share a byte, the first in the low half. */
  readonly bits: number;
  readonly kind: 'float' | 'int' | 'bool';
  readonly doc: string;
}

export const dtypes = {
  f32: { bits: 32, kind: 'float', doc: 'IEEE 754 binary32; the compute type' },
  f16: { bits: 16, kind: 'float', doc: 'IEEE 754 binary16; a storage type' },
  bf16: { bits: 16, kind: 'float', doc: 'the upper half of a binary32; a storage type' },
  i32: { bits: 32, kind: 'int', doc: 'two’s complement; arithmetic wraps' },
  i64: { bits: 64, kind: 'int', doc: 'two’s complement; the interpreter is exact up to 2^53' },
  i8: { bits: 8, kind: 'int', doc: 'two’s complement' },
  u8: { bits: 8, kind: 'int', doc: 'unsigned' },
  i4: { bits: 4, kind: 'int', doc: 'two’s complement, -8 to 7; two elements per byte, a storage type' },
  u4: { bits: 4, kind: 'int', doc: 'unsigned, 0 to 15; two elements per byte, a storage type' },
  bool: { bits: 8, kind: 'bool', doc: '0 or 1, one byte each' },
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof dtypes;
export const dtypeNames = Object.keys(dtypes) as DType[];

export function isDType(text: string): text is DType {
  return Object.hasOwn(dtypes, text);
}

export function isFloat(dtype: DType): boolean {
  return dtypes[dtype].kind === 'float';
}

/** Bytes that hold `count` elements; an odd element of four bits leaves the high half of the last byte zero. */
export function storedBytes(dtype: DType, count: number): number {
  return Math.ceil((count * dtypes[dtype].bits) / 8);
}

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

export function tensorType(dtype: DType, shape: readonly DimLike[]): TensorType {
  return { dtype, shape: shape.map(dim) };
}

export function scalarType(dtype: DType): TensorType {
  return { dtype, shape: [] };
}

export function printType(type: TensorType): string {
  return `${type.dtype}[${type.shape.map(printDim).join(', ')}]`;
}

export function typesEqual(a: TensorType, b: TensorType): boolean {
  return (
    a.dtype === b.dtype &&
    a.shape.length === b.shape.length &&
    a.shape.every((d, i) => dimsEqual(d, b.shape[i] as Dim))
  );
}

export function evalShape(shape: readonly Dim[], env: DimEnv): number[] {
  return shape.map((d) => evalDim(d, env));
}

export function substituteType(type: TensorType, replacements: ReadonlyMap<string, Dim>): TensorType {
  return { dtype: type.dtype, shape: type.shape.map((d) => substituteDim(d, replacements)) };
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

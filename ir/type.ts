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
  readonly bytes: number;
  readonly kind: 'float' | 'int' | 'bool';
  readonly doc: string;
}

export const dtypes = {
  f32: { bytes: 4, kind: 'float', doc: 'IEEE 754 binary32; the compute type' },
  f16: { bytes: 2, kind: 'float', doc: 'IEEE 754 binary16; a storage type' },
  bf16: { bytes: 2, kind: 'float', doc: 'the upper half of a binary32; a storage type' },
  i32: { bytes: 4, kind: 'int', doc: 'two’s complement; arithmetic wraps' },
  i64: { bytes: 8, kind: 'int', doc: 'two’s complement; the interpreter is exact up to 2^53' },
  i8: { bytes: 1, kind: 'int', doc: 'two’s complement' },
  u8: { bytes: 1, kind: 'int', doc: 'unsigned' },
  bool: { bytes: 1, kind: 'bool', doc: '0 or 1, one byte each' },
} as const satisfies Record<string, DTypeInfo>;

export type DType = keyof typeof dtypes;
export const dtypeNames = Object.keys(dtypes) as DType[];

export function isDType(text: string): text is DType {
  return Object.hasOwn(dtypes, text);
}

export function isFloat(dtype: DType): boolean {
  return dtypes[dtype].kind === 'float';
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

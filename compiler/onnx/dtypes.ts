/** Element types of ONNX tensors, and what Hew carries them as. */
import type { DType } from '../../ir/type.js';

export interface OnnxDType {
  readonly name: string;
  readonly bits: number;
  /** The Hew type with the same values. */
  readonly hew?: DType;
  /** A narrower Hew type that stands in for it: values are rounded, with a warning. */
  readonly narrowedTo?: DType;
}

/** By the code of TensorProto.DataType. */
export const onnxDTypes: Readonly<Record<number, OnnxDType>> = {
  1: { name: 'float', bits: 32, hew: 'f32' },
  2: { name: 'uint8', bits: 8, hew: 'u8' },
  3: { name: 'int8', bits: 8, hew: 'i8' },
  4: { name: 'uint16', bits: 16 },
  5: { name: 'int16', bits: 16 },
  6: { name: 'int32', bits: 32, hew: 'i32' },
  7: { name: 'int64', bits: 64, hew: 'i64' },
  8: { name: 'string', bits: 0 },
  9: { name: 'bool', bits: 8, hew: 'bool' },
  10: { name: 'float16', bits: 16, hew: 'f16' },
  11: { name: 'double', bits: 64, narrowedTo: 'f32' },
  12: { name: 'uint32', bits: 32 },
  13: { name: 'uint64', bits: 64 },
  14: { name: 'complex64', bits: 64 },
  15: { name: 'complex128', bits: 128 },
  16: { name: 'bfloat16', bits: 16, hew: 'bf16' },
  17: { name: 'float8e4m3fn', bits: 8 },
  18: { name: 'float8e4m3fnuz', bits: 8 },
  19: { name: 'float8e5m2', bits: 8 },
  20: { name: 'float8e5m2fnuz', bits: 8 },
  21: { name: 'uint4', bits: 4, hew: 'u4' },
  22: { name: 'int4', bits: 4, hew: 'i4' },
  23: { name: 'float4e2m1', bits: 4 },
  24: { name: 'float8e8m0', bits: 8 },
  25: { name: 'uint2', bits: 2 },
  26: { name: 'int2', bits: 2 },
};

export function dtypeName(code: number): string {
  return onnxDTypes[code]?.name ?? `type ${code}`;
}

/** The Hew type that values of an ONNX type have after import; undefined when there is none. */
export function carriedAs(code: number): DType | undefined {
  const type = onnxDTypes[code];
  return type?.hew ?? type?.narrowedTo;
}

/** Codes that have an exact Hew type, by its name. */
export const codeOf: Readonly<Partial<Record<DType, number>>> = Object.fromEntries(
  Object.entries(onnxDTypes).flatMap(([code, { hew }]) => (hew === undefined ? [] : [[hew, Number(code)]])),
);

/** Dimensions as C++ expressions of the run-time symbols. */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { DType } from '../../../ir/type.js';

/** A resolved dimension, such as `(T * 4 + 1)`. */
export function sizeText(value: Dim): string {
  const constant = constantOf(value);
  if (constant !== undefined) return integerText(constant);
  const terms = value.terms.map(({ coefficient, factors }) => {
    const product = [...factors];
    if (coefficient !== 1 || factors.length === 0) product.push(integerText(coefficient));
    return product.join(' * ');
  });
  const sum = terms.length === 1 && value.divisor === 1 ? (terms[0] as string) : `(${terms.join(' + ')})`;
  const isBare = value.terms.length === 1 && /^\w+$/.test(sum);
  if (value.divisor !== 1) return `(${sum} / ${value.divisor})`;
  return isBare || sum.startsWith('(') ? sum : `(${sum})`;
}

function integerText(value: number): string {
  const text = Math.abs(value) >= 2 ** 31 ? `${value}ll` : String(value);
  return value < 0 ? `(${text})` : text;
}

/** The product of factors, without ones. */
export function product(factors: readonly string[]): string {
  const kept = factors.filter((f) => f !== '1');
  if (kept.includes('0')) return '0';
  return kept.length === 0 ? '1' : kept.join(' * ');
}

/** The type an element has in memory; of four-bit integers, that of two. */
export const storageType: Readonly<Record<DType, string>> = {
  f32: 'float',
  f16: 'f16',
  bf16: 'bf16',
  i32: 'int',
  i64: 'long long',
  i8: 'signed char',
  u8: 'unsigned char',
  i4: 'i4',
  u4: 'u4',
  bool: 'bool',
};

export type RegisterType = 'float' | 'int' | 'long long' | 'bool';

export const registerType: Readonly<Record<DType, RegisterType>> = {
  f32: 'float',
  f16: 'float',
  bf16: 'float',
  i32: 'int',
  i64: 'long long',
  i8: 'int',
  u8: 'int',
  i4: 'int',
  u4: 'int',
  bool: 'bool',
};

/** Dimensions as C++ expressions of the run-time symbols, and the types of elements. */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { DType } from '../../../ir/type.js';

/** A resolved dimension, such as `(T * 4 + 1)`. */
export function sizeText(value: Dim): string {
  const constant = constantOf(value);
  if (constant !== undefined) return String(constant);
  const terms = value.terms.map(({ coefficient, factors }) => {
    const product = [...factors];
    if (coefficient !== 1 || factors.length === 0) product.push(String(coefficient));
    return product.join(' * ');
  });
  const sum = terms.join(' + ');
  if (value.divisor !== 1) return `((${sum}) / ${value.divisor})`;
  return /^\w+$/.test(sum) ? sum : `(${sum})`;
}

/** The product of factors, without ones. */
export function product(factors: readonly string[]): string {
  const kept = factors.filter((f) => f !== '1');
  if (kept.includes('0')) return '0';
  return kept.length === 0 ? '1' : kept.join(' * ');
}

/** The sum of terms, without zeros. */
export function sum(terms: readonly string[]): string {
  const kept = terms.filter((t) => t !== '0');
  return kept.length === 0 ? '0' : kept.join(' + ');
}

/** Safe as a factor. */
export function factor(text: string): string {
  return /^[\w.]+$/.test(text) || /^\([^()]*\)$/.test(text) ? text : `(${text})`;
}

/** The type an element has in global memory. */
export const elementType: Readonly<Record<DType, string>> = {
  f32: 'float',
  f16: 'half',
  bf16: 'bfloat16_t',
  i32: 'int32_t',
  i64: 'int64_t',
  i8: 'int8_t',
  u8: 'uint8_t',
  i4: 'int4b_t',
  u4: 'uint8_t',
  bool: 'uint8_t',
};

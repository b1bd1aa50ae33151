/** Made-up operands of kernels that are measured, and the comparison of what they give. */
import type { NativeSlot, PlanSize } from '../../backends/native/manifest.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import { type DType, dtypes, isFloat, storedBytes } from '../../ir/type.js';

type Symbols = Readonly<Record<string, number>>;

/** The value of a size of a manifest. */
export function sizeOf(size: PlanSize, symbols: Symbols): number {
  if (typeof size === 'number') return size;
  const [sum, divisor] = 'sum' in size ? [size.sum, size.divisor] : [size, 1];
  const terms = sum.map(([coefficient, ...names]) =>
    names.reduce((product, name) => product * (symbols[name] as number), coefficient),
  );
  return terms.reduce((total, term) => total + term, 0) / divisor;
}

export function elementsOf({ shape }: Pick<NativeSlot, 'shape'>, symbols: Symbols): number {
  return shape.reduce((count: number, size) => count * sizeOf(size, symbols), 1);
}

/** Random numbers repeat after so many, which no cache line and no tile notices. */
const period = 2 ** 16;

/** Floats around zero and bytes of any value; integers that may be indices are below `integers`, or all the one given. */
export function madeUp(
  dtype: DType,
  elements: number,
  integer: number | { readonly below: number },
): Uint8Array {
  const own = Math.min(elements, period + 1);
  const bytes = encodeBytes(dtype, Array.from({ length: own }, valuesOf(dtype, integer)));
  const all = new Uint8Array(storedBytes(dtype, elements));
  for (let at = 0; at < all.length; at += bytes.length)
    all.set(bytes.subarray(0, Math.min(bytes.length, all.length - at)), at);
  return all;
}

function valuesOf(dtype: DType, integer: number | { readonly below: number }): () => number {
  let state = 0x9e3779b9;
  const unit = (): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x3c6ef372) >>> 0;
    return state / 2 ** 32;
  };
  if (isFloat(dtype)) return () => 2 * unit() - 1;
  if (dtype === 'bool') return () => 1;
  if (dtype === 'i32' || dtype === 'i64')
    return typeof integer === 'number' ? () => integer : () => Math.floor(unit() * integer.below);
  const { bits } = dtypes[dtype];
  const least = dtype.startsWith('i') ? -(2 ** (bits - 1)) : 0;
  return () => least + Math.floor(unit() * 2 ** bits);
}

/** What sums in another order may change: a rounding of the result, and of sums in f32. */
const allowed: Readonly<Partial<Record<DType, number>>> = { bf16: 2 ** -8, f16: 2 ** -11, f32: 1e-4 };

/**
 * Why `other` is not the same result as `wanted`; undefined where it is. Floats agree by the norm of the difference over the
 * norm; integers that were rounded from sums of floats may be off by one.
 */
export function difference(
  dtype: DType,
  wanted: Uint8Array,
  other: Uint8Array,
  exact: boolean,
): string | undefined {
  if (Buffer.compare(wanted, other) === 0) return undefined;
  if (exact) return 'another result';
  const [square, of, greatest] = distance(dtype, wanted, other);
  if (!isFloat(dtype)) return greatest <= 1 ? undefined : `integers differ by ${greatest}`;
  const relative = Math.sqrt(square / of);
  return relative <= (allowed[dtype] ?? 0) ? undefined : `results differ by ${relative.toExponential(1)}`;
}

const pieceBytes = 2 ** 18;

/** The squares of the differences, those of the values, and the greatest difference; bits that are the same count as equal. */
function distance(dtype: DType, wanted: Uint8Array, other: Uint8Array): [number, number, number] {
  let [square, of, greatest] = [0, 0, 0];
  for (let at = 0; at < wanted.length; at += pieceBytes) {
    const [a, b] = [wanted, other].map((all) => decodeBytes(dtype, all.subarray(at, at + pieceBytes))) as [
      Float64Array,
      Float64Array,
    ];
    a.forEach((value, i) => {
      const off = Object.is(value, b[i]) ? 0 : value - (b[i] as number);
      square += off * off;
      of += Number.isFinite(value) ? value * value : 0;
      greatest = Math.max(greatest, Math.abs(off));
    });
  }
  return [square, of, greatest];
}

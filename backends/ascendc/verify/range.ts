/** What is known of an integer: its least and greatest value, and a number that divides it. */

export interface Range {
  readonly least: number;
  readonly most: number;
  /** 0 divides only 0, so it stands for 0 itself. */
  readonly multiple: number;
}

export const exactly = (value: number): Range => ({ least: value, most: value, multiple: Math.abs(value) });
export const anything: Range = { least: 0, most: Number.POSITIVE_INFINITY, multiple: 1 };
export const upTo = (most: number, multiple = 1): Range => ({ least: 0, most, multiple });

function divisor(a: number, b: number): number {
  if (!Number.isInteger(a) || !Number.isInteger(b)) return 1;
  return b === 0 ? a : divisor(b, a % b);
}

/** Products with 0 and infinity, which a bound may be, are 0. */
const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

export const add = (a: Range, b: Range): Range => ({
  least: a.least + b.least,
  most: a.most + b.most,
  multiple: divisor(a.multiple, b.multiple),
});

/** Kernels subtract only what is not greater: the result is not below 0, unless both are known. */
export function subtract(a: Range, b: Range): Range {
  const known = b.least === b.most;
  const most = a.most - b.least;
  return {
    least: known ? a.least - b.least : Math.max(0, a.least - b.most),
    most: known ? most : Math.max(0, most),
    multiple: divisor(a.multiple, b.multiple),
  };
}

export const multiply = (a: Range, b: Range): Range => ({
  least: times(a.least, b.least),
  most: times(a.most, b.most),
  multiple: a.multiple * b.multiple,
});

export function divide(a: Range, b: Range, round: (value: number) => number = Math.floor): Range {
  const exact = b.least === b.most && b.least > 0 && a.multiple % b.least === 0;
  return {
    least: b.most === Number.POSITIVE_INFINITY ? 0 : round(a.least / Math.max(1, b.most)),
    most: round(a.most / Math.max(1, b.least)),
    multiple: exact ? a.multiple / b.least : 1,
  };
}

export const remainder = (a: Range, b: Range): Range => ({
  least: 0,
  most: Math.max(0, Math.min(a.most, b.most - 1)),
  multiple: divisor(a.multiple, b.multiple),
});

export const lesser = (a: Range, b: Range): Range => ({
  least: Math.min(a.least, b.least),
  most: Math.min(a.most, b.most),
  multiple: divisor(a.multiple, b.multiple),
});

/** Either of two. */
export const either = (a: Range, b: Range): Range => ({
  least: Math.min(a.least, b.least),
  most: Math.max(a.most, b.most),
  multiple: divisor(a.multiple, b.multiple),
});

/** The next multiple of `unit`. */
export const roundedUp = (a: Range, unit: number): Range => ({
  least: Math.ceil(a.least / unit) * unit,
  most: Math.ceil(a.most / unit) * unit,
  multiple: a.multiple % unit === 0 && a.multiple > 0 ? a.multiple : unit,
});

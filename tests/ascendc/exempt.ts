/** Cases that this target does not promise. */
import type { CoreLayout } from '../../backends/ascendc/chips.js';
import { caseTitle, type OpCase } from '../conformance/case.js';

/** i32 is computed in f32, which is exact up to 2^24: no wrapping. */
const titles: ReadonlySet<string> = new Set([
  'add: i32 wraps',
  'sub: i32 wraps',
  'mul: i32 wraps',
  'reduce_sum: i32 wraps',
  'reduce_prod: i32 wraps',
  'matmul: i32 wraps',
  'cumsum: i32 wraps',
  'div: i32 truncates and survives zero',
  'cast: i32 to i64',
  'cast: i64 to i64',
]);

/** Fused chips have no cast from f32 to i32: numbers are rounded by sums, up to 2^22, and nothing stops them at the ends. */
const fusedTitles: ReadonlySet<string> = new Set([
  'cast: f32 to i32',
  'cast: f16 to i32',
  'cast: i32 to i32',
]);

export function exempt(c: OpCase, layout: CoreLayout = 'split'): boolean {
  return titles.has(caseTitle(c)) || (layout === 'fused' && fusedTitles.has(caseTitle(c)));
}

/** Cases that this target does not promise. */
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

export function exempt(c: OpCase): boolean {
  return titles.has(caseTitle(c));
}

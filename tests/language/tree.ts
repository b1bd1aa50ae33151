/** Syntax trees for comparison and snapshots. */

/** A copy of a syntax tree without spans. */
export function withoutSpans(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(withoutSpans);
  if (typeof node !== 'object' || node === null) return node;
  const kept = Object.entries(node).filter(([key]) => !/[sS]pan$/.test(key) && key !== 'file');
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutSpans(value)]));
}

/** Attention and rotary positions, as decompositions and exporters write them. */
import type { FuncBuilder } from '../../ir/builder.js';
import { constantOf, type Dim, dim, dimsEqual, divDims } from '../../ir/dim.js';
import { defOf, type Value } from '../../ir/module.js';
import { madeBy, type Rule, rule } from '../rules/rule.js';
import {
  decimal,
  type Facts,
  halved,
  isCount,
  isLastAxis,
  lastPart,
  orders,
  rankOf,
  scaledValue,
  uniform,
} from './match.js';

// ---- attention

/** Scores that are as good as hidden. */
const hidden = -1e4;

/** Which keys a query sees: all, or those up to its own position, which counts from `offset`. */
interface Visibility {
  readonly causal: boolean;
  readonly offset?: Value;
}

interface Scores {
  readonly scores: Value;
  readonly visible: Visibility;
}

function exchanged(builder: FuncBuilder, x: Value, a: number, b: number): Value {
  const rank = rankOf(x);
  const [i, j] = [rank + a, rank + b];
  const perm = Array.from({ length: rank }, (_, axis) => (axis === i ? j : axis === j ? i : axis));
  return builder.one('transpose', [x], { perm });
}

/** The scores under a causal mask; themselves when there is none. Undefined for a mask that says something else. */
function unmasked(facts: Facts, value: Value): Scores | undefined {
  const choice = madeBy(value, 'where');
  if (choice !== undefined) {
    const [condition, scores, other] = choice.operands as [Value, Value, Value];
    const visible = (uniform(other) ?? 0) <= hidden ? causal(facts, condition) : undefined;
    return visible && { scores, visible };
  }
  for (const [scores, mask] of orders(madeBy(value, 'add'))) {
    const visible = additive(facts, mask);
    if (visible !== undefined) return { scores, visible };
  }
  return madeBy(value, 'add') === undefined ? { scores: value, visible: { causal: false } } : undefined;
}

/** A mask of 0 and of hidden scores: chosen by a condition, or a constant triangle. */
function additive(facts: Facts, mask: Value): Visibility | undefined {
  const choice = madeBy(mask, 'where');
  if (choice !== undefined) {
    const [condition, seen, other] = choice.operands as [Value, Value, Value];
    return uniform(seen) === 0 && (uniform(other) ?? 0) <= hidden ? causal(facts, condition) : undefined;
  }
  const known = facts.constant(stripped(mask));
  return (
    known &&
    triangle(
      known.shape,
      (i) => (known.data[i] as number) > hidden,
      known.data.every((v) => v === 0 || v <= hidden),
    )
  );
}

function stripped(value: Value): Value {
  const op = defOf(value);
  return op?.name === 'reshape' || op?.name === 'broadcast_to' ? stripped(op.operands[0] as Value) : value;
}

/** A square constant whose lower triangle is seen. */
function triangle(
  shape: readonly number[],
  sees: (i: number) => boolean,
  sound: boolean,
): Visibility | undefined {
  const [rows, columns] = shape.slice(-2);
  if (!sound || rows === undefined || rows !== columns || shape.slice(0, -2).some((n) => n !== 1))
    return undefined;
  for (let i = 0; i < rows * rows; i++) if (sees(i) !== i % rows <= Math.floor(i / rows)) return undefined;
  return { causal: true };
}

/** `keys <= queries`, keys counted along the last axis, queries along the one before, from an offset. */
function causal(facts: Facts, condition: Value): Visibility | undefined {
  const bare = stripped(condition);
  const known = facts.constant(bare);
  if (known !== undefined) return triangle(known.shape, (i) => known.data[i] !== 0, true);
  const op = defOf(bare);
  const [a, b] = (op?.operands ?? []) as [Value, Value];
  if (op?.name === 'le') return positionsIn(facts, a, b);
  return op?.name === 'ge' ? positionsIn(facts, b, a) : undefined;
}

function positionsIn(facts: Facts, keys: Value, queries: Value): Visibility | undefined {
  if (!isAlong(keys, 1) || !isCount(facts, keys) || !isAlong(queries, 2)) return undefined;
  if (isCount(facts, queries)) return { causal: true };
  const sum = madeBy(stripped(queries), 'add');
  for (const [count, offset] of orders(sum)) {
    if (rankOf(offset) === 0 && offset.type.dtype === 'i32' && isCount(facts, count))
      return { causal: true, offset };
  }
  return undefined;
}

/** Whether only the axis `fromEnd` has more than one element. */
function isAlong({ type: { shape } }: Value, fromEnd: number): boolean {
  return shape.every((size, axis) => axis === shape.length - fromEnd || constantOf(size) === 1);
}

function attentionRule(facts: Facts): Rule {
  return rule(
    'matmul',
    'lift-attention',
    'softmax(mask(c q k^T)) v == attention(q, k, v, scale = c), heads before tokens',
    (_op, [weights, values], builder) => {
      const soft = madeBy(weights, 'softmax');
      const masked = soft?.operands[0];
      if (soft === undefined || masked === undefined || values === undefined) return undefined;
      if (rankOf(masked) < 3 || !isLastAxis([soft.attrs.axis], rankOf(masked))) return undefined;
      const found = unmasked(facts, masked);
      if (found === undefined) return undefined;
      const { value, factor } = scaledValue(found.scores);
      const product = madeBy(value, 'matmul');
      const [left, right] = (product?.operands ?? []).map(scaledValue);
      if (left === undefined || right === undefined) return undefined;
      const keys = exchanged(builder, right.value, -2, -1);
      if ([left.value, keys].some((x) => rankOf(x) !== rankOf(values))) return undefined;
      const operands = [left.value, keys, values].map((x) => exchanged(builder, x, -3, -2));
      const { causal, offset } = found.visible;
      const scale = decimal(factor * left.factor * right.factor);
      const result = builder.one('attention', offset === undefined ? operands : [...operands, offset], {
        causal,
        scale,
      });
      return exchanged(builder, result, -3, -2);
    },
  );
}

/** What is repeated for every query head of a group, in the token-major layout [.., S, heads, hd]. */
function unrepeated(facts: Facts, x: Value, builder: FuncBuilder): Value | undefined {
  const picked = madeBy(x, 'gather');
  if (picked !== undefined) {
    const [from, index] = picked.operands as [Value, Value];
    const known = facts.constant(index);
    const axis = picked.attrs.axis < 0 ? picked.attrs.axis + rankOf(from) : picked.attrs.axis;
    const kv = constantOf(from.type.shape.at(-2) as Dim);
    if (known === undefined || kv === undefined || axis !== rankOf(from) - 2 || rankOf(index) !== 1)
      return undefined;
    return known.data.every((row, h) => row === Math.floor((h * kv) / known.data.length)) ? from : undefined;
  }
  const turned = madeBy(x, 'transpose');
  const wide = turned === undefined ? x : (turned.operands[0] as Value);
  const inner = repeatedAxis(wide, turned === undefined ? -2 : -3);
  if (inner === undefined) return undefined;
  return turned === undefined ? inner : builder.one('transpose', [inner], turned.attrs);
}

/** reshape(broadcast_to(reshape(x, [.., kv, 1, ..]), [.., kv, g, ..])) along `axis`: x. */
function repeatedAxis(value: Value, axis: number): Value | undefined {
  const joined = madeBy(value, 'reshape');
  const spread = madeBy(joined?.operands[0], 'broadcast_to');
  const column = spread?.operands[0];
  if (spread === undefined || column === undefined) return undefined;
  const at = rankOf(value) + axis;
  const { shape } = column.type;
  if (rankOf(column) !== rankOf(value) + 1 || constantOf(shape[at + 1] as Dim) !== 1) return undefined;
  const others = spread.attrs.shape.every((size, i) => i === at + 1 || dimsEqual(size, shape[i] as Dim));
  const inner = madeBy(column, 'reshape')?.operands[0];
  return others && inner !== undefined && rankOf(inner) === rankOf(value) ? inner : undefined;
}

function groupsRule(facts: Facts): Rule {
  return rule(
    'attention',
    'lift-key-groups',
    'attention(q, repeat(k), repeat(v)) == attention(q, k, v): each key head serves a group of query heads',
    (op, operands, builder) => {
      const [q, k, v, ...rest] = operands as [Value, Value, Value];
      const [keys, values] = [unrepeated(facts, k, builder), unrepeated(facts, v, builder)];
      if (keys === undefined || values === undefined) return undefined;
      return builder.one('attention', [q, keys, values, ...rest], op.attrs);
    },
  );
}

// ---- rotary positions

interface Rotation {
  readonly first: Value;
  readonly second: Value;
  readonly cos: Value;
  readonly sin: Value;
}

/** `a cos - b sin` and `b cos + a sin`. */
function rotationOf(turnedFirst: Value | undefined, turnedSecond: Value | undefined): Rotation | undefined {
  const [difference, sum] = [madeBy(turnedFirst, 'sub'), madeBy(turnedSecond, 'add')];
  const [left, right] = (difference?.operands ?? []).map((x) => madeBy(x, 'mul'));
  for (const [first, cos] of orders(left)) {
    for (const [second, sin] of orders(right)) {
      const holds = orders(sum).some(([x, y]) => isMul(x, second, cos) && isMul(y, first, sin));
      if (holds) return { first, second, cos, sin };
    }
  }
  return undefined;
}

function isMul(value: Value, a: Value, b: Value): boolean {
  return orders(madeBy(value, 'mul')).some(([x, y]) => x === a && y === b);
}

/** Rope of x by tables that broadcast against it, in either layout; undefined where they have a batch. */
function ropeOf(
  builder: FuncBuilder,
  x: Value,
  cos: Value,
  sin: Value,
  half: Dim,
  interleaved: boolean,
): Value | undefined {
  const rank = rankOf(x);
  const shape = cos.type.shape;
  // Without the axis of pair members that interleaved tables have.
  const own = interleaved && rankOf(cos) > rank ? shape.slice(0, -1) : shape;
  const at = (fromEnd: number): Dim => own[own.length - fromEnd] ?? dim(1);
  if (!dimsEqual(at(1), half) || own.slice(0, -3).some((size) => constantOf(size) !== 1) || rank < 3)
    return undefined;
  const tokenMajor = constantOf(at(2)) === 1;
  const tokens = tokenMajor ? at(3) : at(2);
  if (!tokenMajor && constantOf(at(3)) !== 1) return undefined;
  const table = (value: Value): Value => builder.one('reshape', [value], { shape: [tokens, half] });
  const turned = tokenMajor ? x : exchanged(builder, x, -3, -2);
  const result = builder.one('rope', [turned, table(cos), table(sin)], { interleaved });
  return tokenMajor ? result : exchanged(builder, result, -3, -2);
}

/** The first half of a table whose halves are equal. */
function halfTable(facts: Facts, table: Value, builder: FuncBuilder): Value | undefined {
  const op = defOf(table);
  const half = divDims(table.type.shape.at(-1) as Dim, 2);
  const inner = (value: Value | undefined): Value | undefined => value && halfTable(facts, value, builder);
  switch (op?.name) {
    case 'concat': {
      const [a, b, ...more] = op.operands;
      return a === b && more.length === 0 && isLastAxis([op.attrs.axis], rankOf(table)) ? a : undefined;
    }
    case 'cos':
    case 'sin':
    case 'cast': {
      const part = inner(op.operands[0]);
      return part && builder.one(op.name, [part], op.attrs);
    }
    case 'mul': {
      const scaled = scaledValue(table);
      const part = scaled.value === table ? undefined : inner(scaled.value);
      if (part === undefined) return undefined;
      const factor = builder.one('full', [], { value: scaled.factor, dtype: part.type.dtype, shape: [] });
      return builder.one('mul', [part, factor]);
    }
    case 'reshape': {
      const from = op.operands[0] as Value;
      if (!dimsEqual(from.type.shape.at(-1) ?? dim(1), table.type.shape.at(-1) as Dim)) return undefined;
      const part = inner(from);
      return part && builder.one('reshape', [part], { shape: [...op.attrs.shape.slice(0, -1), half] });
    }
    case 'gather': {
      const [from, index] = op.operands as [Value, Value];
      const rows = op.attrs.axis === 0 && rankOf(from) === 2 ? inner(from) : undefined;
      return rows && builder.one('gather', [rows, index], op.attrs);
    }
    case 'slice': {
      const from = op.operands[0] as Value;
      const part = isLastAxis([op.attrs.axis], rankOf(from)) ? undefined : inner(from);
      return part && builder.one('slice', [part], op.attrs);
    }
    case 'param': {
      const known = facts.constant(table);
      const width = known?.shape.at(-1) ?? 0;
      const equal = known?.data.every((v, i) => i % width < width / 2 || v === known.data[i - width / 2]);
      if (!equal || width % 2 !== 0) return undefined;
      return builder.one('slice', [table], { axis: rankOf(table) - 1, start: dim(0), end: half });
    }
    default:
      return undefined;
  }
}

/** x of `concat(-b, a)`, whose halves are a and b. */
function halfRotated(value: Value): Value | undefined {
  const joined = madeBy(value, 'concat');
  const [negative, first, ...more] = joined?.operands ?? [];
  const second = madeBy(negative, 'neg')?.operands[0];
  if (joined === undefined || first === undefined || second === undefined || more.length > 0)
    return undefined;
  return isLastAxis([joined.attrs.axis], rankOf(value)) ? halved(first, second) : undefined;
}

function ropeRules(facts: Facts): Rule[] {
  return [
    rule(
      'concat',
      'lift-rope',
      'concat(a cos - b sin, b cos + a sin) == rope(concat(a, b), cos, sin)',
      (op, operands, builder) => {
        const turn = operands.length === 2 ? rotationOf(operands[0], operands[1]) : undefined;
        const x = turn && halved(turn.first, turn.second);
        if (turn === undefined || x === undefined || !isLastAxis([op.attrs.axis], rankOf(x)))
          return undefined;
        return ropeOf(builder, x, turn.cos, turn.sin, turn.first.type.shape.at(-1) as Dim, false);
      },
    ),
    rule(
      'add',
      'lift-rope-rotate-half',
      'x cos + concat(-b, a) sin == rope(x, cos, sin), for tables of equal halves',
      (_op, operands, builder) => {
        for (const [plain, turned] of orders({ operands })) {
          for (const [rotated, sin] of orders(madeBy(turned, 'mul'))) {
            const x = halfRotated(rotated);
            const cos = x && orders(madeBy(plain, 'mul')).find(([value]) => value === x)?.[1];
            if (x === undefined || cos === undefined) continue;
            const [c, s] = [halfTable(facts, cos, builder), halfTable(facts, sin, builder)];
            if (c === undefined || s === undefined) continue;
            return ropeOf(builder, x, c, s, c.type.shape.at(-1) as Dim, false);
          }
        }
        return undefined;
      },
    ),
    rule(
      'reshape',
      'lift-rope-interleaved',
      'pairs (a, b) turned by cos and sin == rope(x, cos, sin, interleaved)',
      (op, [joined], builder) => {
        const pairs = madeBy(joined, 'concat');
        const turn =
          pairs?.operands.length === 2 ? rotationOf(pairs.operands[0], pairs.operands[1]) : undefined;
        const members = turn && [lastPart(turn.first), lastPart(turn.second)];
        const of = members?.[0]?.of;
        const inOrder =
          constantOf(members?.[0]?.start ?? dim(1)) === 0 && constantOf(members?.[1]?.start ?? dim(0)) === 1;
        if (turn === undefined || of === undefined || members?.[1]?.of !== of || !inOrder) return undefined;
        if (constantOf(of.type.shape.at(-1) as Dim) !== 2) return undefined;
        const x = builder.one('reshape', [of], op.attrs);
        return ropeOf(builder, x, turn.cos, turn.sin, of.type.shape.at(-2) as Dim, true);
      },
    ),
  ];
}

export function attentionRules(facts: Facts): Rule[] {
  return [attentionRule(facts), groupsRule(facts), ...ropeRules(facts)];
}

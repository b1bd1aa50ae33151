/** Identities that bring weights to the form kernels read: [out, in] layout, storage dtype, bias inside the layer. */
import { dimsEqual } from '../../ir/dim.js';
import type { Op, OpOf, Value } from '../../ir/module.js';
import type { OpDecl } from '../../ir/op.js';
import { dimAt } from '../../ir/ops/shared.js';
import { type OpName, opNames, opTable } from '../../ir/ops/table.js';
import { isFloat } from '../../ir/type.js';
import { madeBy, type Rule, rule } from './rule.js';

/** The narrower weight below a widening cast to f32. */
function narrow(value: Value | undefined): Value | undefined {
  const inner = madeBy(value, 'cast')?.operands[0];
  return inner !== undefined && value?.type.dtype === 'f32' && isFloat(inner.type.dtype) ? inner : undefined;
}

function absorbRule(name: OpName): Rule {
  const decl: OpDecl = opTable[name];
  return rule(
    name,
    `${name.replaceAll('_', '-')}-reads-narrow`,
    `${name}(.., cast(w, f32)) == ${name}(.., w): the op widens its weights`,
    (op, operands, builder) => {
      const replaced = operands.map(
        (value, i) => (decl.operands[i]?.widens ? narrow(value) : undefined) ?? value,
      );
      const changed = replaced.some((value, i) => value !== operands[i]);
      return changed ? builder.emit(name, replaced, (op as Op).attrs) : undefined;
    },
  );
}

/** `add(linear, vector)` in either order, where nothing else reads the linear: the linear and the vector. */
function linearPlusVector(
  add: OpOf<'add'>,
  operands: readonly Value[],
  uses: ReadonlyMap<Value, number>,
): { linear: OpOf<'linear'>; vector: Value } | undefined {
  for (const [i, j] of [
    [0, 1],
    [1, 0],
  ] as const) {
    const [linear, vector] = [madeBy(operands[i], 'linear'), operands[j]];
    const old = add.operands[i] as Value;
    const sole = madeBy(old, 'linear') !== undefined && uses.get(old) === 1;
    if (sole && linear?.operands.length === 2 && vector?.type.shape.length === 1) return { linear, vector };
  }
  return undefined;
}

export const weightRules: readonly Rule[] = [
  ...opNames.filter((name) => opTable[name].operands.some((o) => o.widens)).map(absorbRule),
  rule(
    'matmul',
    'matmul-transpose',
    'x @ transpose(w) == linear(x, w) for a matrix w, widened or not',
    (_op, [x, y], builder) => {
      const transposed = madeBy(narrow(y) ?? y, 'transpose');
      const w = transposed?.attrs.perm[0] === 1 ? transposed.operands[0] : undefined;
      return w?.type.shape.length === 2 && x?.type.dtype === 'f32'
        ? builder.one('linear', [x, w])
        : undefined;
    },
  ),
  rule(
    'add',
    'linear-bias',
    'linear(x, w) + b == linear(x, w, b), rounded once',
    (op, operands, builder, uses) => {
      const found = linearPlusVector(op, operands, uses);
      if (found === undefined) return undefined;
      const { linear, vector } = found;
      const [x, w] = linear.operands as [Value, Value];
      if (!dimsEqual(dimAt(vector.type, 0), dimAt(w.type, 0))) return undefined;
      return builder.one('linear', [x, w, vector]);
    },
  ),
  rule(
    'gather',
    'gather-narrow',
    'gather(cast(t), i) == cast(gather(t, i)): only the rows that are read are widened',
    (op, [table, index], builder) => {
      const inner = narrow(table);
      if (inner === undefined) return undefined;
      return builder.one('cast', [builder.one('gather', [inner, index as Value], op.attrs)], {
        dtype: 'f32',
      });
    },
  ),
  ...(['reshape', 'transpose', 'slice'] as const).map((name) =>
    rule(
      name,
      `${name}-narrow`,
      `${name}(cast(w)) == cast(${name}(w)): casts move towards their consumer`,
      (op, [x], builder) => {
        const inner = narrow(x);
        if (inner === undefined) return undefined;
        return builder.one('cast', [builder.one(name, [inner], (op as Op).attrs)], { dtype: 'f32' });
      },
    ),
  ),
];

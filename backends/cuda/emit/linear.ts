/** What all kernels of linear layers share: their sums, the epilogue, and the weights. */
import type { Dim } from '../../../ir/dim.js';
import type { Op, OpOf, Value } from '../../../ir/module.js';
import type { Code } from './code.js';
import { roundedTo } from './elementwise.js';
import { declareIndex, Expressions, isUnconditional } from './expression.js';
import type { KernelContext } from './kernel.js';
import { registerType, storageType } from './size.js';

/** Linear layers of floats, which sum in f32, and of integers. */
export type LinearOp = OpOf<'linear'> | OpOf<'integer_linear'>;

export function sumType(roots: readonly Op[]): 'float' | 'int' {
  return roots[0]?.name === 'integer_linear' ? 'int' : 'float';
}

/** Declares the results of the linear layers from their sums, with their biases. */
function declareTotals(
  code: Code,
  roots: readonly Op[],
  known: Map<Value, string>,
  sum: (root: number) => string,
  bias: (value: Value) => string,
): void {
  roots.forEach((root, i) => {
    const value = root.results[0] as Value;
    const added = root.name === 'linear' ? root.operands[2] : undefined;
    const total = added === undefined ? sum(i) : `${sum(i)} + ${bias(added)}`;
    const name = code.fresh('v');
    const { dtype } = value.type;
    code.line(`const ${registerType[dtype]} ${name} = ${roundedTo(dtype, total)};`);
    known.set(value, name);
  });
}

/** Declares the C++ function `element(row, column, sums)`: what is stored at [row, column] of the result. */
export function declareElement(
  context: KernelContext,
  roots: readonly Op[],
  result: Value,
  index: (row: string) => string[],
): void {
  const { code } = context;
  const sums = `const ${sumType(roots)} (&sums)[${roots.length}]`;
  code.block(
    `const auto element = [&](int row, int column, ${sums})`,
    () => {
      const at = [...index('row'), 'column'];
      const biases = new Expressions(context);
      const known = new Map<Value, string>();
      declareTotals(
        code,
        roots,
        known,
        (i) => `sums[${i}]`,
        (value) => biases.value(value, ['column']),
      );
      code.line(`return ${new Expressions(context, known).value(result, at)};`);
    },
    '};',
  );
}

/**
 * Declares the C++ functions of an epilogue of four columns: `terms(row)` makes what they have in common, and
 * `four(terms, row, column, sums, values)` what is stored at [row, column ..] of the result.
 */
export function declareFour(
  context: KernelContext,
  roots: readonly Op[],
  result: Value,
  columns: number,
): void {
  const { code } = context;
  const [row, reads, each] = [code.part(1), code.part(1), code.part(2)];
  const lead = leadIndex({ ...context, code: row }, result.type.shape);
  const at = [...lead('row'), 'at'];
  const known = new Map<Value, string>();
  const levels = { row, reads, place: 'at', first: 'column', lane: 'j' };
  const expressions = new Expressions(
    { ...context, code: each },
    known,
    isUnconditional(context.func) ? levels : undefined,
  );
  declareTotals(
    each,
    roots,
    known,
    (i) => `sums[${i}][j]`,
    (value) => expressions.value(value, ['at']),
  );
  each.line(`values[j] = ${expressions.value(result, at)};`);
  const used = new Set(`${reads}${each}`.match(/\w+/g));
  const shared = [...String(row).matchAll(/const (float|int|bool|long long) (\w+) = /g)].filter(
    ([, , name]) => used.has(name as string),
  );
  const names = shared.map(([, , name]) => name).join(', ');
  code.line(`struct Terms { ${shared.map(([, type, name]) => `${type} ${name}; `).join('')}};`);
  code.block(
    'const auto terms = [&](int row)',
    () => {
      code.add(row);
      code.line(`return Terms{${names}};`);
    },
    '};',
  );
  const sums = `const ${sumType(roots)} (&sums)[${roots.length}][4]`;
  code.block(
    `const auto four = [&](const Terms& own, int row, int column, ${sums}, auto& values)`,
    () => {
      if (names !== '') code.line(`const auto [${names}] = own;`);
      code.add(reads);
      code.line('#pragma unroll');
      code.block('for (int j = 0; j < 4; j++)', () => {
        code.line(`const int at = ${columns % 4 === 0 ? 'column + j' : 'min(column + j, N - 1)'};`);
        code.add(each);
      });
    },
    '};',
  );
}

/** Index of the leading axes of a result from its row number. */
export function leadIndex(context: KernelContext, shape: readonly Dim[]): (row: string) => string[] {
  return (row) => declareIndex(context, shape.slice(0, -1).map(context.size), row, 'int');
}

/** All linear layers of the kernel; they read one input. */
export function linearRoots(context: KernelContext): LinearOp[] {
  return context.func.body.filter(({ name }) => name === 'linear' || name === 'integer_linear') as LinearOp[];
}

/** Declares the array `weights`, which may be read at once: what other kernels write is waited for. */
export function declareWeights(context: KernelContext, roots: readonly LinearOp[]): void {
  const values = roots.map((root) => root.operands[1] as Value);
  if (!values.every(context.isConstant)) context.code.line('await_predecessor();');
  const pointers = values.map(context.pointer).join(', ');
  context.code.line(
    `const ${storageType[(values[0] as Value).type.dtype]}* const weights[] = {${pointers}};`,
  );
}

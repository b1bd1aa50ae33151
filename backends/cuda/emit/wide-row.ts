/**
 * Rows whose elements threads read and write four at a time, and keep in registers. What the elements of a row have in common,
 * such as the scale that quantizes them, is made once.
 */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { Op, Value } from '../../../ir/module.js';
import type { Code } from './code.js';
import { Expressions, isUnconditional } from './expression.js';
import type { KernelContext } from './kernel.js';
import { ownElements, reduction, rowBody, sharedBy } from './row-body.js';
import { registerType } from './size.js';

/** Elements of a row, where it can be read so. */
function wideRow(context: KernelContext, root: Op, result: Value, step: number): number | undefined {
  const [width, written] = [root.operands[0] as Value, result].map((value) =>
    constantOf(context.resolve(value.type.shape.at(-1) as Dim)),
  );
  const fits = ownElements(width, step) !== undefined && width === written;
  return fits && (width as number) % 4 === 0 && isUnconditional(context.func) ? width : undefined;
}

/** Computes one row of a root and stores the result; false where its elements are not read so. */
export function overWideRow(
  context: KernelContext,
  root: Op,
  result: Value,
  sharing: number,
  declareOuter: () => readonly string[],
): boolean {
  const { start, step } = sharedBy(sharing);
  const width = wideRow(context, root, result, step);
  if (width === undefined) return false;
  const { code } = context;
  const quads = Math.ceil(width / (4 * step));
  const [x, ...parameters] = root.operands as [Value, ...Value[]];
  const overQuads = (each: () => void): void => {
    code.line('#pragma unroll');
    code.block(`for (int j = 0; j < ${quads}; j++)`, () => {
      code.line(`const int column = (j * ${step} + ${start}) * 4;`);
      if (width % (4 * step) !== 0) code.line(`if (column >= ${width}) continue;`);
      each();
    });
  };
  /** `body` writes what is done with the element [j][i] of a thread, whose column is `at`. */
  const overElements = (body: (each: Code, expressions: Expressions, known: Map<Value, string>) => void) => {
    const [row, reads, each] = [code.part(0), code.part(1), code.part(2)];
    const known = new Map<Value, string>();
    const levels = { row, reads, place: 'at', first: 'column', lane: 'i' };
    body(each, new Expressions({ ...context, code: each }, known, levels), known);
    code.add(row);
    overQuads(() => {
      code.add(reads);
      code.line('#pragma unroll');
      code.block('for (int i = 0; i < 4; i++)', () => {
        code.line('const int at = column + i;');
        code.add(each);
      });
    });
  };
  const early = new Map<Value, string>();
  for (const value of new Set(parameters.filter(context.isConstant))) {
    const name = code.fresh('parameters');
    early.set(value, `${name}[j][i]`);
    code.line(`float ${name}[${quads}][4];`);
    overElements((each, expressions) => each.line(`${name}[j][i] = ${expressions.value(value, ['at'])};`));
  }
  code.line('await_predecessor();');
  const outer = declareOuter();
  code.line(`float own[${quads}][4];`);
  overElements((each, expressions) => each.line(`own[j][i] = ${expressions.value(x, [...outer, 'at'])};`));
  let current = new Expressions(context);
  rowBody(root)({
    width: String(width),
    parameter: (value) => early.get(value) ?? current.value(value, ['at']),
    reduce: (name, by, term) => {
      const partial = code.fresh('partial');
      const next = term('own[j][i]');
      code.line(`float ${partial} = ${by === 'sum' ? '0.0f' : '-infinity()'};`);
      overElements((each) =>
        each.line(by === 'sum' ? `${partial} += ${next};` : `${partial} = maximum(${partial}, ${next});`),
      );
      code.line(`const float ${name} = ${reduction(sharing, by)}(${partial});`);
    },
    define: (name, value) => code.line(`const float ${name} = ${value};`),
    write: (finish) => {
      // Values first, stores after them, so that all that the epilogue reads is requested at once.
      code.line(`${registerType[result.type.dtype]} values[${quads}][4];`);
      overElements((each, expressions, known) => {
        current = expressions;
        const finished = code.fresh('v');
        each.line(`const float ${finished} = ${finish('own[j][i]')};`);
        known.set(root.results[0] as Value, finished);
        each.line(`values[j][i] = ${expressions.value(result, [...outer, 'at'])};`);
      });
      const to = new Expressions(context).element(result, [...outer, 'column']);
      overQuads(() => code.line(`store_four(&${to}, values[j]);`));
    },
  });
  return true;
}

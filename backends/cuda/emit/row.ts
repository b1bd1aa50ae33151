/** Row kernels: rms_norm, layer_norm and softmax over the last axis. One or more warps of a block take a row. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Op, Value } from '../../../ir/module.js';
import { opRoles } from '../../../passes/kernel-class.js';
import type { RowShape } from '../row-tuning.js';
import { declareIndex, Expressions, type Known, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, warps } from './kernel.js';
import { ownElements, reduction, rowBody, sharedBy } from './row-body.js';
import { storageType } from './size.js';
import { overWideRow } from './wide-row.js';

/** Who computes a row, and where its elements go. */
interface RowPlace {
  /** Warps that share it. */
  readonly warps: number;
  readonly indexType: 'int' | 'long long';
  /** The row's index, declared after the kernels before have ended. */
  outer(): readonly string[];
  store(index: string[], known: Known): void;
}

/** Computes one row of a root; parameters that nothing writes are read before the kernels before have ended. */
function overRow(context: KernelContext, root: Op, place: RowPlace): void {
  const { code } = context;
  const [x, ...parameters] = root.operands as [Value, ...Value[]];
  const last = x.type.shape.at(-1) as Dim;
  const constant = constantOf(context.resolve(last));
  const width = context.size(last);
  const { start, step } = sharedBy(place.warps);
  const own = ownElements(constant, step);
  const overOwn = (each: () => void): void => {
    code.line('#pragma unroll');
    code.block(`for (int j = 0; j < ${own?.count}; j++)`, () => {
      code.line(`const int column = j * ${step} + ${start};`);
      if (own?.exact === false) code.line(`if (column >= ${width}) continue;`);
      each();
    });
  };
  const early = new Map<Value, string>();
  if (own !== undefined) {
    for (const value of new Set(parameters.filter(context.isConstant))) {
      const name = code.fresh('parameters');
      early.set(value, `${name}[j]`);
      code.line(`float ${name}[${own.count}];`);
      overOwn(() => code.line(`${name}[j] = ${new Expressions(context).value(value, ['column'])};`));
    }
  }
  code.line('await_predecessor();');
  const outer = place.outer();
  const index = [...outer, 'column'];
  if (own !== undefined) {
    code.line(`float own[${own.count}];`);
    overOwn(() => code.line(`own[j] = ${new Expressions(context).value(x, index)};`));
  }
  const overColumns = (each: (x: string) => void): void => {
    if (own !== undefined) {
      overOwn(() => each('own[j]'));
      return;
    }
    code.block(`for (${place.indexType} column = ${start}; column < ${width}; column += ${step})`, () =>
      each(new Expressions(context).value(x, index)),
    );
  };
  rowBody(root)({
    width,
    parameter: (value) => early.get(value) ?? new Expressions(context).value(value, ['column']),
    reduce: (name, by, term) => {
      const partial = code.fresh('partial');
      code.line(`float ${partial} = ${by === 'sum' ? '0.0f' : '-infinity()'};`);
      overColumns((v) =>
        code.line(
          by === 'sum' ? `${partial} += ${term(v)};` : `${partial} = maximum(${partial}, ${term(v)});`,
        ),
      );
      code.line(`const float ${name} = ${reduction(place.warps, by)}(${partial});`);
    },
    define: (name, value) => code.line(`const float ${name} = ${value};`),
    write: (finish) =>
      overColumns((v) => {
        const finished = code.fresh('v');
        code.line(`const float ${finished} = ${finish(v)};`);
        place.store(index, new Map([[root.results[0] as Value, finished]]));
      }),
  });
}

function rowShape({ root, func, resolve }: KernelContext, width: number): RowShape {
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  return {
    op: root.name,
    width,
    rows: constantOf(resolve(productOfDims(x.type.shape.slice(0, -1)))) ?? 0,
    reads: func.args.length,
    dtype: func.args[0]?.type.dtype ?? x.type.dtype,
    result: result.type.dtype,
  };
}

/** A kernel of rows. */
export const emitRows: KernelEmitter = (context) => {
  const { code, root, func } = context;
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  const lead = x.type.shape.slice(0, -1);
  const rows = productOfDims(lead);
  const constant = constantOf(context.resolve(x.type.shape.at(-1) as Dim));
  const sharing =
    constant === undefined ? warps : context.parameters('row', rowShape(context, constant)).warps;
  const indexType = context.indexType(x.type, result.type);
  if (sharing === warps) {
    code.line(`const ${indexType} row = block;`);
  } else {
    const each = sharing === 1 ? 'kWarps' : warps / sharing;
    code.line(
      `const ${indexType} row = static_cast<${indexType}>(block) * ${each} + threadIdx.x / ${32 * sharing};`,
    );
    code.line(`if (row >= ${context.size(rows)}) return;`);
  }
  const outer = () => declareIndex(context, lead.map(context.size), 'row', indexType);
  if (!overWideRow(context, root, result, sharing, outer)) {
    const store = (index: string[], known: Known): void => storeResult(context, result, index, known);
    overRow(context, root, { warps: sharing, indexType, outer, store });
  }
  return [{ count: rows, per: warps / sharing }];
};

/**
 * Declares `prepare()`, which waits for the kernels before, computes rows into shared memory, as every block that reads them
 * does for itself, and gives them. `made` is what the kernel reads: a row op followed by pointwise ones.
 */
export function declareRows(context: KernelContext, made: Value, rows: number): void {
  const { code } = context;
  const root = context.func.body.find((op) => opRoles[op.name] === 'row') as Op;
  const type = storageType[made.type.dtype];
  const width = context.size(made.type.shape.at(-1) as Dim);
  code.line(`__shared__ __align__(16) ${type} made_rows[${rows} * ${width}];`);
  code.block(
    'const auto prepare = [&]',
    () => {
      code.block(`for (int row = 0; row < ${rows}; row++)`, () =>
        overRow(context, root, {
          warps,
          indexType: 'int',
          outer: () => declareIndex(context, made.type.shape.slice(0, -1).map(context.size), 'row', 'int'),
          store: (index, known) => {
            const value = new Expressions(context, known).value(made, index);
            code.line(`made_rows[row * ${width} + column] = convert<${type}>(${value});`);
          },
        }),
      );
      code.line('__syncthreads();');
      code.line('return made_rows;');
    },
    '};',
  );
}

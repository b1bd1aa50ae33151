/** Row kernels: rms_norm, layer_norm and softmax over the last axis. A warp or, for long rows, a block takes a row. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Op, Value } from '../../../ir/module.js';
import { opRoles } from '../../../passes/kernel-class.js';
import { declareIndex, Expressions, type Known, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, threads, warps } from './kernel.js';
import { ownElements, rowBody } from './row-body.js';
import { storageType } from './size.js';
import { overWideRow } from './wide-row.js';

/** Rows up to this length are a warp's; of few rows only shorter ones, so that there is work for all of a GPU. */
const longestOfWarp = 1280;
const longestOfFew = 512;
const fewRows = 64;

/** Who computes a row, and where its elements go. */
interface RowPlace {
  readonly byWarp: boolean;
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
  const { byWarp } = place;
  const width = context.size(last);
  const [start, step] = byWarp ? ['threadIdx.x % 32', '32'] : ['threadIdx.x', 'kThreads'];
  const own = ownElements(constant, byWarp ? 32 : threads);
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
      code.line(`const float ${name} = ${byWarp ? 'warp' : 'block'}_${by}(${partial});`);
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

/** A kernel of rows. */
export const emitRows: KernelEmitter = (context) => {
  const { code, root, func } = context;
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  const lead = x.type.shape.slice(0, -1);
  const rows = productOfDims(lead);
  const constant = constantOf(context.resolve(x.type.shape.at(-1) as Dim));
  const rowCount = constantOf(context.resolve(rows));
  const longest = rowCount !== undefined && rowCount <= fewRows ? longestOfFew : longestOfWarp;
  const byWarp = constant !== undefined && constant <= longest;
  const indexType = context.indexType(x.type, result.type);
  if (byWarp) {
    code.line(`const ${indexType} row = static_cast<${indexType}>(block) * kWarps + threadIdx.x / 32;`);
    code.line(`if (row >= ${context.size(rows)}) return;`);
  } else {
    code.line(`const ${indexType} row = block;`);
  }
  const outer = () => declareIndex(context, lead.map(context.size), 'row', indexType);
  if (!overWideRow(context, root, result, byWarp, outer)) {
    const store = (index: string[], known: Known): void => storeResult(context, result, index, known);
    overRow(context, root, { byWarp, indexType, outer, store });
  }
  return [{ count: rows, per: byWarp ? warps : 1 }];
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
          byWarp: false,
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

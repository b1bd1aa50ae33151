/** Row kernels: rms_norm, layer_norm and softmax over the last axis. A warp or, for long rows, a block takes a row. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { opRoles } from '../../../passes/kernel-class.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions, type Known, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, threads, warps } from './kernel.js';
import { storageType } from './size.js';

/** Rows up to this length are a warp's; of few rows only shorter ones, so that there is work for all of a GPU. */
const longestOfWarp = 1280;
const longestOfFew = 512;
const fewRows = 64;
/** Most elements of a thread that stay in registers. */
const mostOwn = 40;

interface Row {
  readonly width: string;
  /** Declares a float that is reduced over the row: `term` of each element of x. */
  reduce(name: string, by: 'sum' | 'max', term: (x: string) => string): void;
  define(name: string, value: string): void;
  /** The element of a parameter that belongs to the current one. */
  parameter(value: Value): string;
  /** Writes the row: `finish` turns an element of x into the root's result, the epilogue does the rest. */
  write(finish: (x: string) => string): void;
}

/** Who computes a row, and where its elements go. */
interface RowPlace {
  readonly byWarp: boolean;
  readonly indexType: 'int' | 'long long';
  /** The row's index, declared after the kernels before have ended. */
  outer(): readonly string[];
  store(index: string[], known: Known): void;
}

/** Elements of a row that a thread keeps in registers, so that it reads them once and all at a time. */
function ownElements(width: number | undefined, step: number): { count: number; exact: boolean } | undefined {
  if (width === undefined || width === 0 || width > mostOwn * step) return undefined;
  return { count: Math.ceil(width / step), exact: width % step === 0 };
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
  overRow(context, root, {
    byWarp,
    indexType,
    outer: () => declareIndex(context, lead.map(context.size), 'row', indexType),
    store: (index, known) => storeResult(context, result, index, known),
  });
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

/** `* gamma` and `+ beta` where they are given. */
function affine(row: Row, normalised: string, gamma?: Value, beta?: Value): string {
  const scaled = gamma === undefined ? normalised : `${normalised} * ${row.parameter(gamma)}`;
  return beta === undefined ? scaled : `${scaled} + ${row.parameter(beta)}`;
}

type RowBody = (row: Row) => void;

function rmsNorm({ operands, attrs }: OpOf<'rms_norm'>): RowBody {
  const [, gamma] = operands as [Value, Value?];
  return (row) => {
    row.reduce('squares', 'sum', (x) => `${x} * ${x}`);
    row.define('factor', `1.0f / sqrtf(squares / ${row.width} + ${floatLiteral(attrs.eps)})`);
    row.write((x) => affine(row, `${x} * factor`, gamma));
  };
}

function layerNorm({ operands, attrs }: OpOf<'layer_norm'>): RowBody {
  const [, gamma, beta] = operands as [Value, Value?, Value?];
  return (row) => {
    row.reduce('sum', 'sum', (x) => x);
    row.define('mean', `sum / ${row.width}`);
    row.reduce('squares', 'sum', (x) => `(${x} - mean) * (${x} - mean)`);
    row.define('factor', `1.0f / sqrtf(squares / ${row.width} + ${floatLiteral(attrs.eps)})`);
    row.write((x) => affine(row, `(${x} - mean) * factor`, gamma, beta));
  };
}

/** e^(x - max) / sum; exponentials are computed twice, which costs less than keeping a row. */
const softmax: RowBody = (row) => {
  row.reduce('greatest', 'max', (x) => x);
  row.reduce('total', 'sum', (x) => `expf(${x} - greatest)`);
  row.define('factor', '1.0f / total');
  row.write((x) => `expf(${x} - greatest) * factor`);
};

function rowBody(root: Op): RowBody {
  switch (root.name) {
    case 'rms_norm':
      return rmsNorm(root);
    case 'layer_norm':
      return layerNorm(root);
    case 'softmax':
      return softmax;
    default:
      throw new Error(`no kernel of rows for ${root.name}`);
  }
}

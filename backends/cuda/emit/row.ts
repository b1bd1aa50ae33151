/** Row kernels: rms_norm, layer_norm and softmax over the last axis. A warp or, for long rows, a block takes a row. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions, storeResult } from './expression.js';
import { type KernelContext, type KernelEmitter, threads, warps } from './kernel.js';

/** Rows up to this length are a warp's. */
const longestOfWarp = 512;
/** Most elements of a thread that stay in registers. */
const mostOwn = 32;

interface Row {
  readonly width: string;
  /** Declares a float that is reduced over the row: `term` of each element of x. */
  reduce(name: string, by: 'sum' | 'max', term: (x: string) => string): void;
  /** Writes the row: `finish` turns an element of x into the root's result, the epilogue does the rest. */
  write(finish: (x: string, column: string) => string): void;
}

/** Elements of a row that a thread keeps in registers, so that it reads them once and all at a time. */
function ownElements(width: number | undefined, step: number): { count: number; exact: boolean } | undefined {
  if (width === undefined || width === 0 || width > mostOwn * step) return undefined;
  return { count: Math.ceil(width / step), exact: width % step === 0 };
}

function overRows(context: KernelContext, body: (row: Row) => void): Grid {
  const { code, root, func } = context;
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  const lead = x.type.shape.slice(0, -1);
  const last = x.type.shape.at(-1) as Dim;
  const rows = productOfDims(lead);
  const constant = constantOf(context.resolve(last));
  const byWarp = constant !== undefined && constant <= longestOfWarp;
  const indexType = context.indexType(x.type, result.type);
  const width = context.size(last);
  code.line('await_predecessor();');
  if (byWarp) {
    code.line(`const ${indexType} row = static_cast<${indexType}>(block) * kWarps + threadIdx.x / 32;`);
    code.line(`if (row >= ${context.size(rows)}) return;`);
  } else {
    code.line(`const ${indexType} row = block;`);
  }
  const [start, step] = byWarp ? ['threadIdx.x % 32', '32'] : ['threadIdx.x', 'kThreads'];
  const outer = declareIndex(context, lead.map(context.size), 'row', indexType);
  const index = [...outer, 'column'];
  const own = ownElements(constant, byWarp ? 32 : threads);
  const overOwn = (each: () => void): void => {
    code.line('#pragma unroll');
    code.block(`for (int j = 0; j < ${own?.count}; j++)`, () => {
      code.line(`const int column = j * ${step} + ${start};`);
      if (own?.exact === false) code.line(`if (column >= ${width}) continue;`);
      each();
    });
  };
  if (own !== undefined) {
    code.line(`float own[${own.count}];`);
    overOwn(() => code.line(`own[j] = ${new Expressions(context).value(x, index)};`));
  }
  const overColumns = (each: (x: string, index: string[]) => void): void => {
    if (own !== undefined) {
      overOwn(() => each('own[j]', index));
      return;
    }
    code.block(`for (int column = ${start}; column < ${width}; column += ${step})`, () =>
      each(new Expressions(context).value(x, index), index),
    );
  };
  body({
    width,
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
    write: (finish) =>
      overColumns((v, index) => {
        const finished = code.fresh('v');
        code.line(`const float ${finished} = ${finish(v, 'column')};`);
        storeResult(context, result, index, new Map([[root.results[0] as Value, finished]]));
      }),
  });
  return [{ count: rows, per: byWarp ? warps : 1 }];
}

/** `* gamma` and `+ beta` where they are given. */
function affine(
  context: KernelContext,
  normalised: string,
  column: string,
  gamma?: Value,
  beta?: Value,
): string {
  const parameter = (value: Value): string => new Expressions(context).value(value, [column]);
  const scaled = gamma === undefined ? normalised : `${normalised} * ${parameter(gamma)}`;
  return beta === undefined ? scaled : `${scaled} + ${parameter(beta)}`;
}

export const emitRmsNorm: KernelEmitter = (context) => {
  const [, gamma] = context.root.operands as [Value, Value?];
  const { eps } = context.root.attrs as { eps: number };
  return overRows(context, (row) => {
    row.reduce('squares', 'sum', (x) => `${x} * ${x}`);
    context.code.line(`const float factor = 1.0f / sqrtf(squares / ${row.width} + ${floatLiteral(eps)});`);
    row.write((x, column) => affine(context, `${x} * factor`, column, gamma));
  });
};

export const emitLayerNorm: KernelEmitter = (context) => {
  const [, gamma, beta] = context.root.operands as [Value, Value?, Value?];
  const { eps } = context.root.attrs as { eps: number };
  return overRows(context, (row) => {
    row.reduce('sum', 'sum', (x) => x);
    context.code.line(`const float mean = sum / ${row.width};`);
    row.reduce('squares', 'sum', (x) => `(${x} - mean) * (${x} - mean)`);
    context.code.line(`const float factor = 1.0f / sqrtf(squares / ${row.width} + ${floatLiteral(eps)});`);
    row.write((x, column) => affine(context, `(${x} - mean) * factor`, column, gamma, beta));
  });
};

/** e^(x - max) / sum; exponentials are computed twice, which costs less than keeping a row. */
export const emitSoftmax: KernelEmitter = (context) =>
  overRows(context, (row) => {
    row.reduce('greatest', 'max', (x) => x);
    row.reduce('total', 'sum', (x) => `expf(${x} - greatest)`);
    context.code.line('const float factor = 1.0f / total;');
    row.write((x) => `expf(${x} - greatest) * factor`);
  });

/** dynamic_quantize of rows: a warp or a block finds the range of a row and writes its integers. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { Func, OpOf, Value } from '../../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import { declareIndex, Expressions } from './expression.js';
import { type KernelContext, type KernelEmitter, threads, warps } from './kernel.js';
import { ownElements } from './row-body.js';
import { storageType } from './size.js';

/** Rows up to this length are a warp's; of few rows only shorter ones, so that there is work for all of a GPU. */
const longestOfWarp = 1280;
const longestOfFew = 512;
const fewRows = 64;

/** Whether a warp takes a row of x, rather than a block. */
export function isRowOfWarp({ resolve }: KernelContext, x: Value): boolean {
  const rows = constantOf(resolve(productOfDims(x.type.shape.slice(0, -1))));
  const width = constantOf(resolve(x.type.shape.at(-1) as Dim));
  const longest = rows !== undefined && rows <= fewRows ? longestOfFew : longestOfWarp;
  return width !== undefined && width <= longest;
}

export type Quantizer = OpOf<'dynamic_quantize'>;

export function quantizerOf({ body }: Func): Quantizer | undefined {
  return body.find((op) => op.name === 'dynamic_quantize');
}

function limits({ attrs }: Quantizer): string {
  return `<${quantizedRange[attrs.dtype as QuantizedDType].join(', ')}>`;
}

/** The range of a row with this extent. */
export function rangeText(op: Quantizer, extent: string): string {
  return `${op.attrs.symmetric ? 'symmetric' : 'whole'}_range${limits(op)}(${extent})`;
}

/** An element as it is stored. */
export function codeText(op: Quantizer, x: string, range: string): string {
  return `convert<${storageType[op.attrs.dtype]}>(quantized${limits(op)}(${x}, ${range}))`;
}

/** Where a row goes: tensors of integers, scales and, if there are any, zero points, and the number it has in them. */
interface Target {
  readonly tensors: readonly Value[];
  readonly row: string;
}

/** Quantizes the row named `row`; those who share it have come this far together. */
export function quantizeRow(context: KernelContext, op: Quantizer, target: Target): void {
  const { code } = context;
  const [x] = op.operands as [Value];
  const byWarp = isRowOfWarp(context, x);
  const [codes, scale, zero] = target.tensors.map(context.pointer) as [string, string, string?];
  const [sharers, start, step] = byWarp
    ? (['warp', 'threadIdx.x % 32', 32] as const)
    : (['block', 'threadIdx.x', threads] as const);
  const width = context.size(x.type.shape.at(-1) as Dim);
  const own = ownElements(Number.isNaN(Number(width)) ? undefined : Number(width), step);
  const type = context.indexType(x.type, (target.tensors[0] as Value).type);
  const outer = declareIndex(context, x.type.shape.slice(0, -1).map(context.size), 'row', type);
  const element = (): string => new Expressions(context).value(x, [...outer, 'column']);
  const overColumns = (each: (kept: string) => void): void => {
    if (own === undefined) {
      code.block(`for (int column = ${start}; column < ${width}; column += ${step})`, () => each(element()));
      return;
    }
    code.line('#pragma unroll');
    code.block(`for (int j = 0; j < ${own.count}; j++)`, () => {
      code.line(`const int column = j * ${step} + ${start};`);
      if (!own.exact) code.line(`if (column >= ${width}) continue;`);
      each('own[j]');
    });
  };
  code.line('Extent extent{0.0f, 0.0f};');
  if (own !== undefined) code.line(`float own[${own.count}];`);
  overColumns((kept) => {
    if (own !== undefined) code.line(`${kept} = ${element()};`);
    code.line(`extent.add(${kept});`);
  });
  code.line(`const Range range = ${rangeText(op, `${sharers}_extent(extent)`)};`);
  code.line(`const ${type} to = ${target.row};`);
  overColumns((kept) => code.line(`${codes}[to * ${width} + column] = ${codeText(op, kept, 'range')};`));
  code.block(`if (${start} == 0)`, () => {
    code.line(`${scale}[to] = range.scale;`);
    if (zero !== undefined) code.line(`${zero}[to] = convert<${storageType[op.attrs.dtype]}>(range.zero);`);
  });
}

export function declareRow(context: KernelContext, x: Value, type: 'int' | 'long long'): void {
  const isWarp = isRowOfWarp(context, x);
  const number = isWarp
    ? `static_cast<${type}>(block) * kWarps + threadIdx.x / 32`
    : `static_cast<${type}>(block)`;
  context.code.line(`const ${type} row = ${number};`);
}

export const emitDynamicQuantize: KernelEmitter = (context) => {
  const { code } = context;
  const op = context.root as Quantizer;
  const [x] = op.operands as [Value];
  const rows = productOfDims(x.type.shape.slice(0, -1));
  context.libraries.add('dynamicQuantize');
  code.line('await_predecessor();');
  declareRow(context, x, context.indexType(x.type));
  code.line(`if (row >= ${context.size(rows)}) return;`);
  quantizeRow(context, op, { tensors: op.results, row: 'row' });
  return [{ count: rows, per: isRowOfWarp(context, x) ? warps : 1 }];
};

/** The ops of rows: what is reduced over a row, and what each element becomes. */
import type { Op, OpOf, Value } from '../../../ir/module.js';
import { mostOwn } from '../row-tuning.js';
import { floatLiteral } from './elementwise.js';
import { warps } from './kernel.js';

/** Elements of a row that a thread keeps in registers, so that it reads them once and all at a time. */
export function ownElements(
  width: number | undefined,
  step: number,
): { count: number; exact: boolean } | undefined {
  if (width === undefined || width === 0 || width > mostOwn * step) return undefined;
  return { count: Math.ceil(width / step), exact: width % step === 0 };
}

/** Warps that share a row: where their threads begin, and by how much they go on. */
export function sharedBy(sharing: number): { readonly start: string; readonly step: number } {
  return { start: sharing === warps ? 'threadIdx.x' : `threadIdx.x % ${32 * sharing}`, step: 32 * sharing };
}

/** The function that reduces a float over the warps that share a row. */
export function reduction(sharing: number, by: 'sum' | 'max'): string {
  if (sharing === 1) return `warp_${by}`;
  return sharing === warps ? `block_${by}` : `group_${by}<${sharing}>`;
}

export interface Row {
  readonly width: string;
  /** Declares a float that is reduced over the row: `term` of each element of x. */
  reduce(name: string, by: 'sum' | 'max', term: (x: string) => string): void;
  define(name: string, value: string): void;
  /** The element of a parameter that belongs to the current one. */
  parameter(value: Value): string;
  /** Writes the row: `finish` turns an element of x into the root's result, the epilogue does the rest. */
  write(finish: (x: string) => string): void;
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

export function rowBody(root: Op): RowBody {
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

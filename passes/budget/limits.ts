/** Limits on what a model may cost: how they are written, and what a module costs in their units. */
import { opFlops, parameterSize, type Roofline, rooflineSeconds, visitOps } from '../../ir/cost.js';
import { fail } from '../../ir/diagnostics.js';
import { dimRange, type Func, type Module, modelDims } from '../../ir/module.js';
import { symbolsOf } from '../../ir/verify.js';

export const units = ['params', 'bytes', 'flops', 'ms'] as const;
export type Unit = (typeof units)[number];

export interface Limit {
  readonly unit: Unit;
  readonly most: number;
}

/** Which calls are counted, and on what machine. */
export interface CostModel {
  /** Entry whose FLOPs count, and entry whose time does; each at the greatest values of its symbols. */
  readonly flopsOf: Func;
  readonly timeOf: Func;
  readonly roofline: Roofline;
}

/** What a module costs in a unit, from its types. */
export function costOf(module: Module, unit: Unit, model: CostModel): number {
  const dims = modelDims(module);
  if (unit === 'params') return parameterSize(module, dims).elements;
  if (unit === 'bytes') return parameterSize(module, dims).bytes;
  const func = unit === 'flops' ? model.flopsOf : model.timeOf;
  const symbols = [...symbolsOf(module, func)].map((name) => [name, dimRange(module, name).max] as const);
  const env = new Map([...dims, ...symbols]);
  if (unit === 'ms') return 1000 * rooflineSeconds(module, func, env, model.roofline);
  let flops = 0;
  visitOps(module, func, (op, times) => {
    flops += times * opFlops(op, env);
  });
  return flops;
}

const scales: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
};

/** `8M`, `8.4e6`, `70%` or `-30%` of what the whole model has. Fails with HEW6002 for anything else. */
export function parseLimit(unit: Unit, text: string, whole: number): Limit {
  const [, sign, digits, scale] =
    /^\s*(-?)(\d+(?:\.\d+)?(?:e\d+)?)\s*(%|[kMGT]?|[KMG]i)B?\s*$/.exec(text) ?? [];
  const refuse = (): never =>
    fail('HEW6002', `budget: '${text}' is no limit of ${unit}`, { help: 'write it as 8M, 70% or -30%' });
  if (digits === undefined || scale === undefined) return refuse();
  if (scale === '%')
    return { unit, most: (whole * (sign === '-' ? 100 - Number(digits) : Number(digits))) / 100 };
  if (sign === '-') return refuse();
  return { unit, most: Number(digits) * (scales[scale] ?? 1) };
}

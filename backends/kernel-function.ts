/** What every target asks of a kernel function: the op it is named for, its run-time symbols, and resolved dimensions. */
import { type Dim, dim, dimNames, substituteDim } from '../ir/dim.js';
import type { Func, Op } from '../ir/module.js';
import { opTable } from '../ir/ops/table.js';
import { opRoles } from '../passes/kernel-class.js';

/** The op a kernel function is named for: the first of its class. */
export function rootOf(func: Func): Op {
  const root = func.body.find((op) => opRoles[op.name] === func.kernel);
  if (root === undefined) throw new Error(`kernel @${func.name} has no op of class ${func.kernel}`);
  return root;
}

/** Run-time symbols a kernel mentions in its types and attributes, sorted; `dims` are the model dimensions. */
export function kernelSymbols(func: Func, dims: ReadonlyMap<string, number>): string[] {
  const values = [...func.args, ...func.results, ...func.body.flatMap((op) => op.results)];
  const mentioned = [...values.flatMap((v) => v.type.shape), ...func.body.flatMap(attributeDims)];
  const names = new Set(mentioned.flatMap((d) => [...dimNames(d)]));
  return [...names].filter((name) => !dims.has(name)).sort();
}

function attributeDims(op: Op): readonly Dim[] {
  return Object.entries(opTable[op.name].attrs).flatMap(([name, { kind }]) => {
    const value = (op.attrs as Readonly<Record<string, unknown>>)[name];
    if (kind === 'dim') return [value as Dim];
    return kind === 'dims' ? (value as readonly Dim[]) : [];
  });
}

/** Replaces model dimensions by their values, so that only run-time symbols are left. */
export function resolver(values: ReadonlyMap<string, number>): (value: Dim) => Dim {
  const replacements = new Map([...values].map(([name, value]) => [name, dim(value)]));
  return (value) => substituteDim(value, replacements);
}

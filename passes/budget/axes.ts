/** What a model can be made smaller by: its named dimensions, with the sizes that each may have. */
import { fail, HewError } from '../../ir/diagnostics.js';
import { nameOf } from '../../ir/dim.js';
import type { DimDecl, Module } from '../../ir/module.js';
import { modelDims } from '../../ir/module.js';
import { pruneDim, sizeOfDim } from '../prune/prune-dim.js';
import { type AxisKind, axisKind } from '../prune/scores.js';
import { structureOf } from '../structure.js';

export interface Axis {
  readonly name: string;
  readonly kind: AxisKind;
  /** Sizes it may have, greatest first; the first is the one it has. Of query heads: with all KV groups there. */
  readonly sizes: readonly number[];
  /** The KV groups that query heads are spread over. */
  readonly groups?: { readonly name: string; readonly size: number } | undefined;
}

/** A size for each axis, by name. */
export type Sizes = ReadonlyMap<string, number>;

/** Sizes of which there are few, so that all are tried; the others are cut step by step. */
export const fewSizes: ReadonlySet<AxisKind> = new Set(['layers', 'groups', 'heads', 'experts']);

export interface FoundAxes {
  readonly axes: readonly Axis[];
  /** Dimensions that cannot be cut, and why. */
  readonly skipped: readonly string[];
}

/** All axes, or those of the given names; HEW6007 for a name that is none. */
export function findAxes(module: Module, wanted: readonly string[], multiple: number): FoundAxes {
  const structure = structureOf(module);
  const names = [...modelDims(module).keys()].filter((name) => axisKind(structure, name) !== undefined);
  const unknown = wanted.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    fail('HEW6007', `budget: '${unknown}' is no dimension that can be pruned`, {
      help: `dimensions: ${names.join(', ')}`,
    });
  }
  const axes: Axis[] = [];
  const skipped: string[] = [];
  for (const name of wanted.length > 0 ? wanted : names) {
    const axis = axisOf(module, name, axisKind(structure, name) as AxisKind, multiple);
    const why = axis.sizes.length < 2 ? `${name} has no smaller size` : obstacle(module, axis);
    if (why === undefined) axes.push(axis);
    else skipped.push(`${name} is left as it is: ${why}`);
  }
  return { axes, skipped };
}

function axisOf(module: Module, name: string, kind: AxisKind, multiple: number): Axis {
  const structure = structureOf(module);
  const size = sizeOfDim(module, name);
  const multiples = (step: number, least = step): number[] => {
    const sizes = Array.from({ length: Math.floor(size / step) }, (_, i) => (i + 1) * step);
    return [...new Set([size, ...sizes.filter((s) => s >= least).toReversed()])];
  };
  if (kind === 'heads') {
    const kv = structure.attentions.find(({ heads }) => heads === name)?.kv;
    if (kv === undefined || kv === name) return { name, kind, sizes: multiples(1) };
    const groups = { name: kv, size: sizeOfDim(module, kv) };
    return { name, kind, sizes: multiples(groups.size), groups };
  }
  if (kind === 'experts') {
    const groups = structure.routers.find(({ experts }) => experts === name)?.groups ?? 1;
    return { name, kind, sizes: multiples(groups, groups * chosenPerGroup(module, name)) };
  }
  return { name, kind, sizes: multiples(kind === 'layers' || kind === 'groups' ? 1 : multiple) };
}

/** Experts that a router takes of each group: no group may have fewer. */
function chosenPerGroup(module: Module, experts: string): number {
  let most = 1;
  for (const func of module.functions.values()) {
    for (const op of func.body) {
      const [logits] = op.operands;
      if (op.name !== 'moe_route' || logits === undefined) continue;
      const last = logits.type.shape.at(-1);
      if (last !== undefined && nameOf(last) === experts) most = Math.max(most, op.attrs.topk_per_group);
    }
  }
  return most;
}

/** Why a dimension cannot be cut along its axes. */
function obstacle(module: Module, { name, kind, sizes }: Axis): string | undefined {
  if (kind === 'layers') return undefined;
  try {
    pruneDim(module, { dim: name, indices: firstIndices(sizes[1] as number) });
    return undefined;
  } catch (error) {
    if (error instanceof HewError) return error.diagnostics[0]?.message ?? error.message;
    throw error;
  }
}

const firstIndices = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** The value of each dimension at given sizes: query heads go with their groups. */
export function dimensionsAt(axes: readonly Axis[], sizes: Sizes): Map<string, number> {
  return new Map(
    axes.map(({ name, groups, sizes: all }) => {
      const size = sizes.get(name) ?? (all[0] as number);
      return [
        name,
        groups === undefined ? size : (size / groups.size) * (sizes.get(groups.name) ?? groups.size),
      ];
    }),
  );
}

/** The module as if its dimensions had these values: good for its cost, not for running it. */
export function resized(module: Module, dimensions: ReadonlyMap<string, number>): Module {
  const dims = new Map<string, DimDecl>(module.dims);
  for (const [name, value] of dimensions) dims.set(name, { value });
  const loops = [...module.loops].map(([name, loop]) => {
    const count = dimensions.get(nameOf(loop.count) ?? '');
    return [name, count === undefined ? loop : { ...loop, indices: loop.indices.slice(0, count) }] as const;
  });
  return { ...module, dims, loops: new Map(loops) };
}

/**
 * Values that depend on the timestep: tables with one row for each segment of the schedule, and the timestep itself led
 * from the entry's input `t` [B] into the functions of loops.
 */
import { type FuncBuilder, moduleScope, rewriteFunc } from '../../ir/builder.js';
import { fail } from '../../ir/diagnostics.js';
import { type Dim, dim } from '../../ir/dim.js';
import { type Func, type Module, type OpOf, type Param, type Value, withFunctions } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import { type DType, tensorType } from '../../ir/type.js';
import { constantRecipe } from '../recipes.js';
import type { StepGroup } from './step-groups.js';

/** The timesteps of calibration in sampling order (descending), and how many the schedule has. */
export interface StepSchedule {
  readonly timesteps: readonly number[];
  readonly total: number;
}

/** The entry of a diffusion model and its timestep. Fails with HEW6120 when there is none. */
export function timestepInput(module: Module): { readonly entry: Func; readonly t: Value } {
  for (const entry of module.functions.values()) {
    if (entry.outputs === undefined) continue;
    const t = entry.args.find(
      ({ name, type }) => name === 't' && type.dtype === 'i32' && type.shape.length === 1,
    );
    if (t !== undefined) return { entry, t };
  }
  return fail(
    'HEW6120',
    "no entry of the model takes the timestep as 't', i32 with one value for each sample",
    {
      help: 'parameters that depend on the timestep are for diffusion models; leave groups out for other models',
    },
  );
}

/**
 * The module with the timestep as a further argument of these functions of loops, and how a function reaches it.
 * An argument that is the timestep already is used again.
 */
export function withTimestep(
  module: Module,
  functions: ReadonlySet<string>,
): { readonly module: Module; readonly timestep: ReadonlyMap<string, Value> } {
  const { entry, t } = timestepInput(module);
  const known = new Map<string, Value>([[entry.name, t]]);
  const changed = new Map(module.functions);
  const scopeOf = (func: Func) => moduleScope(withFunctions(module, changed.values()), func.loop);
  for (const name of functions) {
    if (known.has(name)) continue;
    const func = changed.get(name) as Func;
    const caller = changed.get(entry.name) as Func;
    const repeat = caller.body.find(
      (op): op is OpOf<'repeat'> => op.name === 'repeat' && op.attrs.callee === name,
    );
    if (repeat === undefined)
      return fail(
        'HEW6120',
        `the timestep of entry ${entry.name} does not reach @${name}: it is not called there`,
      );
    const outer = known.get(entry.name) as Value;
    const at = repeat.operands.indexOf(outer, repeat.attrs.carried);
    if (at >= 0) {
      known.set(name, func.args[at] as Value);
      continue;
    }
    const arg: Value = { type: outer.type, name: 't' };
    changed.set(name, { ...func, args: [...func.args, arg] });
    known.set(name, arg);
    const position = caller.args.indexOf(outer);
    const next = rewriteFunc(caller, scopeOf(caller), (op, operands, builder) =>
      op === repeat
        ? builder.emit('repeat', [...operands, builder.args[position] as Value], op.attrs)
        : undefined,
    );
    changed.set(entry.name, next);
    known.set(entry.name, next.args[position] as Value);
  }
  return { module: withFunctions(module, changed.values()), timestep: known };
}

/** Segments in which the group of none of the partitions changes, and the group of each partition there. */
export function mergeGroups(partitions: readonly (readonly StepGroup[])[]): {
  readonly segments: readonly StepGroup[];
  /** [partition][segment] */
  readonly groups: readonly (readonly number[])[];
} {
  const ends = [...new Set(partitions.flatMap((groups) => groups.map(({ end }) => end)))].sort(
    (a, b) => a - b,
  );
  const segments = ends.map((end, i) => ({ first: ends[i - 1] ?? 0, end }));
  const groups = partitions.map((partition) =>
    segments.map(({ first }) => partition.findIndex((group) => group.first <= first && first < group.end)),
  );
  return { segments, groups };
}

/**
 * The segment of every timestep of the schedule, [total]: of the calibrated step that is nearest, so that a sampler
 * with other steps finds its way (trap 13 of the reference). Segments are of descending timesteps.
 */
export function segmentOfTimestep(
  segments: readonly StepGroup[],
  { timesteps, total }: StepSchedule,
): Int32Array {
  const table = new Int32Array(total);
  let position = timesteps.length - 1;
  for (let t = 0; t < total; t++) {
    const distance = (at: number): number => Math.abs((timesteps[at] as number) - t);
    while (position > 0 && distance(position - 1) < distance(position)) position -= 1;
    table[t] = segments.findIndex(({ first, end }) => first <= position && position < end);
  }
  return table;
}

/** A table with one row for each segment, in every turn of its loop. */
export interface StepTable {
  /** [turn][segment] */
  readonly rows: readonly (readonly Float64Array[])[];
  /** [turn]: the segment of every timestep. */
  readonly segment: readonly Int32Array[];
}

/** Adds the two parameters of a table: rows [segments, ..shape] and the segment of each timestep [total]. */
export function addTable(
  params: Map<string, Param>,
  name: string,
  loop: string | undefined,
  dtype: DType,
  shape: readonly Dim[],
  { rows, segment }: StepTable,
): void {
  const count = Math.max(...rows.map((turn) => turn.length));
  const type = tensorType(dtype, [count, ...shape]);
  const indexType = tensorType(count <= 256 ? 'u8' : 'i32', [segment[0]?.length ?? 0]);
  // Turns with fewer segments repeat their last row, which no timestep selects.
  const padded = rows.map((turn) =>
    Array.from({ length: count }, (_, i) => turn[Math.min(i, turn.length - 1)] as Float64Array),
  );
  const perTurn = (parts: readonly Recipe[]): Recipe =>
    loop === undefined ? (parts[0] as Recipe) : { kind: 'per_index', parts };
  params.set(name, {
    type,
    loop,
    recipe: perTurn(
      padded.map((turn) =>
        constantRecipe(
          dtype,
          type.shape,
          turn.flatMap((row) => [...row]),
        ),
      ),
    ),
  });
  params.set(segmentName(name), {
    type: indexType,
    loop,
    recipe: perTurn(segment.map((of) => constantRecipe(indexType.dtype, indexType.shape, of))),
  });
}

const segmentName = (table: string): string => `${table}.segment`;

/** The rows of a table for the timesteps t [B], as [B, ..shape]. */
export function readTable(builder: FuncBuilder, name: string, t: Value): Value {
  const segments = builder.one('param', [], { name: segmentName(name) });
  const segment = builder.one('cast', [builder.one('gather', [segments, t])], { dtype: 'i32' });
  return builder.one('gather', [builder.one('param', [], { name }), segment]);
}

/** A value [B, n] with axes of 1, so that it broadcasts against [B, .., n]. */
export function alongTokens(builder: FuncBuilder, value: Value, like: Value): Value {
  const inner = like.type.shape.slice(1, -1).map(() => dim(1));
  if (inner.length === 0) return value;
  const [batch, last] = value.type.shape as [Dim, Dim];
  return builder.one('reshape', [value], { shape: [batch, ...inner, last] });
}

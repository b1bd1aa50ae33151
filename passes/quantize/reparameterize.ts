/**
 * Exact re-parameterization of a diffusion transformer (HTG, §2.4 of the reference): at every site the input x of its
 * linear layers becomes (x - z_g) / s, where z_g depends on the group of the timestep and s does not. The producer's
 * rows take over shift and scale, the readers' columns and biases undo them:
 *
 *   modulate   β rows: (w, b) → (w, b) / s, and β → β - z_g / s where it is read
 *              γ rows: w → w / s, b → (b + 1) / s - 1
 *   attention  V rows: (w, b) → (w, b - z_g) / s      exact because rows of softmax sum to 1
 *   reader     W[:, i] → W[:, i] s_i                  b → b + W z_g, of the weights as they are
 *
 * A layer may be both: the qkv layer reads a modulated value and makes V. Its bias then depends on both groups, and
 * its table has a row for every segment of the schedule in which neither changes.
 */
import { mapFunctions, rewriteFunc } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { type Module, modelDims, type Param, type Value } from '../../ir/module.js';
import type { Recipe } from '../../ir/recipe.js';
import type { Tensor } from '../../ir/tensor.js';
import { evalShape, tensorType } from '../../ir/type.js';
import { dce } from '../dce.js';
import { constantRecipe, opRecipe, turnsOf, widen } from '../recipes.js';
import { biasOf, type LinearOp, type RowTarget, type ShiftSite, shiftSites, weightOf } from './sites.js';
import type { StepGroup } from './step-groups.js';
import {
  addTable,
  alongTokens,
  mergeGroups,
  readTable,
  type StepSchedule,
  segmentOfTimestep,
  withTimestep,
} from './timestep.js';

/** What is done to the input of a site in one turn of its loop. */
export interface InputChange {
  /** s [channels], positive. */
  readonly scale: Float64Array;
  readonly groups: readonly StepGroup[];
  /** z_g [channels] for each group. */
  readonly shifts: readonly Float64Array[];
}

/** The weights of one parameter in one turn. */
export type WeightReader = (param: string, turn: number | undefined) => Tensor;

/** A term of the output of a linear layer that depends on the group of the timestep, in one turn. */
interface GroupedTerm {
  readonly groups: readonly StepGroup[];
  /** [out] for each group. */
  readonly terms: readonly Float64Array[];
}

/** What happens to one linear layer, in each turn of its loop. */
interface LayerChange {
  readonly loop: string | undefined;
  readonly linear: LinearOp;
  readonly turns: {
    /** Factor of each output. */
    readonly rows: Float64Array;
    /** Added to each output behind the factor. */
    readonly added: GroupedTerm[];
    input: InputChange | undefined;
  }[];
}

/** The changes of every site of `shiftSites`, in its order and for each turn; undefined leaves a site as it is. */
export type SiteChanges = readonly (readonly InputChange[] | undefined)[];

export function reparameterize(
  module: Module,
  changes: SiteChanges,
  schedule: StepSchedule,
  weight: WeightReader,
): Module {
  const { sites } = shiftSites(module);
  const grouped = sites.filter((_, i) => changes[i]?.some(({ groups }) => groups.length > 1));
  const functions = new Set(grouped.map(({ func }) => func));
  const reached = functions.size === 0 ? { module, timestep: undefined } : withTimestep(module, functions);
  const moved = shiftSites(reached.module).sites;
  const layers = layerChanges(reached.module, moved, changes);
  const params = new Map(module.params);
  for (const layer of layers.values()) changeParams(module, params, layer, schedule, weight);
  const tables = new Map(
    moved.flatMap((site, i) =>
      shiftsByStep(site, changes[i])
        ? [[site.input, shiftTable(params, site, changes[i] ?? [], schedule)]]
        : [],
    ),
  );
  const changed = mapFunctions({ ...reached.module, params }, (func, scope) => {
    const own = func.body.filter((op) => op.name === 'linear' && layers.has(op));
    if (own.length === 0) return func;
    const at = func.args.indexOf(reached.timestep?.get(func.name) as Value);
    return rewriteFunc(func, scope, (op, operands, builder) => {
      const table = op.name === 'modulate' ? tables.get(op.results[0] as Value) : undefined;
      if (table !== undefined) {
        const [x, shift, scale] = operands as [Value, Value, Value];
        const term = alongTokens(builder, readTable(builder, table, builder.args[at] as Value), shift);
        return [builder.one('modulate', [x, builder.one('add', [shift, term]), scale], op.attrs)];
      }
      if (op.name !== 'linear' || !layers.has(op)) return undefined;
      const [x] = operands as [Value];
      const w = builder.one('param', [], { name: weightOf(op) as string });
      if (!dependsOnStep(layers.get(op)))
        return [builder.one('linear', [x, w, builder.one('param', [], { name: biasName(op) })])];
      const product = builder.one('linear', [x, w]);
      const term = readTable(builder, tableName(op), builder.args[at] as Value);
      return [builder.one('add', [product, alongTokens(builder, term, product)])];
    });
  });
  return dce.run(changed, {}).module;
}

/**
 * Whether the shift of a modulated value differs by group. It is added to β then: a table of its channels is much
 * smaller than one of all the vectors that one layer makes of the condition.
 */
const shiftsByStep = ({ kind }: ShiftSite, turns: readonly InputChange[] | undefined): boolean =>
  kind === 'modulate' && (turns?.some(({ groups }) => groups.length > 1) ?? false);

/** Adds the table of -z_g / s, and returns its name. */
function shiftTable(
  params: Map<string, Param>,
  { readers, loop, input }: ShiftSite,
  turns: readonly InputChange[],
  schedule: StepSchedule,
): string {
  const name = `${weightOf(readers[0] as LinearOp)}.shift.steps`;
  addTable(params, name, loop, 'f32', input.type.shape.slice(-1), {
    rows: turns.map(({ shifts, scale }) => shifts.map((z) => z.map((v, i) => -v / (scale[i] as number)))),
    segment: turns.map(({ groups }) => segmentOfTimestep(groups, schedule)),
  });
  return name;
}

const dependsOnStep = (layer: LayerChange | undefined): boolean =>
  layer?.turns.some(({ input, added }) =>
    [input, ...added].some((part) => part !== undefined && part.groups.length > 1),
  ) ?? false;

const biasName = (linear: LinearOp): string => biasOf(linear) ?? `${weightOf(linear)}.bias`;
const tableName = (linear: LinearOp): string => `${biasName(linear)}.steps`;

function layerChanges(
  module: Module,
  sites: readonly ShiftSite[],
  changes: SiteChanges,
): ReadonlyMap<LinearOp, LayerChange> {
  const layers = new Map<LinearOp, LayerChange>();
  const dims = modelDims(module);
  const layerOf = (linear: LinearOp, loop: string | undefined): LayerChange => {
    const [out = 0] = evalShape((linear.operands[1] as Value).type.shape, dims);
    const count = turnsOf(module, loop)?.length ?? 1;
    const layer = layers.get(linear) ?? {
      loop,
      linear,
      turns: Array.from({ length: count }, () => ({
        rows: new Float64Array(out).fill(1),
        added: [],
        input: undefined,
      })),
    };
    layers.set(linear, layer);
    return layer;
  };
  sites.forEach((site, i) => {
    changes[i]?.forEach((change, turn) => {
      for (const reader of site.readers) {
        const state = layerOf(reader, site.loop).turns[turn];
        if (state !== undefined) state.input = change;
      }
      const { scale, groups, shifts } = change;
      const shifted = layerOf(site.shift.linear, site.loop);
      divideRows(shifted, turn, site.shift, scale);
      if (!shiftsByStep(site, changes[i]))
        addTerms(
          shifted,
          turn,
          site.shift,
          groups,
          shifts.map((z) => z.map((v, at) => -v / (scale[at] as number))),
        );
      if (site.scale === undefined) return;
      const scaled = layerOf(site.scale.linear, site.loop);
      divideRows(scaled, turn, site.scale, scale);
      // 1 + γ is scaled, so γ itself becomes (1 + γ) / s - 1, at all steps alike.
      const all = [{ first: 0, end: groups.at(-1)?.end ?? 0 }];
      addTerms(scaled, turn, site.scale, all, [scale.map((s) => 1 / s - 1)]);
    });
  });
  return layers;
}

function divideRows({ turns }: LayerChange, turn: number, { rows }: RowTarget, scale: Float64Array): void {
  rows.forEach((row, i) => {
    (turns[turn] as LayerChange['turns'][number]).rows[row] = 1 / (scale[i] as number);
  });
}

/** `terms` are added to the rows of a target, for each group. */
function addTerms(
  { turns }: LayerChange,
  turn: number,
  { rows }: RowTarget,
  groups: readonly StepGroup[],
  terms: readonly Float64Array[],
): void {
  const state = turns[turn] as LayerChange['turns'][number];
  const wide = terms.map((term) => {
    const values = new Float64Array(state.rows.length);
    rows.forEach((row, i) => {
      values[row] = term[i] as number;
    });
    return values;
  });
  state.added.push({ groups, terms: wide });
}

/** New weight, and the table of biases in place of the bias. */
function changeParams(
  module: Module,
  params: Map<string, Param>,
  layer: LayerChange,
  schedule: StepSchedule,
  weight: WeightReader,
): void {
  const { linear, loop, turns } = layer;
  const [name, bias] = [weightOf(linear) as string, biasOf(linear)];
  const param = module.params.get(name) as Param;
  const [out, inner] = param.type.shape as [Param['type']['shape'][0], Param['type']['shape'][0]];
  const perTurn = (parts: readonly Recipe[]): Recipe =>
    loop === undefined ? (parts[0] as Recipe) : { kind: 'per_index', parts };
  const factors = perTurn(turns.map(({ rows }) => constantRecipe('f32', [out, dim(1)], rows)));
  const columns = turns.map(({ input }) => input?.scale);
  let recipe = opRecipe('mul', [widen(param.recipe), factors]);
  if (columns.some((column) => column !== undefined)) {
    const scales = columns.map((column) =>
      column === undefined
        ? opRecipe('full', [], { value: 1, dtype: 'f32', shape: [dim(1), inner] })
        : constantRecipe('f32', [dim(1), inner], column),
    );
    recipe = opRecipe('mul', [recipe, perTurn(scales)]);
  }
  params.set(name, { ...param, type: tensorType('f32', param.type.shape), recipe });
  const tables = turns.map((state, turn) => {
    const at = loop === undefined ? undefined : turn;
    const own = bias === undefined ? undefined : weight(bias, at).data;
    return biasRows(state, own, () => weight(name, at).data, schedule);
  });
  if (!dependsOnStep(layer)) {
    const rows = tables.map((table) => constantRecipe('f32', [out], table.rows[0] as Float64Array));
    params.set(biasName(linear), { type: tensorType('f32', [out]), loop, recipe: perTurn(rows) });
    return;
  }
  addTable(params, tableName(linear), loop, 'f32', [out], {
    rows: tables.map(({ rows }) => rows),
    segment: tables.map(({ segment }) => segment),
  });
}

/** Row by row of the schedule's segments: rows ⊙ (b + W z) + Σ added. */
function biasRows(
  { rows, added, input }: LayerChange['turns'][number],
  bias: Float64Array | undefined,
  weight: () => Float64Array,
  schedule: StepSchedule,
): { rows: Float64Array[]; segment: Int32Array } {
  const all = [{ first: 0, end: schedule.timesteps.length }];
  const partitions = [input?.groups ?? all, ...added.map(({ groups }) => groups)];
  const { segments, groups } = mergeGroups(partitions);
  const w = input === undefined ? undefined : weight();
  const compensation = input?.shifts.map((shift) => product(w as Float64Array, shift, rows.length));
  const groupOf = (partition: number, segment: number): number => groups[partition]?.[segment] ?? 0;
  const values = segments.map((_, segment) => {
    const own = compensation?.[groupOf(0, segment)];
    return rows.map((factor, row) => {
      let sum = factor * ((bias?.[row] ?? 0) + (own?.[row] ?? 0));
      added.forEach(({ terms }, i) => {
        sum += terms[groupOf(i + 1, segment)]?.[row] ?? 0;
      });
      return sum;
    });
  });
  return { rows: values, segment: segmentOfTimestep(segments, schedule) };
}

/** W z, W [out, in]. */
function product(w: Float64Array, z: Float64Array, out: number): Float64Array {
  const result = new Float64Array(out);
  for (let row = 0; row < out; row++) {
    let sum = 0;
    for (let i = 0; i < z.length; i++) sum += (w[row * z.length + i] as number) * (z[i] as number);
    result[row] = sum;
  }
  return result;
}

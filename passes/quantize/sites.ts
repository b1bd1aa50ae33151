/**
 * The linear layers of a model and what stands before them. Where a producer can take over a shift and a scale of each
 * channel exactly, the site is re-parameterizable:
 *
 *   modulate(x, β, γ)  → linear     β and γ are output channels of a linear layer (adaLN)
 *   attention(q, k, v) → linear     v is output channels of a linear layer; rows of softmax sum to 1
 *
 * (HTG, §2.4 of the reference.) Everything is found by the shape of the graph. What is not understood is left alone,
 * with the reason.
 */
import { evalDim } from '../../ir/dim.js';
import { defOf, type Func, type Module, modelDims, type Op, type OpOf, type Value } from '../../ir/module.js';
import { readersOf } from '../absorb/writers.js';
import { Uses } from '../structure.js';
import { channelsOfRow, landingsOf, movedFrom, touches } from './channels.js';

export type LinearOp = OpOf<'linear'>;

/** Output channels of a linear layer: `rows[i]` is where channel i of the site comes from. */
export interface RowTarget {
  readonly linear: LinearOp;
  readonly rows: Int32Array;
}

export interface ShiftSite {
  readonly kind: 'modulate' | 'attention';
  readonly func: string;
  readonly loop: string | undefined;
  /** The value that is shifted and scaled, [B, .., channels]. */
  readonly input: Value;
  readonly channels: number;
  /** All that read it. */
  readonly readers: readonly LinearOp[];
  /** Rows that take 1/s as a factor and -z/s as a term. */
  readonly shift: RowTarget;
  /** Rows of γ, which enter as 1 + γ. */
  readonly scale: RowTarget | undefined;
}

/** Channels that must have one shift and one scale, because one row of V serves several heads. */
export function tiedChannels({ shift, channels }: ShiftSite): readonly (readonly number[])[] {
  const byRow = Map.groupBy(
    Array.from({ length: channels }, (_, i) => i),
    (i) => shift.rows[i] as number,
  );
  return [...byRow.values()].filter((tied) => tied.length > 1);
}

export interface FoundSites {
  readonly sites: readonly ShiftSite[];
  readonly skipped: readonly string[];
}

/** Name of a linear layer's weight. */
export function weightOf(linear: LinearOp): string | undefined {
  return paramName(linear.operands[1]);
}

export function biasOf(linear: LinearOp): string | undefined {
  return paramName(linear.operands[2]);
}

function paramName(value: Value | undefined): string | undefined {
  const op = value === undefined ? undefined : defOf(value);
  return op?.name === 'param' ? op.attrs.name : undefined;
}

/** Every linear layer whose weight is a parameter, in functions with their loops. */
export function linearsOf(module: Module): { readonly func: Func; readonly linear: LinearOp }[] {
  return [...module.functions.values()].flatMap((func) =>
    func.body.flatMap((op) =>
      op.name === 'linear' && weightOf(op) !== undefined ? [{ func, linear: op }] : [],
    ),
  );
}

export function shiftSites(module: Module): FoundSites {
  const sites: ShiftSite[] = [];
  const skipped: string[] = [];
  for (const func of module.functions.values()) {
    const finder = new SiteFinder(module, func);
    for (const op of func.body) {
      const found =
        op.name === 'modulate'
          ? finder.modulate(op)
          : op.name === 'attention'
            ? finder.attention(op)
            : undefined;
      if (typeof found === 'string') skipped.push(`${op.name} of @${func.name}: ${found}`);
      else if (found !== undefined) sites.push(found);
    }
  }
  return { sites, skipped };
}

class SiteFinder {
  private readonly uses: Uses;

  constructor(
    private readonly module: Module,
    private readonly func: Func,
  ) {
    this.uses = new Uses(func);
  }

  modulate(op: OpOf<'modulate'>): ShiftSite | string {
    const [input] = op.results as [Value];
    const channels = this.sizeOf(input, -1);
    const readers = this.readersOf(input);
    if (typeof readers === 'string') return readers;
    const shift = this.target(op, 1, channels);
    if (typeof shift === 'string') return `its shift ${shift}`;
    const scale = this.target(op, 2, channels);
    if (typeof scale === 'string') return `its scale ${scale}`;
    return { ...this.place(), kind: 'modulate', input, channels, readers, shift, scale };
  }

  attention(op: OpOf<'attention'>): ShiftSite | string {
    const [heads] = op.results as [Value];
    const flat = this.uses.sole(heads);
    if (flat?.name !== 'reshape') return 'its result is not read by a reshape alone';
    const [input] = flat.results as [Value];
    const channels = this.sizeOf(heads, -1) * this.sizeOf(heads, -2);
    if (this.sizeOf(input, -1) !== channels) return 'its heads are not joined into one axis';
    const readers = this.readersOf(input);
    if (typeof readers === 'string') return readers;
    const [, , v] = op.operands as [Value, Value, Value];
    const kv = this.sizeOf(v, -2);
    const hd = this.sizeOf(v, -1);
    const made = this.target(op, 2, kv * hd);
    if (typeof made === 'string') return `v ${made}`;
    const repeats = channels / hd / kv;
    const rows = Int32Array.from({ length: channels }, (_, i) => {
      const head = Math.floor(i / hd);
      return made.rows[Math.floor(head / repeats) * hd + (i % hd)] as number;
    });
    const shift = { linear: made.linear, rows };
    return { ...this.place(), kind: 'attention', input, channels, readers, shift, scale: undefined };
  }

  private place(): Pick<ShiftSite, 'func' | 'loop'> {
    return { func: this.func.name, loop: this.func.loop };
  }

  private sizeOf(value: Value, axis: number): number {
    const size = value.type.shape.at(axis);
    return size === undefined ? 1 : evalDim(size, modelDims(this.module));
  }

  /** The linear layers that read a value, if nothing else does. */
  private readersOf(value: Value): LinearOp[] | string {
    if (this.func.results.includes(value)) return 'its result is returned';
    const readers: LinearOp[] = [];
    for (const op of this.uses.of(value)) {
      if (op.name !== 'linear' || op.operands[0] !== value || op.operands.lastIndexOf(value) !== 0)
        return `its result is read by ${op.name}`;
      const problem = this.problemOf(op);
      if (problem !== undefined) return `its result is read by a linear layer ${problem}`;
      readers.push(op);
    }
    return readers.length === 0 ? 'nothing reads its result' : readers;
  }

  /** Why the weights of a linear layer cannot be changed. */
  private problemOf(linear: LinearOp): string | undefined {
    const weight = weightOf(linear);
    if (weight === undefined) return 'whose weight is computed';
    const bias = biasOf(linear);
    if (linear.operands[2] !== undefined && bias === undefined) return 'whose bias is computed';
    const shared = [weight, bias].find((name) => name !== undefined && readersOf(this.module, name) > 1);
    return shared === undefined ? undefined : `whose ${shared} has another reader`;
  }

  /** The rows behind operand `operand` of an op, when no other op reads them. */
  private target(op: Op, operand: number, count: number): RowTarget | string {
    const linear = movedFrom(op.operands[operand] as Value);
    if (linear === undefined) return 'is not made by a linear layer';
    const problem = this.problemOf(linear);
    if (problem !== undefined) return `is made by a linear layer ${problem}`;
    const landings = landingsOf(this.module, this.func, linear);
    const own = landings.find((landing) => landing.op === op && landing.operand === operand);
    const rows = own && channelsOfRow(own, count);
    if (rows === undefined) return 'mixes channels of different tokens';
    const taken = new Set(rows);
    const other = landings.find((landing) => landing !== own && touches(landing, taken));
    if (other !== undefined) return `is also read by ${other.op?.name ?? 'the caller'}`;
    return { linear, rows };
  }
}

/**
 * Pointwise expressions over one tile of the last axis: which elements of which arguments a value needs (its leaves),
 * and the program of the vector unit that combines them.
 *
 * A coordinate is `at` for the first element of the tile and grows by `step` with each element. Movement ops change
 * coordinates; what arrives at an argument is a leaf: contiguous (step 1), uniform (the same for the whole tile), or
 * scattered. A leaf may have alternatives, of which a condition on coordinates chooses one.
 */
import { constantOf, type Dim } from '../../../ir/dim.js';
import { defOf, type Op, type OpOf, type Value } from '../../../ir/module.js';
import { castTo } from '../../../ir/numeric.js';
import type { QuantizedDType } from '../../../ir/ops/quantization.js';
import { type FormulaOp, floatLiteral, formulas, type Operand, scalar, vector } from './elementwise.js';
import type { KernelContext } from './kernel.js';
import { dequantized, quantized } from './rescale.js';
import { factor, product, sum } from './size.js';
import { type Register, VectorProgram } from './vector-program.js';

export interface Coordinate {
  readonly at: string;
  readonly step: number;
  /** So many elements in a row have the same coordinate: what `at` and `step` say is divided by it. */
  readonly per?: number;
}
export type Index = readonly Coordinate[];

export const origin: Coordinate = { at: '0', step: 0 };

/** Where one alternative of a leaf is read. */
export interface Source {
  /** True when this alternative holds; undefined for the last one. */
  readonly condition?: string;
  /** A constant, of a pad. */
  readonly fill?: number;
  readonly argument?: Value;
  /** Statements that the offset needs first, such as the row that a gather reads. */
  readonly before?: readonly string[];
  /** Element offset of the tile's first element, and what each further element adds. */
  readonly offset?: string;
  readonly step?: string;
  /** Holds for single elements only, because what is read changes within the tile. */
  readonly perLane?: boolean;
}

export interface Leaf {
  readonly kind: 'contiguous' | 'uniform' | 'scattered';
  readonly dtype: Value['type']['dtype'];
  readonly sources: readonly Source[];
  readonly name: string;
}

/** Values that are computed already: the result of the kernel's root. */
export type Known = ReadonlyMap<Value, Operand>;

export class Expressions {
  readonly program: VectorProgram;
  readonly leaves: Leaf[] = [];
  private readonly memo = new Map<Value, Map<string, Operand>>();
  private readonly leafKeys = new Map<string, Leaf>();

  private readonly known: Map<Value, Operand>;

  constructor(
    private readonly context: KernelContext,
    known: Known = new Map(),
    /** Begins the names of leaves, where a kernel has several expressions. */
    private readonly stem = '',
  ) {
    this.known = new Map(known);
    this.program = new VectorProgram(context.chip.layout);
  }

  /** From now on the value is this operand. */
  define(value: Value, operand: Operand): void {
    this.known.set(value, operand);
  }

  value(value: Value, index: Index): Operand {
    const known = this.known.get(value);
    if (known !== undefined) return known;
    const key = index.map(({ at, step }) => `${at}~${step}`).join(',');
    const found = this.memo.get(value)?.get(key);
    if (found !== undefined) return found;
    const computed = this.compute(value, index);
    this.memo.set(value, (this.memo.get(value) ?? new Map<string, Operand>()).set(key, computed));
    return computed;
  }

  /** A tensor of a leaf that no value stands for. */
  leaf(leaf: Leaf): Operand {
    this.leaves.push(leaf);
    return vector(this.widened(leaf));
  }

  private compute(value: Value, index: Index): Operand {
    const op = defOf(value);
    const sources = this.leafSources(value, index);
    if (sources !== undefined) return this.load(value, sources);
    switch (op?.name) {
      case 'iota':
        return this.iota(index[0] as Coordinate);
      case 'full':
        return scalar(floatLiteral(castTo[op.attrs.dtype](op.attrs.value)));
      case 'dim_size':
        return scalar(`static_cast<float>(${this.context.size(op.attrs.dim)})`);
      case 'broadcast_to':
        return this.value(op.operands[0] as Value, this.broadcast(op.operands[0] as Value, value, index));
      case 'quantize':
      case 'dequantize':
        return this.rescaled(op, index);
    }
    const { name, operands } = op as Op;
    const formula = formulas[name as FormulaOp];
    if (formula === undefined) throw new Error(`${name} of a computed value has no vector form`);
    const at = operands.map((operand) => this.value(operand, this.broadcast(operand, value, index)));
    return formula(this.program, at, op as Op);
  }

  private rescaled(op: OpOf<'quantize'> | OpOf<'dequantize'>, index: Index): Operand {
    const [x, scale, zeroPoint] = op.operands as [Value, Value, Value?];
    const from = this.value(x, index);
    const own = (value: Value): Operand => this.value(value, scaleIndex(value, index, op.attrs));
    const zero = zeroPoint && own(zeroPoint);
    return op.name === 'dequantize'
      ? dequantized(this.program, from, own(scale), zero)
      : quantized(this.program, from, own(scale), zero, op.attrs.dtype as QuantizedDType);
  }

  /** The operand's index when the result is asked at `index`. */
  broadcast(operand: Value, result: Value, index: Index): Index {
    const lead = result.type.shape.length - operand.type.shape.length;
    return operand.type.shape.map((d, axis) =>
      constantOf(d) === 1 ? origin : (index[axis + lead] as Coordinate),
    );
  }

  /** The sources of a tile; those of a single element, at `lane`, where a tile's are not contiguous. */
  private leafSources(value: Value, index: Index): readonly Source[] | undefined {
    const sources = this.sources(value, index);
    const isWhole = (step: string): boolean =>
      sources?.every((source) => source.perLane !== true && (source.step ?? step) === step) === true;
    if (sources === undefined || isWhole('0') || isWhole('1')) return sources;
    const element = index.map(({ at, step, per }) => {
      const own = step === 0 ? at : `(${sum([at, product(['lane', String(step)])])})`;
      return { at: per === undefined ? own : `(${factor(own)} / ${per})`, step: 0 };
    });
    return this.sources(value, element)?.map((source) => ({ ...source, perLane: true }));
  }

  /** Where a value that is an argument, or moved from arguments, is read; undefined for one that is computed. */
  private sources(value: Value, index: Index): readonly Source[] | undefined {
    if (this.known.has(value)) return undefined;
    const op = defOf(value);
    if (op === undefined) return [this.argument(value, index)];
    switch (op.name) {
      case 'slice':
        return this.sources(op.operands[0] as Value, this.sliced(op, index));
      case 'transpose': {
        const moved: Coordinate[] = [];
        op.attrs.perm.forEach((from, to) => {
          moved[from] = index[to] as Coordinate;
        });
        return this.sources(op.operands[0] as Value, moved);
      }
      case 'broadcast_to':
        return this.sources(op.operands[0] as Value, this.broadcast(op.operands[0] as Value, value, index));
      case 'gather':
        return this.gathered(op, index);
      case 'concat':
        return this.concatenated(op, index);
      case 'pad':
        return this.padded(op, index);
      default:
        return undefined;
    }
  }

  private argument(value: Value, index: Index): Source {
    if (index.some(({ step, per }) => step !== 0 && per !== undefined))
      return { argument: value, offset: '0', step: '0', perLane: true };
    const sizes = value.type.shape.map(this.context.size);
    const stride = (axis: number): string => product(sizes.slice(axis + 1).map(factor));
    const offset = sum(index.map(({ at }, axis) => (at === '0' ? '0' : product([factor(at), stride(axis)]))));
    const step = sum(
      index.map(({ step: by }, axis) => (by === 0 ? '0' : product([String(by), stride(axis)]))),
    );
    return { argument: value, offset, step };
  }

  private sliced(op: OpOf<'slice'>, index: Index): Index {
    const source = op.operands[0] as Value;
    const axis = (op.attrs.axis + source.type.shape.length) % source.type.shape.length;
    const { at, step } = index[axis] as Coordinate;
    const start = this.context.size(op.attrs.start);
    const stepped = at === '0' ? '0' : product([factor(at), String(op.attrs.step)]);
    return index.with(axis, { at: sum([stepped, start]), step: step * op.attrs.step });
  }

  /** An index outside of the table reads its nearest row. */
  private gathered(op: OpOf<'gather'>, index: Index): readonly Source[] | undefined {
    const [table, indices] = op.operands as [Value, Value];
    const axis = (op.attrs.axis + table.type.shape.length) % table.type.shape.length;
    const inner = indices.type.shape.length;
    const own = index.slice(axis, axis + inner);
    const [source, ...others] = this.sources(indices, own) ?? [];
    if (source?.argument === undefined || others.length > 0) return undefined;
    const bound = this.context.size(table.type.shape[axis] as Dim);
    const chosen = `${this.context.pointer(source.argument)}Gm_.GetValue(${source.offset})`;
    const name = this.context.fresh('row');
    const before = [...(source.before ?? []), `const uint32_t ${name} = Clamp(${chosen}, ${bound});`];
    const outer = [...index.slice(0, axis), { at: name, step: 0 }, ...index.slice(axis + inner)];
    return this.sources(table, outer)?.map((one) => ({
      ...one,
      before: [...before, ...(one.before ?? [])],
      perLane: source.step !== '0' || one.perLane === true,
    }));
  }

  private concatenated(op: OpOf<'concat'>, index: Index): readonly Source[] | undefined {
    const rank = (op.results[0] as Value).type.shape.length;
    const axis = (op.attrs.axis + rank) % rank;
    const { at, step } = index[axis] as Coordinate;
    let start = '0';
    const parts = op.operands.map((part, i) => {
      const moved = index.with(axis, { at: start === '0' ? at : `${at} - ${factor(start)}`, step });
      start = sum([start, this.context.size(part.type.shape[axis] as Dim)]);
      const own = this.sources(part, moved);
      const isLast = i === op.operands.length - 1;
      return own?.map((source) => joined(source, isLast ? undefined : `${at} < ${start}`, step !== 0));
    });
    return parts.includes(undefined) ? undefined : (parts.flat() as Source[]);
  }

  private padded(op: OpOf<'pad'>, index: Index): readonly Source[] | undefined {
    const source = op.operands[0] as Value;
    const inside = source.type.shape.flatMap((d, axis) => {
      const before = op.attrs.before[axis] as number;
      if (before === 0 && op.attrs.after[axis] === 0) return [];
      const { at } = index[axis] as Coordinate;
      const end = sum([String(before), this.context.size(d)]);
      return [...(before > 0 ? [`${at} >= ${before}`] : []), `${at} < ${end}`];
    });
    const moved = index.map(({ at, step }, axis) => {
      const before = op.attrs.before[axis] as number;
      return { at: before === 0 ? at : `${at} - ${before}`, step };
    });
    const own = this.sources(source, moved);
    if (own === undefined || inside.length === 0) return own;
    const perLane = index.some(
      ({ step }, axis) => step !== 0 && (op.attrs.before[axis] !== 0 || op.attrs.after[axis] !== 0),
    );
    return [...own.map((one) => joined(one, inside.join(' && '), perLane)), { fill: op.attrs.value }];
  }

  private iota({ at, step }: Coordinate): Operand {
    const first = `static_cast<float>(${at})`;
    if (step === 0) return scalar(first);
    const ramp = this.program.emit([], 'float', false, (result) => `CreateVecIndex(${result}, 0.0f, count);`);
    const scaled = step === 1 ? ramp : this.program.call('Muls', [ramp], [floatLiteral(step)]);
    return vector(this.program.call('Adds', [scaled], [first]));
  }

  private load(value: Value, sources: readonly Source[]): Operand {
    const scattered = sources.some(({ perLane }) => perLane);
    const uniform = sources.every(({ step }) => step === undefined || step === '0');
    const kind = scattered ? 'scattered' : uniform ? 'uniform' : 'contiguous';
    const key = JSON.stringify(
      sources.map((s) => ({ ...s, argument: s.argument && this.context.pointer(s.argument) })),
    );
    const known = this.leafKeys.get(key);
    const dtype = (sources[0]?.argument ?? value).type.dtype;
    const own = `${kind === 'uniform' ? 'scalar' : 'tile'}${this.leaves.length}`;
    const name = this.stem === '' ? own : `${this.stem}${own.charAt(0).toUpperCase()}${own.slice(1)}`;
    const leaf = known ?? { kind, sources, dtype, name };
    if (known === undefined) {
      this.leafKeys.set(key, leaf);
      this.leaves.push(leaf);
    }
    return leaf.kind === 'uniform' ? scalar(leaf.name) : vector(this.widened(leaf));
  }

  /** The leaf's tensor as floats. */
  private widened({ name, dtype }: Leaf): Register {
    const tensor: Register = { kind: 'float', place: name };
    const cast = (from: Register, text: (result: string, source: string) => string): Register =>
      this.program.emit([from], 'float', false, (result, [source]) => text(result, source as string));
    switch (dtype) {
      case 'f32':
        return tensor;
      case 'f16':
      case 'bf16':
      case 'i32':
        return cast(tensor, (result, source) => `Cast(${result}, ${source}, RoundMode::CAST_NONE, count);`);
      case 'i64':
        return cast(tensor, (result, source) => `Cast(${result}, ${source}, RoundMode::CAST_RINT, count);`);
      default: {
        // Bytes reach float through half.
        const half = (name: string): string => `${name}.ReinterpretCast<half>()`;
        const halfs = cast(
          tensor,
          (result, source) => `Cast(${half(result)}, ${source}, RoundMode::CAST_NONE, count);`,
        );
        return cast(
          halfs,
          (result, source) => `Cast(${result}, ${half(source)}, RoundMode::CAST_NONE, count);`,
        );
      }
    }
  }
}

function joined(source: Source, condition: string | undefined, perLane: boolean): Source {
  const lanes = { perLane: perLane || source.perLane === true };
  if (condition === undefined) return { ...source, ...lanes };
  return {
    ...source,
    ...lanes,
    condition: source.condition === undefined ? condition : `${condition} && ${source.condition}`,
  };
}

/** Where the scale, or the zero point, of an element at `index` is: scales share by shape, axis and group. */
function scaleIndex(scale: Value, index: Index, { axis, group }: { axis: number; group: number }): Index {
  const { shape } = scale.type;
  const along = (axis + index.length) % index.length;
  const isSingle = (at: number): boolean => constantOf(shape[at] as Dim) === 1;
  if (shape.length === 0) return [];
  if (shape.length === 1 && group === 0) return [isSingle(0) ? origin : (index[along] as Coordinate)];
  return shape.map((_, at) => {
    if (isSingle(at)) return origin;
    const own = index[at] as Coordinate;
    if (at !== along || group === 0) return own;
    return own.step === 0 ? { at: `(${factor(own.at)} / ${group})`, step: 0 } : { ...own, per: group };
  });
}

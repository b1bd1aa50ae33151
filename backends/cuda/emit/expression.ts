/**
 * Pointwise expressions: the value of an IR value at an index, as C++ statements and the name of the result. Elementwise
 * ops combine the values of their operands at the (broadcast) index, movement ops change the index, arguments load.
 * Values that are asked for twice at one index are computed once.
 */
import { constantOf, type Dim, divDims } from '../../../ir/dim.js';
import { defOf, type Func, type OpOf, type Value } from '../../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import type { OpName } from '../../../ir/ops/table.js';
import { dtypes } from '../../../ir/type.js';
import type { Code } from './code.js';
import { type FormulaOp, formulas, literal, roundedTo } from './elementwise.js';
import type { KernelContext } from './kernel.js';
import { product, registerType, storageType } from './size.js';

/** Ops whose parts run under a condition, so that nothing of them may be computed elsewhere. */
const conditional: ReadonlySet<OpName> = new Set(['concat', 'pad']);

/** Whether parts of the kernel's expressions may be computed where others are. */
export function isUnconditional({ body }: Func): boolean {
  return !body.some(({ name }) => conditional.has(name));
}

/** C++ expressions, one per axis; cheap to repeat: names and literals, or sums of them. */
export type Index = readonly string[];

/** Values that are in registers already, such as the result of the kernel's root, whatever the index. */
export type Known = ReadonlyMap<Value, string>;

type Memo = Map<Value, Map<string, string>>;

/**
 * Four elements of a row at a time: where their expressions are written by what they depend on. `place` is the column of
 * one of the four, `first` that of the first of them.
 */
export interface Levels {
  /** What the columns of a row have in common. */
  readonly row: Code;
  /** Reads of four elements at once. */
  readonly reads: Code;
  readonly place: string;
  readonly first: string;
  /** The number of one of the four. */
  readonly lane: string;
}

export class Expressions {
  private memos: Memo[] = [new Map()];
  /** Names in indices that differ between the columns of a row. */
  private readonly varying: Set<string>;

  constructor(
    private readonly context: KernelContext,
    private readonly known: Known = new Map(),
    private readonly levels?: Levels,
  ) {
    this.varying = new Set(levels === undefined ? [] : [levels.place]);
  }

  /** One element in the register type of its dtype. */
  value(value: Value, index: Index): string {
    const known = this.known.get(value);
    if (known !== undefined) return known;
    const key = index.join(',');
    const found = this.memos.map((memo) => memo.get(value)?.get(key)).find((name) => name !== undefined);
    if (found !== undefined) return found;
    const computed = this.compute(value, index);
    const memo = this.memos[0] as Memo;
    memo.set(value, (memo.get(value) ?? new Map<string, string>()).set(key, computed));
    return computed;
  }

  private compute(value: Value, index: Index): string {
    const op = defOf(value);
    if (op === undefined) return this.read(value, index);
    const movement = movements[op.name];
    if (movement !== undefined) return movement.call(this, op as never, index);
    const operands = op.operands.map((operand) => this.value(operand, this.broadcast(operand, value, index)));
    return this.bind(value, index, roundedTo(value.type.dtype, formulas[op.name as FormulaOp](operands, op)));
  }

  private read(value: Value, index: Index): string {
    if (dtypes[value.type.dtype].bits < 8)
      return this.bind(value, index, `nibble(${this.context.pointer(value)}, ${this.offset(value, index)})`);
    return this.readFour(value, index) ?? this.bind(value, index, `load(${this.element(value, index)})`);
  }

  /** The name of one of four elements that are read at once, where they lie side by side. */
  private readFour(value: Value, index: Index): string | undefined {
    if (this.levels === undefined) return undefined;
    const { place, first, reads, lane } = this.levels;
    const last = index.at(-1);
    const [, name, added] = last?.match(/^\(?(\w+)(?: \+ (\d+)\))?$/) ?? [];
    if (last === undefined || name !== place || index.slice(0, -1).some((at) => this.varies(at)))
      return undefined;
    const size = Number(this.context.size(value.type.shape.at(-1) as Dim));
    if (Number(added ?? 0) % 4 !== 0 || size % 4 !== 0) return undefined;
    const moved = index.with(-1, last.replace(place, first));
    const read = this.context.code.fresh('read');
    reads.line(`${registerType[value.type.dtype]} ${read}[4];`);
    reads.line(`take_four(&${this.element(value, moved)}, ${read});`);
    return `${read}[${lane}]`;
  }

  private varies(at: string): boolean {
    return (at.match(/\w+/g) ?? []).some((name) => this.varying.has(name));
  }

  /** Where what has this index is computed. */
  private codeOf(index: Index): Code {
    const { levels, context } = this;
    return levels === undefined || index.some((at) => this.varies(at)) ? context.code : levels.row;
  }

  private bind(value: Value, index: Index, expression: string): string {
    const name = this.context.code.fresh('v');
    this.codeOf(index).line(`const ${registerType[value.type.dtype]} ${name} = ${expression};`);
    return name;
  }

  /** What `body` computes may not run, so nothing after it may rely on it. */
  private conditionally(body: () => void): void {
    this.memos = [new Map(), ...this.memos];
    body();
    this.memos = this.memos.slice(1);
  }

  /** The operand's index when the result is asked at `index`. */
  broadcast(operand: Value, result: Value, index: Index): Index {
    const lead = result.type.shape.length - operand.type.shape.length;
    return operand.type.shape.map((d, axis) => (constantOf(d) === 1 ? '0' : (index[axis + lead] as string)));
  }

  /** `in0[i * 4 + j]` */
  element(value: Value, index: Index): string {
    return `${this.context.pointer(value)}[${this.offset(value, index)}]`;
  }

  /** Row-major offset in elements. */
  offset(value: Value, index: Index): string {
    const sizes = value.type.shape.map(this.context.size);
    const wide = this.context.indexType(value.type) === 'long long';
    const terms = index.flatMap((at, axis) => {
      if (at === '0') return [];
      const factor = product(sizes.slice(axis + 1));
      const grouped = /^[\w.]+$/.test(at) || factor === '1' ? at : `(${at})`;
      return [
        factor === '1'
          ? grouped
          : `${wide ? '(long long)' : ''}${grouped} * ${factor.includes(' + ') ? `(${factor})` : factor}`,
      ];
    });
    return terms.length === 0 ? '0' : terms.join(' + ');
  }

  slice(op: OpOf<'slice'>, index: Index): string {
    const source = op.operands[0] as Value;
    const axis = (op.attrs.axis + source.type.shape.length) % source.type.shape.length;
    const start = this.context.size(op.attrs.start);
    const at = index[axis] as string;
    const stepped = op.attrs.step === 1 ? at : `(${at}) * ${op.attrs.step}`;
    const moved = stepped === '0' ? start : start === '0' ? stepped : `(${stepped} + ${start})`;
    return this.value(source, index.with(axis, moved));
  }

  transpose(op: OpOf<'transpose'>, index: Index): string {
    const moved: string[] = [];
    op.attrs.perm.forEach((from, to) => {
      moved[from] = index[to] as string;
    });
    return this.value(op.operands[0] as Value, moved);
  }

  broadcastTo(op: OpOf<'broadcast_to'>, index: Index): string {
    const source = op.operands[0] as Value;
    return this.value(source, this.broadcast(source, op.results[0] as Value, index));
  }

  concat(op: OpOf<'concat'>, index: Index): string {
    const { code } = this.context;
    const result = op.results[0] as Value;
    const axis = (op.attrs.axis + result.type.shape.length) % result.type.shape.length;
    const at = index[axis] as string;
    const name = this.declare(result);
    let start = '0';
    op.operands.forEach((source, part) => {
      const from = start;
      const end = `${from === '0' ? '' : `${from} + `}${this.context.size(source.type.shape[axis] as never)}`;
      const last = part === op.operands.length - 1;
      const own = (): void =>
        this.conditionally(() => {
          const moved = index.with(axis, from === '0' ? at : `(${at} - (${from}))`);
          code.line(`${name} = ${this.value(source, moved)};`);
        });
      const head = last ? (part === 0 ? '' : 'else') : `${part === 0 ? '' : 'else '}if (${at} < ${end})`;
      code.block(head, own);
      start = end;
    });
    return name;
  }

  private declare(value: Value): string {
    const name = this.context.code.fresh('v');
    this.context.code.line(`${registerType[value.type.dtype]} ${name};`);
    return name;
  }

  pad(op: OpOf<'pad'>, index: Index): string {
    const { code } = this.context;
    const source = op.operands[0] as Value;
    const { before, after, value } = op.attrs;
    const inside = source.type.shape.flatMap((d, axis) => {
      const low = before[axis] as number;
      const checks = low > 0 ? [`${index[axis]} >= ${low}`] : [];
      const end = `${low === 0 ? '' : `${low} + `}${this.context.size(d)}`;
      return (after[axis] as number) > 0 ? [...checks, `${index[axis]} < ${end}`] : checks;
    });
    const moved = index.map((at, axis) => (before[axis] === 0 ? at : `(${at} - ${before[axis]})`));
    if (inside.length === 0) return this.value(source, moved);
    const name = this.context.code.fresh('v');
    code.line(`${registerType[source.type.dtype]} ${name} = ${literal(source.type.dtype, value)};`);
    code.block(`if (${inside.join(' && ')})`, () =>
      this.conditionally(() => code.line(`${name} = ${this.value(source, moved)};`)),
    );
    return name;
  }

  gather(op: OpOf<'gather'>, index: Index): string {
    const [table, indices] = op.operands as [Value, Value];
    const axis = (op.attrs.axis + table.type.shape.length) % table.type.shape.length;
    const inner = indices.type.shape.length;
    const chosen = this.value(indices, index.slice(axis, axis + inner));
    const code = this.codeOf(index.slice(axis, axis + inner));
    const row = this.context.code.fresh('row');
    if (code === this.context.code) this.varying.add(row);
    const bound = this.context.size(table.type.shape[axis] as never);
    code.line(`const int ${row} = checked_index(${chosen}, ${bound});`);
    return this.value(table, [...index.slice(0, axis), row, ...index.slice(axis + inner)]);
  }

  /** Each channel of a head from the two of its pair. */
  rope(op: OpOf<'rope'>, index: Index): string {
    const [x, cos, sin] = op.operands as [Value, Value, Value];
    const result = op.results[0] as Value;
    const half = this.context.size(divDims(x.type.shape.at(-1) as Dim, 2));
    const [outer, channel, token] = [index.slice(0, -1), index.at(-1) as string, index.at(-3) as string];
    const { interleaved } = op.attrs;
    const pair = this.integer(interleaved ? `${channel} / 2` : `${channel} % ${half}`);
    const [first, second] = interleaved
      ? [`(2 * ${pair})`, `(2 * ${pair} + 1)`]
      : [pair, `(${pair} + ${half})`];
    const [a, b] = [first, second].map((at) => this.value(x, [...outer, at]));
    const [c, s] = [cos, sin].map((table) => this.value(table, [token, pair]));
    return this.bind(
      result,
      index,
      roundedTo(
        result.type.dtype,
        `${channel} == ${first} ? ${a} * ${c} - ${b} * ${s} : ${b} * ${c} + ${a} * ${s}`,
      ),
    );
  }

  private integer(expression: string): string {
    const name = this.context.code.fresh('i');
    this.context.code.line(`const int ${name} = ${expression};`);
    return name;
  }

  /** (q - zero_point) * scale, where the scale's place follows from its shape, as ADR 2 says. */
  dequantize(op: OpOf<'dequantize'>, index: Index): string {
    const [q, scale, zero] = op.operands as [Value, Value, Value?];
    const result = op.results[0] as Value;
    const at = this.scaleIndex(op, scale, index);
    const steps = this.value(q, index);
    const moved = zero === undefined ? steps : `(${steps} - ${this.value(zero, at)})`;
    return this.bind(result, index, `mul(static_cast<float>(${moved}), ${this.value(scale, at)})`);
  }

  /** The division is by a number that many elements share, so its reciprocal is made once. */
  quantize(op: OpOf<'quantize'>, index: Index): string {
    const [x, scale, zero] = op.operands as [Value, Value, Value?];
    const at = this.scaleIndex(op, scale, index);
    const divisor = this.value(scale, at);
    const inverse = this.context.code.fresh('inverse');
    this.codeOf(at).line(`const float ${inverse} = 1.0f / ${divisor};`);
    const offset = zero === undefined ? '0' : this.value(zero, at);
    const [low, high] = quantizedRange[op.attrs.dtype as QuantizedDType];
    const steps = `quantized<${low}, ${high}>(${this.value(x, index)}, ${divisor}, ${inverse}, ${offset})`;
    return this.bind(op.results[0] as Value, index, steps);
  }

  private scaleIndex(
    { attrs, operands }: OpOf<'dequantize' | 'quantize'>,
    scale: Value,
    index: Index,
  ): Index {
    const rank = (operands[0] as Value).type.shape.length;
    const axis = (attrs.axis + rank) % rank;
    const { shape } = scale.type;
    if (shape.length === 0) return [];
    const own = (d: Dim, i: number): string => (constantOf(d) === 1 ? '0' : (index[i] as string));
    if (shape.length === 1 && attrs.group === 0) return [own(shape[0] as Dim, axis)];
    return shape.map((d, i) =>
      attrs.group > 0 && i === axis && constantOf(d) !== 1 ? `(${index[i]} / ${attrs.group})` : own(d, i),
    );
  }

  iota(op: OpOf<'iota'>, [at]: Index): string {
    return `static_cast<${registerType[op.attrs.dtype]}>(${at})`;
  }

  full(op: OpOf<'full'>): string {
    return literal(op.attrs.dtype, op.attrs.value);
  }

  dimSize(op: OpOf<'dim_size'>): string {
    return this.context.size(op.attrs.dim);
  }
}

type Movement = (this: Expressions, op: never, index: Index) => string;

/** Ops that change the index or make values from it, rather than combining values. */
const movements: Partial<Record<OpName, Movement>> = {
  slice: Expressions.prototype.slice as Movement,
  transpose: Expressions.prototype.transpose as Movement,
  broadcast_to: Expressions.prototype.broadcastTo as Movement,
  concat: Expressions.prototype.concat as Movement,
  pad: Expressions.prototype.pad as Movement,
  gather: Expressions.prototype.gather as Movement,
  iota: Expressions.prototype.iota as Movement,
  full: Expressions.prototype.full as Movement,
  dim_size: Expressions.prototype.dimSize as Movement,
  rope: Expressions.prototype.rope as Movement,
  dequantize: Expressions.prototype.dequantize as Movement,
  quantize: Expressions.prototype.quantize as Movement,
};

/** Declares the index of element `linear` of a shape, one `const` per axis that needs a name. */
export function declareIndex(
  { code }: KernelContext,
  sizes: readonly string[],
  linear: string,
  type: 'int' | 'long long',
): string[] {
  const index: string[] = [];
  let rest = linear;
  for (let axis = sizes.length - 1; axis >= 0; axis--) {
    // Nothing runs over an empty axis, so its index does not matter.
    if (sizes[axis] === '1' || sizes[axis] === '0') {
      index[axis] = '0';
      continue;
    }
    const outermost = sizes.slice(0, axis).every((size) => size === '1' || size === '0');
    if (outermost) {
      index[axis] = rest;
      continue;
    }
    const name = code.fresh('i');
    code.line(`const ${type} ${name} = ${rest} % ${sizes[axis]};`);
    const next = code.fresh('rest');
    code.line(`const ${type} ${next} = ${rest} / ${sizes[axis]};`);
    index[axis] = name;
    rest = next;
  }
  return index;
}

/** Stores the value of a result at an index, after the epilogue: `known` holds what the root computed. */
export function storeResult(
  context: KernelContext,
  result: Value,
  index: Index,
  known: Known = new Map(),
): void {
  const expressions = new Expressions(context, known);
  const value = expressions.value(result, index);
  context.code.line(
    `${expressions.element(result, index)} = convert<${storageType[result.type.dtype]}>(${value});`,
  );
}

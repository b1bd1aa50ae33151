/**
 * The parts that kernels over tiles of the last axis share: reading the leaves of an expression into queues, running
 * its program, and writing the result.
 */
import type { Dim } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { type DType, storedBytes } from '../../../ir/type.js';
import { floatLiteral, noFraction, type Operand, spread } from './elementwise.js';
import { Expressions, type Index, type Leaf, type Source } from './expression.js';
import type { KernelContext } from './kernel.js';
import { elementType, factor, product } from './size.js';
import {
  assignSlots,
  printProgram,
  type Register,
  type SlotPlan,
  type VectorProgram,
} from './vector-program.js';

export const lanesPerRepeat = 64;
/** Tiles longer than this gain nothing: a copy of 16 KiB is as fast as longer ones. */
const longestTile = 4096;
/** Kept free for constants of the toolkit's own functions, single numbers and alignment. */
const reserveBytes = 2048;

/** Declares the coordinates of element `linear` of some axes, one `const` per axis that needs a name. */
export function coordinates(
  context: KernelContext,
  axes: readonly Dim[],
  linear: string,
  stem: string,
): { readonly names: string[]; readonly lines: string[] } {
  const sizes = axes.map(context.size);
  const names: string[] = sizes.map(() => '0');
  const lines: string[] = [];
  const real = sizes.flatMap((size, axis) => (size === '1' ? [] : [axis]));
  real.forEach((axis, i) => {
    // Elements per step of this axis.
    const inner = product(real.slice(i + 1).map((other) => factor(sizes[other] as string)));
    const divided = inner === '1' ? linear : `${linear} / ${factor(inner)}`;
    const isOutermost = i === 0;
    if (isOutermost && inner === '1') {
      names[axis] = linear;
      return;
    }
    names[axis] = `${stem}${axis}`;
    const wrapped = isOutermost ? divided : `${divided} % ${factor(sizes[axis] as string)}`;
    lines.push(`const uint32_t ${stem}${axis} = ${wrapped};`);
  });
  return { names, lines };
}

export const rowCoordinates = (
  context: KernelContext,
  lead: readonly Dim[],
): ReturnType<typeof coordinates> => coordinates(context, lead, 'row', 'i');

export const elementBytes = (dtype: DType): number => storedBytes(dtype, 1);

export interface TileBuffers {
  readonly tile: number;
  readonly constants: readonly string[];
  readonly init: readonly string[];
  readonly members: readonly string[];
  readonly occupancy: number;
}

export interface ResultBuffer {
  readonly name: string;
  readonly dtype: DType;
  /** One number instead of a tile. */
  readonly isNumber?: boolean;
}

/** Buffers of one or more programs that run in turn over tiles, as long as the unified buffer allows. */
export function tileBuffers(
  context: KernelContext,
  leaves: readonly Leaf[],
  plans: readonly SlotPlan[],
  results: readonly ResultBuffer[],
  width: Dim,
  extra = 0,
): TileBuffers {
  const queued = leaves.filter((leaf) => leaf.kind !== 'uniform');
  const floats = Math.max(0, ...plans.map(({ slots }) => slots.float)) + extra;
  const masks = Math.max(0, ...plans.map(({ slots }) => slots.mask));
  const perElement =
    queued.reduce((bytes, leaf) => bytes + 2 * elementBytes(leaf.dtype), 0) +
    results.reduce((bytes, { dtype, isNumber }) => bytes + (isNumber ? 0 : 2 * elementBytes(dtype)), 0) +
    4 * floats +
    masks / 8;
  const budget = context.chip.unifiedBuffer - reserveBytes;
  const wanted = Math.ceil(context.greatest(context.resolve(width)) / lanesPerRepeat) * lanesPerRepeat;
  const fitting = Math.floor(budget / perElement / lanesPerRepeat) * lanesPerRepeat;
  const tile = Math.max(lanesPerRepeat, Math.min(longestTile, wanted, fitting));
  const members = [
    ...queued.map((leaf) => `TQue<TPosition::VECIN, 1> ${leaf.name}Queue_;`),
    ...results.map(({ name }) => `TQue<TPosition::VECOUT, 1> ${name}Queue_;`),
    ...(floats > 0 ? ['TBuf<TPosition::VECCALC> work_;'] : []),
    ...(masks > 0 ? ['TBuf<TPosition::VECCALC> masks_;'] : []),
  ];
  const init = [
    ...queued.map(
      (leaf) => `pipe_->InitBuffer(${leaf.name}Queue_, 2, kTile * sizeof(${elementType[leaf.dtype]}));`,
    ),
    ...results.map(
      ({ name, dtype, isNumber }) =>
        `pipe_->InitBuffer(${name}Queue_, 2, ${isNumber ? '32' : `kTile * sizeof(${elementType[dtype]})`});`,
    ),
    ...(floats > 0 ? ['pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));'] : []),
    // Comparisons read whole repeats: what lies behind a short tile must be there.
    ...(masks > 0
      ? [
          'pipe_->InitBuffer(masks_, kMaskSlots * kMaskBytes);',
          ...(floats > 0
            ? ['Duplicate(work_.Get<float>(), 0.0f, kWorkSlots * kTile);', 'PipeBarrier<PIPE_V>();']
            : []),
        ]
      : []),
  ];
  const constants = [
    `constexpr uint32_t kTile = ${tile};  // elements of the last axis at a time`,
    ...(floats > 0 ? [`constexpr uint32_t kWorkSlots = ${floats};`] : []),
    ...(masks > 0
      ? [
          `constexpr uint32_t kMaskSlots = ${masks};`,
          'constexpr uint32_t kMaskBytes = CeilDiv(kTile / 8, 32) * 32;  // a bit for each element',
        ]
      : []),
  ];
  return { tile, constants, init, members, occupancy: Math.ceil(perElement * tile) };
}

/** Names of the slots as local tensors. */
export function slotDeclarations({ slots }: SlotPlan): string[] {
  const floats = Array.from(
    { length: slots.float },
    (_, i) =>
      `LocalTensor<float> work${i} = work_.GetWithOffset<float>(kTile, ${i} * kTile * sizeof(float));`,
  );
  const masks = Array.from(
    { length: slots.mask },
    (_, i) => `LocalTensor<uint8_t> mask${i} = masks_.GetWithOffset<uint8_t>(kMaskBytes, ${i} * kMaskBytes);`,
  );
  return [...floats, ...masks];
}

const conditional = (sources: readonly Source[], statement: (source: Source) => string[]): string[] => {
  if (sources.length === 1) return statement(sources[0] as Source);
  return sources.flatMap((source, i) => {
    const head =
      i === 0
        ? `if (${source.condition}) {`
        : source.condition
          ? `} else if (${source.condition}) {`
          : '} else {';
    return [
      head,
      ...statement(source).map((line) => `    ${line}`),
      ...(i === sources.length - 1 ? ['}'] : []),
    ];
  });
};

/** Statements that bring leaves of the tile into their queues. */
export function copyAllIn(context: KernelContext, leaves: readonly Leaf[]): string[] {
  const whole = leaves.filter(({ kind }) => kind === 'contiguous');
  const scattered = leaves.filter(({ kind }) => kind === 'scattered');
  return [
    ...whole.flatMap((leaf) =>
      queued(
        leaf,
        conditional(leaf.sources, (source) => wholeSource(context, leaf, source)),
      ),
    ),
    ...(scattered.length > 0 ? ['WaitForVector();'] : []),
    ...scattered.flatMap((leaf) =>
      queued(leaf, [
        'for (uint32_t lane = 0; lane < count; ++lane) {',
        ...conditional(leaf.sources, (source) => elementSource(context, leaf, source)).map(
          (line) => `    ${line}`,
        ),
        '}',
        // What is in the queue is handed to the vector unit.
        ...(leaf === scattered.at(-1) ? ['WaitForScalar();'] : []),
      ]),
    ),
  ];
}

function queued({ name, dtype }: Leaf, statements: readonly string[]): string[] {
  const type = elementType[dtype];
  return [
    `LocalTensor<${type}> ${name} = ${name}Queue_.AllocTensor<${type}>();`,
    ...statements,
    `${name}Queue_.EnQue(${name});`,
  ];
}

const globalOf = (context: KernelContext, { argument }: Source): string =>
  `${context.pointer(argument as Value)}Gm_`;

const wholeSource = (context: KernelContext, { name, dtype }: Leaf, source: Source): string[] =>
  source.argument === undefined
    ? fill(name, elementType[dtype], source.fill as number)
    : [...(source.before ?? []), `Load(${name}, ${globalOf(context, source)}[${source.offset}], count);`];

const elementSource = (context: KernelContext, { name, dtype }: Leaf, source: Source): string[] =>
  source.argument === undefined
    ? [`${name}.SetValue(lane, static_cast<${elementType[dtype]}>(${floatLiteral(source.fill as number)}));`]
    : [
        ...(source.before ?? []),
        `${name}.SetValue(lane, ${globalOf(context, source)}.GetValue(${source.offset}));`,
      ];

/** An earlier tile may still be read from the same buffer: queues order copies, not the vector unit with itself. */
function fill(name: string, type: string, value: number): string[] {
  return [
    'PipeBarrier<PIPE_V>();',
    `Duplicate(${name}, static_cast<${type}>(${floatLiteral(value)}), count);`,
    'PipeBarrier<PIPE_V>();',
  ];
}

/** Statements that read a leaf that is the same for the whole tile. */
export function readScalar(context: KernelContext, leaf: Leaf): string[] {
  const value = (source: Source): string =>
    source.argument === undefined
      ? floatLiteral(source.fill as number)
      : `ToFloat(${context.pointer(source.argument)}Gm_.GetValue(${source.offset}))`;
  const [only, ...others] = leaf.sources as [Source, ...Source[]];
  if (others.length === 0) return [...(only.before ?? []), `const float ${leaf.name} = ${value(only)};`];
  const assign = (source: Source): string[] => [...(source.before ?? []), `${leaf.name} = ${value(source)};`];
  return [`float ${leaf.name};`, ...conditional(leaf.sources, assign)];
}

/** Brings a value as floats into the tensor of a result, rounded to its dtype. */
export function narrowInto(program: VectorProgram, operand: Operand, dtype: DType, target: string): void {
  const value = spread(program, operand);
  const half = (name: string): string => `${name}.ReinterpretCast<half>()`;
  const toHalf = (): Register =>
    program.emit(
      [value],
      'float',
      false,
      (result, [x]) => `Cast(${half(result)}, ${x}, RoundMode::${toHalfMode(program)}, count);`,
    );
  const last = (x: string): string => {
    if (dtype === 'f32') return `Adds(${target}, ${x}, 0.0f, count);`;
    if (isByte(dtype)) return `Cast(${target}, ${half(x)}, RoundMode::CAST_NONE, count);`;
    // The sum has the integer in its last bits; the difference of the patterns is the integer itself.
    if (dtype === 'i32' && program.layout === 'fused')
      return `Adds(${target}, ${x}.ReinterpretCast<int32_t>(), -0x4b400000, count);`;
    return `Cast(${target}, ${x}, RoundMode::${dtype === 'f16' ? toHalfMode(program) : 'CAST_RINT'}, count);`;
  };
  const shifted = dtype === 'i32' && program.layout === 'fused';
  const from = isByte(dtype) ? toHalf() : shifted ? program.call('Adds', [value], [noFraction]) : value;
  program.instructions.push({
    writes: { kind: 'float', place: target },
    reads: [from],
    inPlace: false,
    text: (name) => last(name(from)),
  });
}

/** From floats to half; without a rounding mode it is to nearest even too. */
const toHalfMode = ({ layout }: VectorProgram): string => (layout === 'fused' ? 'CAST_NONE' : 'CAST_RINT');

/** Bytes and floats meet in half: no cast goes between them directly. */
const isByte = (dtype: DType): boolean => elementBytes(dtype) === 1;

export interface PlannedProgram {
  readonly plan: SlotPlan;
  readonly lines: readonly string[];
}

export function planned(program: VectorProgram, live: readonly Register[] = []): PlannedProgram {
  const plan = assignSlots(program, live);
  return { plan, lines: printProgram(program, plan) };
}

/** The expression of a result at an index of the tile. */
export function resultExpression(
  context: KernelContext,
  result: Value,
  index: Index,
  target: string,
  known?: ReadonlyMap<Value, Operand>,
): Expressions {
  const expressions = new Expressions(context, known);
  narrowInto(expressions.program, expressions.value(result, index), result.type.dtype, target);
  return expressions;
}

/** A member function. */
export function method(head: string, body: readonly string[]): string {
  return [`__aicore__ inline void ${head} {`, ...body.map((l) => (l === '' ? '' : `    ${l}`)), '}'].join(
    '\n',
  );
}

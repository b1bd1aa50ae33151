/**
 * Reductions and cumulative sums. Where the last axis is kept, tiles of it are accumulated over the reduced axes; where
 * it is reduced, each row becomes a number, tile by tile.
 */
import { type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { spread } from './elementwise.js';
import { Expressions, type Index } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor, product, sum } from './size.js';
import {
  coordinates,
  copyAllIn,
  method,
  narrowInto,
  planned,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import { type Register, VectorProgram } from './vector-program.js';

interface Fold {
  readonly start: string;
  readonly vector: string;
  /** A tile to a number; products have none and multiply element by element. */
  readonly tile?: 'ReduceSum' | 'ReduceMax' | 'ReduceMin';
  readonly scalar: (a: string, b: string) => string;
  readonly isMean?: boolean;
}

const sumFold: Fold = { start: '0.0f', vector: 'Add', tile: 'ReduceSum', scalar: (a, b) => `${a} + ${b}` };

const folds: Readonly<Record<string, Fold>> = {
  reduce_sum: sumFold,
  reduce_mean: { ...sumFold, isMean: true },
  reduce_max: {
    start: '-kInfinity',
    vector: 'Max',
    tile: 'ReduceMax',
    scalar: (a, b) => `${a} > ${b} ? ${a} : ${b}`,
  },
  reduce_min: {
    start: 'kInfinity',
    vector: 'Min',
    tile: 'ReduceMin',
    scalar: (a, b) => `${a} < ${b} ? ${a} : ${b}`,
  },
  reduce_prod: { start: '1.0f', vector: 'Mul', scalar: (a, b) => `${a} * ${b}` },
};

export function emitReduction(context: KernelContext): KernelBody {
  const [x] = context.root.operands as [Value];
  const rank = x.type.shape.length;
  const axes = (context.root.attrs as unknown as { axes: readonly number[] }).axes.map(
    (a) => (a + rank) % rank,
  );
  return axes.includes(rank - 1) ? overRows(context, axes) : overTiles(context, axes);
}

const place = 'uint32_t row, uint32_t column, uint32_t count';

/** The coordinates of x in terms of an output row, a reduced element and a column of the last axis. */
function indexOfX(context: KernelContext, axes: readonly number[]) {
  const [x] = context.root.operands as [Value];
  const { shape } = x.type;
  if (shape.length > 0) context.nameDim(shape.at(-1) as Dim, 'kWidth');
  const inner = axes.filter((axis) => axis !== shape.length - 1).toSorted((a, b) => a - b);
  const outer = shape
    .map((_, axis) => axis)
    .filter((axis) => !axes.includes(axis) && axis !== shape.length - 1);
  const at = (list: readonly number[]): Dim[] => list.map((axis) => shape[axis] as Dim);
  const rows = coordinates(context, at(outer), 'row', 'i');
  const steps = coordinates(context, at(inner), 'step', 'j');
  const index: Index = shape.map((_, axis) => {
    if (axis === shape.length - 1) return { at: 'column', step: 1 };
    const own = inner.indexOf(axis);
    return { at: (own >= 0 ? steps.names[own] : rows.names[outer.indexOf(axis)]) as string, step: 0 };
  });
  return {
    index,
    lines: [...rows.lines, ...steps.lines],
    rows: productOfDims(at(outer)),
    steps: productOfDims(at(inner)),
    width: shape.at(-1) ?? dim(1),
  };
}

/** The leaf of x and its tile as floats. */
function tileOfX(context: KernelContext, index: Index) {
  const [x] = context.root.operands as [Value];
  const expressions = new Expressions(context);
  const register = spread(expressions.program, expressions.value(x, index));
  return { expressions, register };
}

function overTiles(context: KernelContext, axes: readonly number[]): KernelBody {
  const { root, func } = context;
  const [result] = func.results as [Value];
  const fold = folds[root.name] as Fold;
  const { index, lines, rows, steps, width } = indexOfX(context, axes);
  const { expressions, register } = tileOfX(context, index);
  const total: Register = { kind: 'float', place: 'total' };
  expressions.program.instructions.push({
    writes: total,
    reads: [total, register],
    inPlace: false,
    text: (name) => `${fold.vector}(total, total, ${name(register)}, count);`,
  });
  const adding = planned(expressions.program);
  const finish = new VectorProgram(context.chip.layout);
  const count = context.size(steps);
  const scaled = fold.isMean ? finish.call('Muls', [total], [`1.0f / static_cast<float>(${count})`]) : total;
  narrowInto(finish, { kind: 'vector', register: scaled }, result.type.dtype, 'result');
  const finished = planned(finish);
  const leaf = expressions.leaves[0] as (typeof expressions.leaves)[number];
  const buffers = tileBuffers(
    context,
    expressions.leaves,
    [adding.plan, finished.plan],
    [{ name: 'out', dtype: result.type.dtype }],
    width,
    1,
  );
  const totalSlot = Math.max(adding.plan.slots.float, finished.plan.slots.float);
  const totalText = `LocalTensor<float> total = work_.GetWithOffset<float>(kTile, ${totalSlot} * kTile * sizeof(float));`;
  const type = elementType[result.type.dtype];
  const widthText = context.size(width);
  return {
    type: 'AIV_ONLY',
    about: [`Tiles of up to ${buffers.tile} elements of the result go round the cores.`],
    ...buffers,
    occupancy: { UB: buffers.occupancy },
    blocks: productOfDims([rows, width]),
    methods: [
      method('Process()', [
        `const uint32_t tiles = CeilDiv(${widthText}, kTile);`,
        `for (uint32_t unit = GetBlockIdx(); unit < ${product([factor(context.size(rows)), 'tiles'])}; unit += GetBlockNum()) {`,
        '    const uint32_t row = unit / tiles;',
        '    const uint32_t column = unit % tiles * kTile;',
        `    const uint32_t count = Minimum(kTile, ${widthText} - column);`,
        `    Start(count);`,
        `    for (uint32_t step = 0; step < ${count}; ++step) {`,
        '        CopyIn(row, step, column, count);',
        '        Compute(count);',
        '    }',
        '    CopyOut(row, column, count);',
        '}',
      ]),
      'private:',
      method('Start(uint32_t count)', [
        totalText,
        'PipeBarrier<PIPE_V>();',
        `Duplicate(total, ${fold.start}, count);`,
      ]),
      method('CopyIn(uint32_t row, uint32_t step, uint32_t column, uint32_t count)', [
        ...lines,
        ...copyAllIn(context, [leaf]),
      ]),
      method('Compute(uint32_t count)', [
        totalText,
        dequeue(leaf.name, leaf.dtype),
        ...slotDeclarations(adding.plan),
        'PipeBarrier<PIPE_V>();',
        ...adding.lines,
        `${leaf.name}Queue_.FreeTensor(${leaf.name});`,
      ]),
      method(`CopyOut(${place})`, [
        totalText,
        `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
        ...slotDeclarations(finished.plan),
        'PipeBarrier<PIPE_V>();',
        ...finished.lines,
        'outQueue_.EnQue(result);',
        `result = outQueue_.DeQue<${type}>();`,
        `Store(out0Gm_[${sum([product(['row', factor(widthText)]), 'column'])}], result, count);`,
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

function dequeue(name: string, dtype: keyof typeof elementType): string {
  return `LocalTensor<${elementType[dtype]}> ${name} = ${name}Queue_.DeQue<${elementType[dtype]}>();`;
}

function overRows(context: KernelContext, axes: readonly number[]): KernelBody {
  const { root, func } = context;
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  const fold = folds[root.name] as Fold;
  const { index, lines, rows, steps, width } = indexOfX(context, axes);
  const { expressions, register } = tileOfX(context, index);
  const { program } = expressions;
  const leaf = expressions.leaves[0] as (typeof expressions.leaves)[number];
  // A register of its own: what is reduced is read by the scalar unit, and queues' tensors end with the tile.
  const reduced = program.emit([register], 'float', false, (target, [from]) =>
    fold.tile === undefined
      ? `Adds(${target}, ${from}, 0.0f, count);`
      : `${fold.tile}(${target}, ${from}, ${target}, count);`,
  );
  const adding = planned(program, [reduced]);
  const source = adding.plan.names.get(reduced) as string;
  const buffers = tileBuffers(
    context,
    expressions.leaves,
    [adding.plan],
    [{ name: 'out', dtype: 'f32', isNumber: true }],
    width,
    1,
  );
  const narrow = new VectorProgram(context.chip.layout);
  const total: Register = { kind: 'float', place: 'total' };
  narrowInto(narrow, { kind: 'vector', register: total }, result.type.dtype, 'result');
  const narrowed = planned(narrow);
  const type = elementType[result.type.dtype];
  const [widthText, stepsText] = [context.size(width), context.size(steps)];
  const elements = context.size(productOfDims(axes.map((axis) => x.type.shape[axis] ?? dim(1))));
  return {
    type: 'AIV_ONLY',
    about: ['Rows of the result go round the cores; each becomes one number.'],
    ...buffers,
    occupancy: { UB: buffers.occupancy },
    blocks: rows,
    methods: [
      method('Process()', [
        `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
        `    float total = ${fold.start};`,
        `    for (uint32_t step = 0; step < ${stepsText}; ++step) {`,
        `        for (uint32_t column = 0; column < ${widthText}; column += kTile) {`,
        `            const uint32_t count = Minimum(kTile, ${widthText} - column);`,
        '            CopyIn(row, step, column, count);',
        '            total = Compute(total, count);',
        '        }',
        '    }',
        `    CopyOut(row, total${fold.isMean ? ` / static_cast<float>(${elements})` : ''});`,
        '}',
      ]),
      'private:',
      method('CopyIn(uint32_t row, uint32_t step, uint32_t column, uint32_t count)', [
        ...lines,
        ...copyAllIn(context, [leaf]),
      ]),
      method('Compute(float total, uint32_t count)', [
        dequeue(leaf.name, leaf.dtype),
        ...slotDeclarations(adding.plan),
        'PipeBarrier<PIPE_V>();',
        ...adding.lines,
        'WaitForVector();',
        ...(fold.tile === undefined
          ? [
              'for (uint32_t i = 0; i < count; ++i) {',
              `    total = ${fold.scalar('total', `${source}.GetValue(i)`)};`,
              '}',
            ]
          : [`const float part = ${source}.GetValue(0);`, `total = ${fold.scalar('total', 'part')};`]),
        'WaitForScalar();',
        `${leaf.name}Queue_.FreeTensor(${leaf.name});`,
        'return total;',
      ]).replace('inline void', 'inline float'),
      method('CopyOut(uint32_t row, float value)', [
        'constexpr uint32_t count = 1;',
        `LocalTensor<float> total = work_.GetWithOffset<float>(kTile, ${adding.plan.slots.float} * kTile * sizeof(float));`,
        `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
        ...slotDeclarations(narrowed.plan),
        'PipeBarrier<PIPE_V>();',
        'Duplicate(total, value, count);',
        'PipeBarrier<PIPE_V>();',
        ...narrowed.lines,
        'outQueue_.EnQue(result);',
        `result = outQueue_.DeQue<${type}>();`,
        'Store(out0Gm_[row], result, count);',
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

/**
 * Kernels that fold tiles of the last axis on the vector cores, one step after the other: products of two computed
 * matrices, convolutions, pooling, and running sums along an outer axis. A step brings one tile, and for products the
 * number that it is multiplied by. What is added is f32.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { mul, type Operand, spread, vector } from './elementwise.js';
import { type Coordinate, Expressions, type Index, type Leaf, origin } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor, product, sum } from './size.js';
import {
  coordinates,
  copyAllIn,
  method,
  narrowInto,
  type PlannedProgram,
  planned,
  readScalar,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import { type Register, VectorProgram } from './vector-program.js';

export interface Accumulation {
  readonly about: string;
  /** Coordinates of the result before its last axis, and of the steps. */
  readonly lead: readonly Dim[];
  readonly steps: readonly Dim[];
  readonly fold: 'Add' | 'Max';
  /** What a step adds, at these coordinates. */
  readonly term: (expressions: Expressions, row: Index, step: Index) => Operand;
  /** Statements behind the coordinates that `term` uses. */
  readonly lines?: (row: readonly string[], step: readonly string[]) => readonly string[];
  /** The root's result, of the fold in `total`. */
  readonly finish?: (expressions: Expressions, row: readonly string[]) => Operand;
  /** Scalar statements that change `total` before it is written. */
  readonly adjust?: (row: readonly string[]) => readonly string[];
  /** The result is written after every step, in this row, instead of once behind them. */
  readonly runningRow?: (row: readonly string[]) => string;
}

const column: Coordinate = { at: 'column', step: 1 };
const still = (names: readonly string[]): Index => names.map((at) => ({ at, step: 0 }));
const indented = (lines: readonly string[]): string[] => lines.map((line) => `    ${line}`);

export function emitAccumulation(context: KernelContext, own: Accumulation): KernelBody {
  const { root, func } = context;
  const [result] = func.results as [Value];
  const width = result.type.shape.at(-1) ?? dim(1);
  context.nameDim(width, 'kWidth');
  const row = coordinates(context, own.lead, 'row', 'i');
  const step = coordinates(context, own.steps, 'step', 'j');
  const lines = [...row.lines, ...step.lines, ...(own.lines?.(row.names, step.names) ?? [])];

  const adding = new Expressions(context);
  const term = spread(adding.program, own.term(adding, still(row.names), still(step.names)));
  adding.program.instructions.push({
    writes: total,
    reads: [total, term],
    inPlace: false,
    text: (name) => `${own.fold}(total, total, ${name(term)}, count);`,
  });
  const added = planned(adding.program);

  const writing = new Expressions(context, undefined, 'epilogue');
  const finished = own.finish?.(writing, row.names) ?? vector(total);
  writing.define(root.results[0] as Value, finished);
  const index = [...still(row.names), column].slice(-result.type.shape.length);
  narrowInto(writing.program, writing.value(result, index), result.type.dtype, 'result');
  const written = planned(writing.program);

  const steps = context.size(productOfDims(own.steps));
  const buffers = tileBuffers(
    context,
    [...adding.leaves, ...writing.leaves],
    [added.plan, written.plan],
    [{ name: 'out', dtype: result.type.dtype }],
    width,
    1,
  );
  const slot = Math.max(added.plan.slots.float, written.plan.slots.float);
  const totalText = `LocalTensor<float> total = work_.GetWithOffset<float>(kTile, ${slot} * kTile * sizeof(float));`;
  const widthText = context.size(width);
  const rowsText = context.size(productOfDims(own.lead));
  const queued = (leaves: readonly Leaf[]): Leaf[] => leaves.filter((leaf) => leaf.kind !== 'uniform');
  const uniform = (leaves: readonly Leaf[]): Leaf[] => leaves.filter((leaf) => leaf.kind === 'uniform');
  const taken = ({ name, dtype }: Leaf): string =>
    `LocalTensor<${elementType[dtype]}> ${name} = ${name}Queue_.DeQue<${elementType[dtype]}>();`;
  const freed = ({ name }: Leaf): string => `${name}Queue_.FreeTensor(${name});`;
  const writtenRow = own.runningRow?.(row.names) ?? 'row';
  const place = 'uint32_t row, uint32_t step, uint32_t column, uint32_t count';
  const copyOut = `CopyOut(row, ${own.runningRow === undefined ? '0' : 'step'}, column, count);`;
  return {
    type: 'AIV_ONLY',
    about: [own.about, `Tiles of up to ${buffers.tile} elements of the result go round the cores.`],
    ...buffers,
    occupancy: { UB: buffers.occupancy },
    blocks: productOfDims([...own.lead, width]),
    methods: [
      method('Process()', [
        `const uint32_t tiles = CeilDiv(${widthText}, kTile);`,
        `for (uint32_t unit = GetBlockIdx(); unit < ${product([factor(rowsText), 'tiles'])}; unit += GetBlockNum()) {`,
        '    const uint32_t row = unit / tiles;',
        '    const uint32_t column = unit % tiles * kTile;',
        `    const uint32_t count = Minimum(kTile, ${widthText} - column);`,
        '    Start(count);',
        `    for (uint32_t step = 0; step < ${steps}; ++step) {`,
        '        CopyIn(row, step, column, count);',
        '        Compute(row, step, column, count);',
        ...(own.runningRow === undefined ? [] : [`        ${copyOut}`]),
        '    }',
        ...(own.runningRow === undefined ? [`    ${copyOut}`] : []),
        '}',
      ]),
      'private:',
      method('Start(uint32_t count)', [
        totalText,
        'PipeBarrier<PIPE_V>();',
        `Duplicate(total, ${own.fold === 'Add' ? '0.0f' : '-kInfinity'}, count);`,
      ]),
      method(`CopyIn(${place})`, [...lines, ...copyAllIn(context, queued(adding.leaves))]),
      method(`Compute(${place})`, [
        ...(uniform(adding.leaves).length > 0 ? lines : []),
        ...uniform(adding.leaves).flatMap((leaf) => readScalar(context, leaf)),
        totalText,
        ...queued(adding.leaves).map(taken),
        ...slotDeclarations(added.plan),
        'PipeBarrier<PIPE_V>();',
        ...added.lines,
        ...queued(adding.leaves).map(freed),
      ]),
      method(`CopyOut(${place})`, [
        ...row.lines,
        totalText,
        ...(own.adjust === undefined
          ? []
          : [
              'WaitForVector();',
              'for (uint32_t lane = 0; lane < count; ++lane) {',
              ...indented(own.adjust(row.names)),
              '}',
              'WaitForScalar();',
            ]),
        ...resultStatements(
          context,
          writing.leaves,
          written,
          sum([product([factor(writtenRow), factor(widthText)]), 'column']),
        ),
      ]),
    ],
  };
}

/** Statements that bring in what an epilogue reads, run it, and write the tile of the result at `offset`. */
export function resultStatements(
  context: KernelContext,
  leaves: readonly Leaf[],
  { plan, lines }: PlannedProgram,
  offset: string,
): string[] {
  const type = elementType[(context.func.results as [Value])[0].type.dtype];
  const tiles = leaves.filter((leaf) => leaf.kind !== 'uniform');
  const numbers = leaves.filter((leaf) => leaf.kind === 'uniform');
  return [
    ...copyAllIn(context, tiles),
    ...numbers.flatMap((leaf) => readScalar(context, leaf)),
    ...tiles.map(({ name, dtype }) => `${name} = ${name}Queue_.DeQue<${elementType[dtype]}>();`),
    `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
    ...slotDeclarations(plan),
    'PipeBarrier<PIPE_V>();',
    ...lines,
    ...tiles.map(({ name }) => `${name}Queue_.FreeTensor(${name});`),
    'outQueue_.EnQue(result);',
    `result = outQueue_.DeQue<${type}>();`,
    `Store(out0Gm_[${offset}], result, count);`,
    'outQueue_.FreeTensor(result);',
  ];
}

/** Each row of the result is the sum of rows of b, weighted by a row of a. */
export function emitProduct(context: KernelContext): KernelBody {
  const [a, b] = context.root.operands as [Value, Value];
  const { shape } = (context.root.results[0] as Value).type;
  const inner = a.type.shape.at(-1) as Dim;
  /** Leading axes of an operand, which broadcast. */
  const batch = (operand: Value, row: Index): Index => {
    const own = operand.type.shape.slice(0, -2);
    const lead = row.slice(0, -1).slice(-own.length || row.length);
    return own.length === 0 ? [] : own.map((d, i) => (isOne(d) ? origin : (lead[i] as Coordinate)));
  };
  return emitAccumulation(context, {
    about: 'Rows of the second matrix, times elements of a row of the first, are added up.',
    lead: shape.slice(0, -1),
    steps: [inner],
    fold: 'Add',
    term: (expressions, row, step) => {
      const left = expressions.value(a, [...batch(a, row), row.at(-1) as Coordinate, step[0] as Coordinate]);
      const right = expressions.value(b, [...batch(b, row), step[0] as Coordinate, column]);
      return mul(expressions.program, [right, left]);
    },
  });
}

const isOne = (d: Dim): boolean => constantOf(d) === 1;

/** A tensor that is in the kernel already. */
export const total: Register = { kind: 'float', place: 'total' };

/** Running sums: along an outer axis tile by tile, along the last one element by element. */
export function emitRunningSum(context: KernelContext): KernelBody {
  const root = context.root as OpOf<'cumsum'>;
  const [x] = root.operands as [Value];
  const { shape } = x.type;
  const axis = (root.attrs.axis + shape.length) % shape.length;
  if (axis === shape.length - 1) return emitRowSum(context, x);
  const lead = shape.filter((_, at) => at !== axis && at !== shape.length - 1);
  /** Coordinates before the last one, with the step's among them. */
  const places = (row: readonly string[]): string[] => [...row.slice(0, axis), 'step', ...row.slice(axis)];
  return emitAccumulation(context, {
    about: 'Sums so far are written after every step along the axis.',
    lead,
    steps: [shape[axis] as Dim],
    fold: 'Add',
    term: (expressions, row) => expressions.value(x, [...still(places(row.map(({ at }) => at))), column]),
    runningRow: (row) =>
      sum(
        places(row).map((at, i) =>
          product([at, ...shape.slice(i + 1, -1).map((d) => factor(context.size(d)))]),
        ),
      ),
  });
}

function emitRowSum(context: KernelContext, x: Value): KernelBody {
  const [result] = context.func.results as [Value];
  const width = x.type.shape.at(-1) as Dim;
  const lead = x.type.shape.slice(0, -1);
  context.nameDim(width, 'kWidth');
  const { names, lines } = coordinates(context, lead, 'row', 'i');
  const expressions = new Expressions(context);
  const { program } = expressions;
  const loaded = spread(program, expressions.value(x, [...still(names), column]));
  const sums = program.call('Adds', [loaded], ['0.0f']);
  const widened = planned(program, [sums]);
  const narrow = new VectorProgram(context.chip.layout);
  const place: Register = { kind: 'float', place: widened.plan.names.get(sums) as string };
  narrowInto(narrow, vector(place), result.type.dtype, 'result');
  const narrowed = planned(narrow);
  const leaf = expressions.leaves[0] as Leaf;
  const buffers = tileBuffers(
    context,
    [leaf],
    [widened.plan],
    [{ name: 'out', dtype: result.type.dtype }],
    width,
  );
  const [type, widthText] = [elementType[result.type.dtype], context.size(width)];
  return {
    type: 'AIV_ONLY',
    about: ['Rows go round the cores; the scalar unit adds from left to right.'],
    ...buffers,
    members: [...buffers.members, 'float sum_;'],
    occupancy: { UB: buffers.occupancy },
    blocks: productOfDims(lead),
    methods: [
      method('Process()', [
        `for (uint32_t row = GetBlockIdx(); row < ${context.size(productOfDims(lead))}; row += GetBlockNum()) {`,
        '    sum_ = 0.0f;',
        `    for (uint32_t column = 0; column < ${widthText}; column += kTile) {`,
        `        const uint32_t count = Minimum(kTile, ${widthText} - column);`,
        '        CopyIn(row, column, count);',
        '        Compute(count);',
        '        CopyOut(row, column, count);',
        '    }',
        '}',
      ]),
      'private:',
      method('CopyIn(uint32_t row, uint32_t column, uint32_t count)', [
        ...lines,
        ...copyAllIn(context, [leaf]),
      ]),
      method('Compute(uint32_t count)', [
        `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`,
        `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
        ...slotDeclarations(widened.plan),
        'PipeBarrier<PIPE_V>();',
        ...widened.lines,
        'WaitForVector();',
        'for (uint32_t i = 0; i < count; ++i) {',
        `    sum_ += ${place.place}.GetValue(i);`,
        `    ${place.place}.SetValue(i, sum_);`,
        '}',
        'WaitForScalar();',
        ...narrowed.lines,
        `${leaf.name}Queue_.FreeTensor(${leaf.name});`,
        'outQueue_.EnQue(result);',
      ]),
      method('CopyOut(uint32_t row, uint32_t column, uint32_t count)', [
        `LocalTensor<${type}> result = outQueue_.DeQue<${type}>();`,
        `Store(out0Gm_[${sum([product(['row', factor(widthText)]), 'column'])}], result, count);`,
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

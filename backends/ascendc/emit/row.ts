/**
 * Row kernels: rms_norm, layer_norm and softmax over the last axis. A row is reduced to one or two numbers, then written
 * through the epilogue. A row that fits into one tile is read once; longer ones are read again for every stage.
 */
import { type Dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { floatLiteral, type Operand, spread, vector } from './elementwise.js';
import { type Coordinate, Expressions, type Index, type Leaf } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor, product, sum } from './size.js';
import {
  copyAllIn,
  method,
  narrowInto,
  type PlannedProgram,
  planned,
  readScalar,
  rowCoordinates,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import type { Register, VectorProgram } from './vector-program.js';

/** One pass over a row that ends in a number. */
interface Reduction {
  readonly name: string;
  readonly by: 'sum' | 'max';
  /** What is reduced, of an element of x. */
  readonly term: (program: VectorProgram, x: Register) => Register;
  /** Scalar statements after it. */
  readonly after: readonly string[];
}

interface RowKernel {
  readonly reductions: readonly Reduction[];
  /** The root's result of an element of x; parameters are read at the element's column. */
  readonly finish: (program: VectorProgram, x: Register, parameter: (value: Value) => Operand) => Operand;
}

/** A program that ends in a number, which is left in `name`. */
interface Stage {
  readonly expressions: Expressions;
  readonly planned: PlannedProgram;
}

function emitRow(context: KernelContext, kernel: RowKernel): KernelBody {
  const { func, root } = context;
  const [x] = root.operands as [Value];
  const [result] = func.results as [Value];
  const lead = x.type.shape.slice(0, -1);
  const width = x.type.shape.at(-1) as Dim;
  const rows = productOfDims(lead);
  const { names, lines } = rowCoordinates(context, lead);
  const column: Coordinate = { at: 'column', step: 1 };
  const index: Index = [...names.map((at) => ({ at, step: 0 })), column];

  const reduced = kernel.reductions.map((reduction) => reductionStage(context, x, index, reduction));
  const finished = finishStage(context, x, result, index, kernel);
  const stages = [...reduced, finished];
  const leaves = unique(stages.flatMap(({ expressions }) => expressions.leaves));
  const buffers = tileBuffers(
    context,
    leaves,
    stages.map(({ planned: { plan } }) => plan),
    [{ name: 'out', dtype: result.type.dtype }],
    width,
  );
  const widthText = context.size(width);
  const isWhole = context.greatest(context.resolve(width)) <= buffers.tile;
  const type = elementType[result.type.dtype];
  const place = 'uint32_t row, uint32_t column, uint32_t count';
  const queuedOf = ({ expressions }: Stage): Leaf[] =>
    expressions.leaves.filter((leaf) => leaf.kind !== 'uniform');
  const own = unique(queuedOf(finished));
  const xLeaf = queuedOf(reduced[0] ?? finished)[0] as Leaf;
  const dequeued = (leaf: Leaf): string =>
    `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`;
  const freed = (leaf: Leaf): string => `${leaf.name}Queue_.FreeTensor(${leaf.name});`;
  const scalars = finished.expressions.leaves.filter((leaf) => leaf.kind === 'uniform');

  // Behind a reduction everything is done: the scalar unit has waited for it.
  const barrier = 'PipeBarrier<PIPE_V>();';
  const reduceLines = (stage: Stage, i: number): string[] => [
    ...slotDeclarations(stage.planned.plan),
    ...(isWhole && i > 0 ? [] : [barrier]),
    ...stage.planned.lines,
    'WaitForVector();',
    `const float part = ${lastResult(stage)}.GetValue(0);`,
    'WaitForScalar();',
    combine(kernel.reductions[i] as Reduction),
  ];
  const writeLines = [
    ...scalars.flatMap((leaf) => readScalar(context, leaf)),
    `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
    ...slotDeclarations(finished.planned.plan),
    ...(isWhole ? [] : [barrier]),
    ...finished.planned.lines,
  ];
  const start = kernel.reductions.map(
    ({ name, by }) => `${name}_ = ${by === 'sum' ? '0.0f' : '-kInfinity'};`,
  );
  const block = (body: readonly string[]): string[] => ['{', ...body.map((l) => `    ${l}`), '}'];
  const whole: string[] = [
    method('Process()', [
      `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
      `    CopyIn(row, 0, ${widthText});`,
      `    Compute(row, 0, ${widthText});`,
      `    CopyOut(row, 0, ${widthText});`,
      '}',
    ]),
    'private:',
    method(`CopyIn(${place})`, [...lines, ...copyAllIn(context, own)]),
    method(`Compute(${place})`, [
      ...lines,
      ...own.map(dequeued),
      ...start,
      ...reduced.flatMap((stage, i) => [
        ...block(reduceLines(stage, i)),
        ...(kernel.reductions[i] as Reduction).after,
      ]),
      ...writeLines,
      ...own.map(freed),
      'outQueue_.EnQue(result);',
    ]),
  ];
  const tiled: string[] = [
    method('Process()', [
      `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
      ...start.map((line) => `    ${line}`),
      ...kernel.reductions.flatMap(({ after }, i) => [
        `    for (uint32_t column = 0; column < ${widthText}; column += kTile) {`,
        `        Reduce${i}(row, column, Minimum(kTile, ${widthText} - column));`,
        '    }',
        ...after.map((line) => `    ${line}`),
      ]),
      `    for (uint32_t column = 0; column < ${widthText}; column += kTile) {`,
      `        const uint32_t count = Minimum(kTile, ${widthText} - column);`,
      '        CopyIn(row, column, count);',
      '        Compute(row, column, count);',
      '        CopyOut(row, column, count);',
      '    }',
      '}',
    ]),
    'private:',
    ...reduced.map((stage, i) =>
      method(`Reduce${i}(${place})`, [
        ...lines,
        ...copyAllIn(context, [xLeaf]),
        ...block([dequeued(xLeaf), ...reduceLines(stage, i), freed(xLeaf)]),
      ]),
    ),
    method(`CopyIn(${place})`, [...lines, ...copyAllIn(context, own)]),
    method(`Compute(${place})`, [
      ...lines,
      ...own.map(dequeued),
      ...writeLines,
      ...own.map(freed),
      'outQueue_.EnQue(result);',
    ]),
  ];
  return {
    type: 'AIV_ONLY',
    about: [
      isWhole
        ? 'Rows go round the cores; a row is one tile and is read once.'
        : `Rows go round the cores, in tiles of ${buffers.tile}, and are read again for every stage.`,
    ],
    constants: buffers.constants,
    init: buffers.init,
    members: [
      ...buffers.members,
      ...kernel.reductions.map(({ name }) => `float ${name}_;`),
      ...memberNames(kernel).map((name) => `float ${name}_;`),
    ],
    occupancy: { UB: buffers.occupancy },
    blocks: rows,
    methods: [
      ...(isWhole ? whole : tiled),
      method(`CopyOut(${place})`, [
        `LocalTensor<${type}> result = outQueue_.DeQue<${type}>();`,
        `Store(out0Gm_[${sum([product(['row', factor(widthText)]), 'column'])}], result, count);`,
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

/** Members that scalar statements assign, beside the reductions' own. */
function memberNames({ reductions }: RowKernel): string[] {
  const assigned = reductions.flatMap(({ after }) => after.map((line) => /^(\w+)_ = /.exec(line)?.[1] ?? ''));
  const known = new Set(reductions.map(({ name }) => name));
  return [...new Set(assigned)].filter((name) => name !== '' && !known.has(name));
}

function unique(leaves: readonly Leaf[]): Leaf[] {
  return [...new Map(leaves.map((leaf) => [leaf.name, leaf])).values()];
}

const combine = ({ name, by }: Reduction): string =>
  by === 'sum' ? `${name}_ += part;` : `${name}_ = part > ${name}_ ? part : ${name}_;`;

const lastResult = ({ expressions, planned: { plan } }: Stage): string => {
  const last = expressions.program.instructions.at(-1);
  return plan.names.get(last?.writes as Register) as string;
};

/** x is the first leaf of every stage, so that it has the same name in all. */
function stageExpressions(
  context: KernelContext,
  x: Value,
  index: Index,
): { expressions: Expressions; x: Register } {
  const expressions = new Expressions(context);
  return { expressions, x: spread(expressions.program, expressions.value(x, index)) };
}

function reductionStage(context: KernelContext, x: Value, index: Index, reduction: Reduction): Stage {
  const { expressions, x: register } = stageExpressions(context, x, index);
  const { program } = expressions;
  const term = reduction.term(program, register);
  const name = reduction.by === 'sum' ? 'ReduceSum' : 'ReduceMax';
  const reduced = program.emit(
    [term],
    'float',
    false,
    (result, [from]) => `${name}(${result}, ${from}, ${result}, count);`,
  );
  return { expressions, planned: planned(program, [reduced]) };
}

function finishStage(
  context: KernelContext,
  x: Value,
  result: Value,
  index: Index,
  kernel: RowKernel,
): Stage {
  const { root } = context;
  const { expressions, x: register } = stageExpressions(context, x, index);
  const parameter = (value: Value): Operand => expressions.value(value, [index.at(-1) as Coordinate]);
  const finished = kernel.finish(expressions.program, register, parameter);
  expressions.define(root.results[0] as Value, finished);
  narrowInto(expressions.program, expressions.value(result, index), result.type.dtype, 'result');
  return { expressions, planned: planned(expressions.program) };
}

const square = (program: VectorProgram, x: Register): Register => program.call('Mul', [x, x]);

/** `* gamma` and `+ beta` where they are given. */
function affine(
  program: VectorProgram,
  normalised: Register,
  parameter: (value: Value) => Operand,
  gamma?: Value,
  beta?: Value,
): Operand {
  const scaled =
    gamma === undefined ? normalised : program.call('Mul', [normalised, spread(program, parameter(gamma))]);
  return vector(
    beta === undefined ? scaled : program.call('Add', [scaled, spread(program, parameter(beta))]),
  );
}

export function emitRmsNorm(context: KernelContext): KernelBody {
  const [x, gamma] = context.root.operands as [Value, Value?];
  const { eps } = context.root.attrs as { eps: number };
  context.nameDim(x.type.shape.at(-1) as Dim, 'kWidth');
  const width = context.size(x.type.shape.at(-1) as Dim);
  return emitRow(context, {
    reductions: [
      {
        name: 'squares',
        by: 'sum',
        term: square,
        after: [
          `factor_ = 1.0f / ScalarSqrt(squares_ / static_cast<float>(${width}) + ${floatLiteral(eps)});`,
        ],
      },
    ],
    finish: (program, v, parameter) =>
      affine(program, program.call('Muls', [v], ['factor_']), parameter, gamma),
  });
}

export function emitLayerNorm(context: KernelContext): KernelBody {
  const [x, gamma, beta] = context.root.operands as [Value, Value?, Value?];
  const { eps } = context.root.attrs as { eps: number };
  context.nameDim(x.type.shape.at(-1) as Dim, 'kWidth');
  const width = `static_cast<float>(${context.size(x.type.shape.at(-1) as Dim)})`;
  const centred = (program: VectorProgram, v: Register): Register => program.call('Adds', [v], ['-mean_']);
  return emitRow(context, {
    reductions: [
      { name: 'total', by: 'sum', term: (_, v) => v, after: [`mean_ = total_ / ${width};`] },
      {
        name: 'squares',
        by: 'sum',
        term: (program, v) => square(program, centred(program, v)),
        after: [`factor_ = 1.0f / ScalarSqrt(squares_ / ${width} + ${floatLiteral(eps)});`],
      },
    ],
    finish: (program, v, parameter) =>
      affine(program, program.call('Muls', [centred(program, v)], ['factor_']), parameter, gamma, beta),
  });
}

/** e^(x - max) / sum */
export function emitSoftmax(context: KernelContext): KernelBody {
  context.nameDim((context.root.operands as [Value])[0].type.shape.at(-1) as Dim, 'kWidth');
  const power = (program: VectorProgram, v: Register): Register =>
    program.call('Exp', [program.call('Adds', [v], ['-greatest_'])]);
  return emitRow(context, {
    reductions: [
      { name: 'greatest', by: 'max', term: (_, v) => v, after: [] },
      { name: 'total', by: 'sum', term: power, after: ['factor_ = 1.0f / total_;'] },
    ],
    finish: (program, v) => vector(program.call('Muls', [power(program, v)], ['factor_'])),
  });
}

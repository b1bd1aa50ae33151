/**
 * linear and grouped_linear on the vector cores: an output is the sum over a row of x times a row of the weight. Every
 * weight is read once for every row of x, so this is the form of chips whose cube has no kernel, for decoding.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import { resultStatements } from './accumulate.js';
import { spread } from './elementwise.js';
import { Expressions, type Index } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { productOf } from './matmul.js';
import { elementType, factor } from './size.js';
import { elementBytes, method, narrowInto, planned, rowCoordinates, tileBuffers } from './tile.js';
import type { Register } from './vector-program.js';

/** Outputs at a time, and elements of a row. */
const mostColumns = 128;
const mostDepth = 2048;

export function emitRowProduct(context: KernelContext): KernelBody {
  const { root, func } = context;
  const { x, weight, bias, index, rows } = productOf(root);
  const [outputs, inner] = weight.type.shape.slice(-2) as [Dim, Dim];
  const [n, k] = [outputs, inner].map((d) => constantOf(context.resolve(d)) as number) as [number, number];
  const type = elementType[x.type.dtype];
  const shape = (root.results[0] as Value).type.shape;
  const { names, lines } = rowCoordinates(context, shape.slice(0, -1));
  const column = { at: 'column', step: 1 };
  const place: Index = [...names.map((at) => ({ at, step: 0 })), column];

  const expressions = new Expressions(context);
  const { program } = expressions;
  const total: Register = { kind: 'float', place: 'total' };
  const sums =
    bias === undefined
      ? total
      : program.call('Add', [total, spread(program, expressions.value(bias, [column]))]);
  expressions.define(root.results[0] as Value, { kind: 'vector', register: sums });
  const [result] = func.results as [Value];
  narrowInto(program, expressions.value(result, place), result.type.dtype, 'result');
  const written = planned(program);
  const buffers = tileBuffers(
    context,
    expressions.leaves,
    [written.plan],
    [{ name: 'out', dtype: result.type.dtype }],
    dim(Math.min(mostColumns, n)),
    1,
  );
  const totalText = `LocalTensor<float> total = work_.GetWithOffset<float>(kTile, ${written.plan.slots.float} * kTile * sizeof(float));`;
  const depth = Math.min(mostDepth, Math.ceil(k / 64) * 64);
  const widen = (target: string, source: string): string =>
    x.type.dtype === 'f32'
      ? `Adds(${target}, ${source}, 0.0f, depth);`
      : `Cast(${target}, ${source}, RoundMode::CAST_NONE, depth);`;
  const [xGm, weightGm] = [x, weight].map((value) => `${context.pointer(value)}Gm_`) as [string, string];
  const slots =
    index === undefined || x.type.shape.length === 3 ? undefined : context.size(index.type.shape[1] as Dim);
  const xRow = slots === undefined ? 'row' : `(row / ${factor(slots)})`;
  const expert =
    index === undefined
      ? []
      : [
          `const uint64_t expert = Clamp(${context.pointer(index)}Gm_.GetValue(row), ${context.size(weight.type.shape[0] as Dim)});`,
        ];
  const weightRow = index === undefined ? 'output' : '(expert * kN + output)';
  const wide = (name: string): string => `LocalTensor<float> ${name} = ${name}Buffer_.Get<float>();`;
  return {
    type: 'AIV_ONLY',
    about: [`Rows of x times rows of the weight, in steps of ${depth}; ${buffers.tile} outputs at a time.`],
    constants: [
      `constexpr uint32_t kN = ${n};`,
      `constexpr uint32_t kK = ${k};`,
      `constexpr uint32_t kDepth = ${depth};  // elements of a row at a time`,
      ...buffers.constants,
    ],
    init: [
      ...buffers.init,
      `pipe_->InitBuffer(rowQueue_, 2, kDepth * sizeof(${type}));`,
      `pipe_->InitBuffer(weightQueue_, 2, kDepth * sizeof(${type}));`,
      'pipe_->InitBuffer(wideRowBuffer_, kDepth * sizeof(float));',
      'pipe_->InitBuffer(termsBuffer_, kDepth * sizeof(float));',
      'pipe_->InitBuffer(partBuffer_, 32);',
    ],
    members: [
      ...buffers.members,
      'TQue<TPosition::VECIN, 1> rowQueue_;',
      'TQue<TPosition::VECIN, 1> weightQueue_;',
      ...['wideRow', 'terms', 'part'].map((name) => `TBuf<TPosition::VECCALC> ${name}Buffer_;`),
    ],
    occupancy: { UB: buffers.occupancy + depth * (4 * elementBytes(x.type.dtype) + 8) + 32 },
    blocks: productOfDims([rows, dim(Math.ceil(n / buffers.tile))]),
    methods: [
      method('Process()', [
        'constexpr uint32_t tiles = CeilDiv(kN, kTile);',
        `for (uint32_t unit = GetBlockIdx(); unit < ${factor(context.size(rows))} * tiles; unit += GetBlockNum()) {`,
        '    const uint32_t row = unit / tiles;',
        '    const uint32_t column = unit % tiles * kTile;',
        '    const uint32_t count = Minimum(kTile, kN - column);',
        '    Start(count);',
        '    for (uint32_t k = 0; k < kK; k += kDepth) Compute(row, column, count, k, Minimum(kDepth, kK - k));',
        '    CopyOut(row, column, count);',
        '}',
      ]),
      'private:',
      method('Start(uint32_t count)', [
        totalText,
        'PipeBarrier<PIPE_V>();',
        'Duplicate(total, 0.0f, count);',
      ]),
      method('CopyIn(uint32_t output, uint32_t row, uint32_t k, uint32_t depth)', [
        ...expert,
        `LocalTensor<${type}> weights = weightQueue_.AllocTensor<${type}>();`,
        `Load(weights, ${weightGm}[static_cast<uint64_t>(${weightRow}) * kK + k], depth);`,
        'weightQueue_.EnQue(weights);',
      ]),
      method('Compute(uint32_t row, uint32_t column, uint32_t count, uint32_t k, uint32_t depth)', [
        totalText,
        wide('wideRow'),
        `LocalTensor<${type}> values = rowQueue_.AllocTensor<${type}>();`,
        `Load(values, ${xGm}[static_cast<uint64_t>(${xRow}) * kK + k], depth);`,
        'rowQueue_.EnQue(values);',
        `values = rowQueue_.DeQue<${type}>();`,
        'PipeBarrier<PIPE_V>();',
        widen('wideRow', 'values'),
        'rowQueue_.FreeTensor(values);',
        'for (uint32_t i = 0; i < count; ++i) {',
        '    CopyIn(column + i, row, k, depth);',
        '    const float part = Dot(depth);',
        '    total.SetValue(i, total.GetValue(i) + part);',
        '    WaitForScalar();',
        '}',
      ]),
      '// The sum over a part of a row.',
      method('Dot(uint32_t depth)', [
        wide('wideRow'),
        wide('terms'),
        wide('part'),
        `LocalTensor<${type}> weights = weightQueue_.DeQue<${type}>();`,
        'PipeBarrier<PIPE_V>();',
        widen('terms', 'weights'),
        'weightQueue_.FreeTensor(weights);',
        'PipeBarrier<PIPE_V>();',
        'Mul(terms, terms, wideRow, depth);',
        'PipeBarrier<PIPE_V>();',
        'ReduceSum(part, terms, part, depth);',
        'WaitForVector();',
        'return part.GetValue(0);',
      ]).replace('inline void', 'inline float'),
      method('CopyOut(uint32_t row, uint32_t column, uint32_t count)', [
        ...lines,
        totalText,
        ...resultStatements(context, expressions.leaves, written, 'row * kN + column'),
      ]),
    ],
  };
}

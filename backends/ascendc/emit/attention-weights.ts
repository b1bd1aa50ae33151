/** The vector cores' part of attention on the cube (cube-attention.ts): from scores to weights, and the sums of rows. */
import { type AttentionNames, type AttentionShape, forTiles } from './attention-shape.js';
import { factor } from './size.js';
import { method } from './tile.js';

/** Numbers of each row, in one buffer. */
export const numbers = ['greatest', 'weight', 'factor0', 'factor1', 'part', 'latest'] as const;

function numberTensors(...names: readonly (typeof numbers)[number][]): string[] {
  return names.map(
    (name) =>
      `LocalTensor<float> ${name} = numbersBuffer_.GetWithOffset<float>(kRows, ${numbers.indexOf(name)} * kRows * sizeof(float));`,
  );
}

/** The factor of a slot; the offset is computed, since the slot is known at run time only. */
const slotFactor = `LocalTensor<float> factors = numbersBuffer_.GetWithOffset<float>(kRows, (${numbers.indexOf('factor0')} + slot) * kRows * sizeof(float));`;

const strides = (...values: readonly (string | number)[]): string =>
  `BinaryRepeatParams(${values.join(', ')})`;

export function vectorMethods(shape: AttentionShape, names: AttentionNames): string[] {
  const { causal, window } = shape;
  const { type, tokens } = names;
  return [
    method(
      'ProcessVector()',
      forTiles(shape, names, 'GetBlockIdx() / 2', [
        'const uint32_t share = CeilDiv(m, 2);',
        'const uint32_t first = GetSubBlockIdx() * share;',
        'const uint32_t rows = first < m ? Minimum(share, m - first) : 0;',
        'Start();',
        'for (uint32_t key = begin; key < end; key += kKeys) {',
        '    const uint32_t count = Minimum(kKeys, end - key);',
        causal
          ? '    Weigh(first, rows, count, tiles_ % kSlots, seen + first - 1 - key);'
          : '    Weigh(first, rows, count, tiles_ % kSlots);',
        '    if (key > begin) AddSums(first, rows, (tiles_ + 1) % kSlots);',
        '    ++tiles_;',
        '}',
        'if (begin < end) AddSums(first, rows, (tiles_ + 1) % kSlots);',
        `if (rows > 0) CopyRows((static_cast<uint64_t>(batch) * ${factor(tokens)} + token + first) * kHeads + head, rows);`,
      ]),
    ),
    method('Start()', [
      ...numberTensors('greatest', 'weight'),
      'PipeBarrier<PIPE_V>();',
      'Duplicate(greatest, kHidden, kRows);',
      'Duplicate(weight, 0.0f, kRows);',
      'Duplicate(totalBuffer_.Get<float>(), 0.0f, kRows * kValuePitch);',
      'PipeBarrier<PIPE_V>();',
    ]),
    ...(causal
      ? ['// Scores become weights; the first row sees columns up to `limit`, each further row one more.']
      : ['// Scores become weights.']),
    method(
      `Weigh(uint32_t first, uint32_t rows, uint32_t count, uint32_t slot${causal ? ', int64_t limit' : ''})`,
      [
        'CrossCoreWaitFlag<2, PIPE_MTE2>(kScoresReady);',
        'if (rows > 0) {',
        '    const uint32_t pitch = Align16(count);',
        '    const uint32_t at = (GetBlockIdx() / 2 * kSlots + slot) * kQueries * kKeys + first * pitch;',
        '    LocalTensor<float> scores = scoresQueue_.AllocTensor<float>();',
        '    Load(scores, scoresGm_[at], rows * pitch);',
        '    scoresQueue_.EnQue(scores);',
        '    scores = scoresQueue_.DeQue<float>();',
        '    Muls(scores, scores, kScale, rows * pitch);',
        '    PipeBarrier<PIPE_V>();',
        ...(causal ? [`    if (${isMasked(window)}) Hide(scores, rows, count, limit);`] : []),
        '    Soften(scores, rows, count, slot);',
        `    LocalTensor<${type}> weights = outQueue_.AllocTensor<${type}>();`,
        '    Cast(weights, scores, RoundMode::CAST_RINT, rows * pitch);',
        '    scoresQueue_.FreeTensor(scores);',
        '    outQueue_.EnQue(weights);',
        `    weights = outQueue_.DeQue<${type}>();`,
        '    Store(weightsGm_[at], weights, rows * pitch);',
        '    outQueue_.FreeTensor(weights);',
        '}',
        'CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);',
      ],
    ),
    ...(causal ? [hideMethod(window)] : []),
    '// exp(scores - greatest), with the greatest score and the sum of each row so far; what earlier sums are multiplied by.',
    method('Soften(const LocalTensor<float>& scores, uint32_t rows, uint32_t count, uint32_t slot)', [
      ...numberTensors('greatest', 'weight', 'part', 'latest'),
      slotFactor,
      'LocalTensor<float> spread = spreadBuffer_.Get<float>();',
      'const uint32_t step = Align16(count) / 8;',
      'for (uint32_t column = 0; column < count; column += 64) {',
      '    WholeReduceMax(part, scores[column], Minimum(64, count - column), rows, 1, 1, step, ReduceOrder::ORDER_ONLY_VALUE);',
      '    PipeBarrier<PIPE_V>();',
      '    if (column == 0) Max(latest, greatest, part, rows);',
      '    if (column > 0) Max(latest, latest, part, rows);',
      '    PipeBarrier<PIPE_V>();',
      '}',
      'Sub(factors, greatest, latest, rows);',
      'Brcb(spread, latest, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));',
      'PipeBarrier<PIPE_V>();',
      'Exp(factors, factors, rows);',
      'Adds(greatest, latest, 0.0f, rows);',
      'for (uint32_t column = 0; column < count; column += 64)',
      `    Sub(scores[column], scores[column], spread, Minimum(64, count - column), rows, ${strides(1, 1, 0, 'step', 'step', 1)});`,
      'PipeBarrier<PIPE_V>();',
      'Mul(weight, weight, factors, rows);',
      'Exp(scores, scores, rows * Align16(count));',
      'PipeBarrier<PIPE_V>();',
      'for (uint32_t column = 0; column < count; column += 64) {',
      '    WholeReduceSum(part, scores[column], Minimum(64, count - column), rows, 1, 1, step);',
      '    PipeBarrier<PIPE_V>();',
      '    Add(weight, weight, part, rows);',
      '    PipeBarrier<PIPE_V>();',
      '}',
    ]),
    '// total = total * factor + sums',
    method('AddSums(uint32_t first, uint32_t rows, uint32_t slot)', [
      'CrossCoreWaitFlag<2, PIPE_MTE2>(kSumsReady);',
      'if (rows > 0) {',
      '    LocalTensor<float> total = totalBuffer_.Get<float>();',
      `    ${slotFactor}`,
      '    const uint32_t at = ((GetBlockIdx() / 2 * kSlots + slot) * kQueries + first) * kValuePitch;',
      '    LocalTensor<float> sums = sumsQueue_.AllocTensor<float>();',
      '    Load(sums, sumsGm_[at], rows * kValuePitch);',
      '    sumsQueue_.EnQue(sums);',
      '    ScaleRows(total, factors, rows);',
      '    sums = sumsQueue_.DeQue<float>();',
      '    Add(total, total, sums, rows * kValuePitch);',
      '    sumsQueue_.FreeTensor(sums);',
      '}',
    ]),
    method('ScaleRows(const LocalTensor<float>& total, const LocalTensor<float>& factors, uint32_t rows)', [
      'LocalTensor<float> spread = spreadBuffer_.Get<float>();',
      'Brcb(spread, factors, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));',
      'PipeBarrier<PIPE_V>();',
      'for (uint32_t column = 0; column < kValuePitch; column += 64)',
      `    Mul(total[column], total[column], spread, Minimum(64, kValuePitch - column), rows, ${strides(1, 1, 0, 'kValuePitch / 8', 'kValuePitch / 8', 1)});`,
      'PipeBarrier<PIPE_V>();',
    ]),
    method('CopyRows(uint64_t row, uint32_t rows)', [
      ...numberTensors('greatest', 'weight', 'part'),
      'LocalTensor<float> total = totalBuffer_.Get<float>();',
      '// A row that sees no keys has no weights: what was added up for hidden ones is dropped.',
      'Adds(part, greatest, -0.5f * kHidden, rows);',
      'PipeBarrier<PIPE_V>();',
      'Maxs(part, part, 0.0f, rows);',
      'Maxs(weight, weight, 1e-30f, rows);',
      'PipeBarrier<PIPE_V>();',
      'Mins(part, part, 1.0f, rows);',
      'PipeBarrier<PIPE_V>();',
      'Div(part, part, weight, rows);',
      'PipeBarrier<PIPE_V>();',
      'ScaleRows(total, part, rows);',
      `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
      'Cast(result, total, RoundMode::CAST_RINT, rows * kValuePitch);',
      'outQueue_.EnQue(result);',
      `result = outQueue_.DeQue<${type}>();`,
      'StoreRows(out0Gm_[row * kValues], result, rows, kValues, (kHeads - 1) * kValues);',
      'outQueue_.FreeTensor(result);',
    ]),
  ];
}

/** Whether any row of the tile does not see all of it: the first row sees the fewest keys, and the last loses the most. */
const isMasked = (window: number): string =>
  window > 0 ? `limit + 1 < count || limit + rows > ${window}` : 'limit + 1 < count';

/** Adds a large negative number for each column that a row is away from those that it sees. */
function hideMethod(window: number): string {
  const add = [
    '    PipeBarrier<PIPE_V>();',
    '    Mins(mask, mask, 0.0f, lanes, rows, UnaryRepeatParams(1, 1, 8, 8));',
    '    PipeBarrier<PIPE_V>();',
    '    Muls(mask, mask, -kHidden, lanes, rows, UnaryRepeatParams(1, 1, 8, 8));',
    '    PipeBarrier<PIPE_V>();',
    `    Add(scores[column], scores[column], mask, lanes, rows, ${strides(1, 1, 1, 'step', 'step', 8)});`,
    '    PipeBarrier<PIPE_V>();',
  ];
  return method('Hide(const LocalTensor<float>& scores, uint32_t rows, uint32_t count, int64_t limit)', [
    ...numberTensors('latest'),
    'LocalTensor<float> spread = spreadBuffer_.Get<float>();',
    'LocalTensor<float> mask = maskBuffer_.Get<float>();',
    'LocalTensor<float> columns = columnsBuffer_.Get<float>();',
    'const uint32_t step = Align16(count) / 8;',
    'CreateVecIndex(latest, static_cast<float>(limit), rows);',
    'PipeBarrier<PIPE_V>();',
    'Brcb(spread, latest, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));',
    'PipeBarrier<PIPE_V>();',
    'for (uint32_t column = 0; column < count; column += 64) {',
    '    const uint32_t lanes = Minimum(64, count - column);',
    `    Sub(mask, spread, columns[column], lanes, rows, ${strides(1, 0, 1, 8, 1, 0)});`,
    ...add,
    ...(window > 0
      ? [
          `    Sub(mask, columns[column], spread, lanes, rows, ${strides(1, 1, 0, 8, 0, 1)});`,
          '    PipeBarrier<PIPE_V>();',
          `    Adds(mask, mask, ${window - 1}.0f, lanes, rows, UnaryRepeatParams(1, 1, 8, 8));`,
          ...add,
        ]
      : []),
    '}',
  ]);
}

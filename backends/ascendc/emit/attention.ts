/**
 * Attention on the vector cores: one query row of one head at a time, over tiles of keys, with a running maximum and sum
 * (online softmax, Milakov and Gimelshein 2018). Scores of a tile are products of whole rows, summed by repeat; values
 * are weighted by broadcast scores and added in halves. Each key and value is read once for every query row, so this is
 * the form for decoding, where that is the least.
 */
import { productOfDims } from '../../../ir/dim.js';
import type { DType } from '../../../ir/type.js';
import { attentionShape, visible } from './attention-shape.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor, product, sum } from './size.js';
import { coordinates, elementBytes, method } from './tile.js';

const mostKeys = 64;
const lanes = 64;

/** Elements of a row in the unified buffer, where rows begin at multiples of 32 bytes. */
const pitchOf = (width: number, dtype: DType): number => {
  const perBlock = 32 / elementBytes(dtype);
  return Math.ceil(width / perBlock) * perBlock;
};

/** Statements for every 64 lanes of a row. */
function overLanes(width: number, statement: (first: number, mask: number) => string): string[] {
  return Array.from({ length: Math.ceil(width / lanes) }, (_, i) =>
    statement(i * lanes, Math.min(lanes, width - i * lanes)),
  );
}

export function emitAttention(context: KernelContext): KernelBody {
  const { chip } = context;
  const shape = attentionShape(context);
  const { q, k, v, dtype, causal, window, width, valueWidth } = shape;
  const type = elementType[dtype];
  const lead = q.type.shape.slice(0, -1);
  const { names, lines } = coordinates(context, lead, 'row', 'i');
  const [batch, token, head] = [names.slice(0, -2), names.at(-2) as string, names.at(-1) as string];
  const [heads, kv, length] = [shape.heads, shape.kvHeads, shape.keys].map(context.size) as [
    string,
    string,
    string,
  ];
  const [pitch, valuePitch] = [pitchOf(width, dtype), pitchOf(valueWidth, dtype)];
  const perKey = (pitch + valuePitch) * (2 * elementBytes(dtype) + 4);
  const keys = Math.max(8, Math.min(mostKeys, Math.floor((chip.unifiedBuffer - 16 * 1024) / perKey / 8) * 8));
  const isWide = dtype !== 'f32';
  const batchOffset = product([
    factor(
      sum(batch.map((at, i) => product([at, ...lead.slice(i + 1, -2).map((d) => factor(context.size(d)))]))),
    ),
    factor(length),
  ]);
  const rowOf = (own: number): string =>
    product([
      factor(
        sum([
          product([
            sum([batchOffset, 'key']).includes(' ') ? `(${sum([batchOffset, 'key'])})` : 'key',
            factor(kv),
          ]),
          'kvHead',
        ]),
      ),
      String(own),
    ]);
  const rows = productOfDims(lead);
  const last = `static_cast<int64_t>(${shape.position}) + ${token} + 1`;
  const [qGm, kGm, vGm] = [q, k, v].map((t) => `${context.pointer(t)}Gm_`) as [string, string, string];
  const widen = (target: string, source: string, count: string): string =>
    isWide
      ? `Cast(${target}, ${source}, RoundMode::CAST_NONE, ${count});`
      : `Adds(${target}, ${source}, 0.0f, ${count});`;
  const copyRows = (name: string, global: string, own: number): string[] => [
    `LocalTensor<${type}> ${name} = ${name}Queue_.AllocTensor<${type}>();`,
    `LoadRows(${name}, ${global}[${rowOf(own)}], count, ${own}, (${kv} - 1) * ${own});`,
    `${name}Queue_.EnQue(${name});`,
  ];
  const place = 'uint32_t row, uint32_t key, uint32_t kvHead, uint32_t count';
  return {
    type: 'AIV_ONLY',
    about: [`Query rows go round the cores; keys come in tiles of ${keys}.`],
    constants: [
      `constexpr uint32_t kKeys = ${keys};`,
      `constexpr uint32_t kPitch = ${pitch};  // elements of a key in the unified buffer`,
      `constexpr uint32_t kValuePitch = ${valuePitch};`,
      `constexpr float kScale = ${shape.scale};`,
    ],
    init: [
      `pipe_->InitBuffer(queryQueue_, 1, kPitch * sizeof(${type}));`,
      `pipe_->InitBuffer(keysQueue_, 2, kKeys * kPitch * sizeof(${type}));`,
      `pipe_->InitBuffer(valuesQueue_, 2, kKeys * kValuePitch * sizeof(${type}));`,
      `pipe_->InitBuffer(outQueue_, 2, kValuePitch * sizeof(${type}));`,
      'pipe_->InitBuffer(queryBuffer_, kPitch * sizeof(float));',
      'pipe_->InitBuffer(keysBuffer_, kKeys * kPitch * sizeof(float));',
      'pipe_->InitBuffer(valuesBuffer_, kKeys * kValuePitch * sizeof(float));',
      'pipe_->InitBuffer(scoresBuffer_, kKeys * sizeof(float));',
      `pipe_->InitBuffer(partBuffer_, ${width > lanes ? 'kKeys * sizeof(float)' : '32'});`,
      'pipe_->InitBuffer(spreadBuffer_, kKeys * 32);',
      'pipe_->InitBuffer(sumBuffer_, kValuePitch * sizeof(float));',
    ],
    members: [
      'TQue<TPosition::VECIN, 1> queryQueue_;',
      'TQue<TPosition::VECIN, 1> keysQueue_;',
      'TQue<TPosition::VECIN, 1> valuesQueue_;',
      'TQue<TPosition::VECOUT, 1> outQueue_;',
      ...['query', 'keys', 'values', 'scores', 'part', 'spread', 'sum'].map(
        (name) => `TBuf<TPosition::VECCALC> ${name}Buffer_;`,
      ),
      'float greatest_;',
      'float total_;',
    ],
    occupancy: { UB: perKey * keys + keys * 40 + pitch * 8 + valuePitch * 8 },
    blocks: rows,
    methods: [
      method('Process()', [
        `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
        ...lines.map((line) => `    ${line}`),
        `    const uint32_t kvHead = ${head} * ${factor(kv)} / ${factor(heads)};`,
        ...(causal
          ? [`    const int64_t seen = ${last};`, `    const uint32_t end = ${visible('seen', length)};`]
          : [`    const uint32_t end = ${length};`]),
        window > 0
          ? `    const uint32_t begin = seen > ${window} ? Minimum(static_cast<uint32_t>(seen - ${window}), end) : 0;`
          : '    const uint32_t begin = 0;',
        '    Start(row);',
        '    for (uint32_t key = begin; key < end; key += kKeys) {',
        '        const uint32_t count = Minimum(kKeys, end - key);',
        '        CopyIn(row, key, kvHead, count);',
        '        Compute(count);',
        '    }',
        '    CopyOut(row);',
        '}',
      ]),
      'private:',
      method('Start(uint32_t row)', [
        `LocalTensor<${type}> query = queryQueue_.AllocTensor<${type}>();`,
        `Load(query, ${qGm}[row * ${width}], ${width});`,
        'queryQueue_.EnQue(query);',
        `query = queryQueue_.DeQue<${type}>();`,
        'PipeBarrier<PIPE_V>();',
        widen('queryBuffer_.Get<float>()', 'query', String(width)),
        'queryQueue_.FreeTensor(query);',
        'PipeBarrier<PIPE_V>();',
        `Muls(queryBuffer_.Get<float>(), queryBuffer_.Get<float>(), kScale, ${width});`,
        'Duplicate(sumBuffer_.Get<float>(), 0.0f, kValuePitch);',
        'PipeBarrier<PIPE_V>();',
        'greatest_ = -kInfinity;',
        'total_ = 0.0f;',
      ]),
      method(`CopyIn(${place})`, [
        ...lines,
        ...copyRows('keys', kGm, width),
        ...copyRows('values', vGm, valueWidth),
      ]),
      method('Compute(uint32_t count)', [
        'Score(count);',
        'const float factor = Weigh(count);',
        'AddValues(count, factor);',
      ]),
      '// scores[j] = query . keys[j]',
      method('Score(uint32_t count)', [
        'LocalTensor<float> query = queryBuffer_.Get<float>();',
        'LocalTensor<float> wide = keysBuffer_.Get<float>();',
        'LocalTensor<float> scores = scoresBuffer_.Get<float>();',
        ...(width > lanes ? ['LocalTensor<float> part = partBuffer_.Get<float>();'] : []),
        `LocalTensor<${type}> keys = keysQueue_.DeQue<${type}>();`,
        'PipeBarrier<PIPE_V>();',
        widen('wide', 'keys', 'count * kPitch'),
        'keysQueue_.FreeTensor(keys);',
        '// What lies behind the last key must not count.',
        'Duplicate(scores, -kInfinity, kKeys);',
        'PipeBarrier<PIPE_V>();',
        ...overLanes(
          width,
          (first, mask) =>
            `Mul(wide[${first}], wide[${first}], query[${first}], ${mask}, count, BinaryRepeatParams(1, 1, 1, kPitch / 8, kPitch / 8, 0));`,
        ),
        'PipeBarrier<PIPE_V>();',
        ...overLanes(width, (first, mask) =>
          first === 0
            ? `WholeReduceSum(scores, wide, ${mask}, count, 1, 1, kPitch / 8);`
            : [
                `WholeReduceSum(part, wide[${first}], ${mask}, count, 1, 1, kPitch / 8);`,
                'PipeBarrier<PIPE_V>();',
                'Add(scores, scores, part, count);',
                'PipeBarrier<PIPE_V>();',
              ].join('\n    '),
        ),
        'PipeBarrier<PIPE_V>();',
      ]),
      '// scores become exp(scores - greatest); returns what earlier sums are to be multiplied by.',
      method('Weigh(uint32_t count)', [
        'LocalTensor<float> scores = scoresBuffer_.Get<float>();',
        'LocalTensor<float> part = partBuffer_.Get<float>();',
        'ReduceMax(part, scores, part, count);',
        'WaitForVector();',
        'const float own = part.GetValue(0);',
        'const float greatest = own > greatest_ ? own : greatest_;',
        'WaitForScalar();',
        '// All scores so far are minus infinity: there is nothing to weigh.',
        'const float base = greatest == -kInfinity ? 0.0f : greatest;',
        'Duplicate(part, greatest_ - base, 8);',
        'Adds(scores, scores, -base, kKeys);',
        'PipeBarrier<PIPE_V>();',
        'Exp(scores, scores, kKeys);',
        'Exp(part, part, 8);',
        'WaitForVector();',
        'const float factor = part.GetValue(0);',
        'WaitForScalar();',
        'ReduceSum(part, scores, part, kKeys);',
        'WaitForVector();',
        'total_ = total_ * factor + part.GetValue(0);',
        'WaitForScalar();',
        'greatest_ = greatest;',
        'return factor;',
      ]).replace('inline void', 'inline float'),
      '// sum = sum * factor + scores . values',
      method('AddValues(uint32_t count, float factor)', [
        'LocalTensor<float> scores = scoresBuffer_.Get<float>();',
        'LocalTensor<float> spread = spreadBuffer_.Get<float>();',
        'LocalTensor<float> wide = valuesBuffer_.Get<float>();',
        'LocalTensor<float> sum = sumBuffer_.Get<float>();',
        `LocalTensor<${type}> values = valuesQueue_.DeQue<${type}>();`,
        'PipeBarrier<PIPE_V>();',
        widen('wide', 'values', 'count * kValuePitch'),
        'Brcb(spread, scores, CeilDiv(count, 8), BrcbRepeatParams(1, 8));',
        'Muls(sum, sum, factor, kValuePitch);',
        'valuesQueue_.FreeTensor(values);',
        'PipeBarrier<PIPE_V>();',
        ...overLanes(
          valueWidth,
          (first, mask) =>
            `Mul(wide[${first}], wide[${first}], spread, ${mask}, count, BinaryRepeatParams(1, 1, 0, kValuePitch / 8, kValuePitch / 8, 1));`,
        ),
        'for (uint32_t left = count; left > 1;) {',
        '    const uint32_t half = CeilDiv(left, 2);',
        '    PipeBarrier<PIPE_V>();',
        '    Add(wide, wide, wide[half * kValuePitch], (left - half) * kValuePitch);',
        '    left = half;',
        '}',
        'PipeBarrier<PIPE_V>();',
        `Add(sum, sum, wide, ${valueWidth});`,
        'PipeBarrier<PIPE_V>();',
      ]),
      method('CopyOut(uint32_t row)', [
        'LocalTensor<float> sum = sumBuffer_.Get<float>();',
        `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
        `Muls(sum, sum, total_ == 0.0f ? 0.0f : 1.0f / total_, ${valueWidth});`,
        'PipeBarrier<PIPE_V>();',
        isWide
          ? `Cast(result, sum, RoundMode::${chip.layout === 'fused' ? 'CAST_NONE' : 'CAST_RINT'}, ${valueWidth});`
          : `Adds(result, sum, 0.0f, ${valueWidth});`,
        'outQueue_.EnQue(result);',
        `result = outQueue_.DeQue<${type}>();`,
        `Store(out0Gm_[row * ${valueWidth}], result, ${valueWidth});`,
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

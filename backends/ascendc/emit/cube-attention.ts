/**
 * Attention of many queries, on cube and vector cores together: a cube core multiplies a tile of queries with a tile of
 * keys, its two vector cores turn the scores into weights with a running maximum and sum (online softmax, Milakov and
 * Gimelshein 2018), the cube core multiplies the weights with the values, and the vector cores add that to what they have
 * (Dao et al. 2022). The cores of a group meet in global memory, in two slots for each of the three kinds of tile, which
 * stay in L2. While the vector cores weigh one tile, the cube core scores the next and multiplies the last.
 *
 * Which slot may be written is known from the three flags alone: weights of a tile are ready only when its scores and the
 * sums of two tiles before have been read, and sums only when the weights have been.
 */
import { constantOf, dim, productOfDims } from '../../../ir/dim.js';
import {
  type AttentionNames,
  type AttentionShape,
  attentionShape,
  forTiles,
  namesOf,
} from './attention-shape.js';
import { numbers, vectorMethods } from './attention-weights.js';
import { cubeConstants, leftMethods, longestPitch, multiplyStatements, rightMethod } from './cube.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { factor } from './size.js';
import { elementBytes, method } from './tile.js';

interface Tiles {
  /** Queries of a tile, and keys. */
  readonly m: number;
  readonly n: number;
}

const lanes = 64;
const slots = 2;
const reserveBytes = 2048;
const extents = [128, 64, 32, 16];

const ceil16 = (value: number): number => Math.ceil(value / 16) * 16;

/** Bytes of the unified buffer: scores twice, weights, sums of a tile and of all, the mask, and numbers of rows. */
function vectorBytes({ m, n }: Tiles, values: number, isMasked: boolean): number {
  const rows = m / 2;
  return rows * (10 * n + 10 * values + 32 + (isMasked ? 4 * lanes : 0)) + 8 * 4 * Math.max(rows, 8) + 4 * n;
}

/** The largest tiles that fit, but not so large that cores have none; undefined where there are none. */
function chooseTiles(context: KernelContext, shape: AttentionShape): Tiles | undefined {
  const { chip } = context;
  const [width, values] = [ceil16(shape.width), ceil16(shape.valueWidth)];
  const queries = context.greatest(context.resolve(shape.tokens));
  const units = context.greatest(context.resolve(shape.groups));
  const keys = ceil16(context.greatest(context.resolve(shape.keys)));
  const perCore = Math.max(16, ceil16(Math.ceil((queries * units) / chip.cubeCores)));
  const bytes = elementBytes(shape.dtype);
  const candidates = extents
    .flatMap((m) => extents.map((n) => ({ m: Math.min(m, ceil16(queries), perCore), n: Math.min(n, keys) })))
    .filter(
      ({ m, n }) =>
        2 * m * Math.max(width, n) * bytes <= chip.l0a &&
        2 * n * Math.max(width, values) * bytes <= chip.l0b &&
        2 * m * Math.max(n, values) * 4 <= chip.l0c &&
        vectorBytes({ m, n }, values, shape.causal) <= chip.unifiedBuffer - reserveBytes,
    );
  return candidates.reduce<Tiles | undefined>(
    (best, tiles) => (best !== undefined && best.m * best.n >= tiles.m * tiles.n ? best : tiles),
    undefined,
  );
}

/** Undefined where the vector cores do better, or where the cube has no way: a single query, f32, rows that are too wide. */
export function emitCubeAttention(context: KernelContext): KernelBody | undefined {
  const shape = attentionShape(context);
  const { chip } = context;
  const isSingle = context.greatest(context.resolve(shape.tokens)) === 1;
  if (chip.layout !== 'split' || elementBytes(shape.dtype) !== 2 || isSingle) return undefined;
  const pitches = [shape.heads, shape.kvHeads].map((heads) => constantOf(context.resolve(heads)));
  const isWide = pitches.some(
    (heads) => heads === undefined || heads * Math.max(shape.width, shape.valueWidth) > longestPitch,
  );
  const tiles = isWide ? undefined : chooseTiles(context, shape);
  if (tiles === undefined) return undefined;
  const names = namesOf(context, shape);
  const { type } = names;
  const values = ceil16(shape.valueWidth);
  const wider = Math.max(ceil16(shape.width), values);
  const bytes = elementBytes(shape.dtype);
  const queryTiles = dim(Math.ceil(context.greatest(context.resolve(shape.tokens)) / tiles.m));
  const tileBytes = tiles.m * (tiles.n * (4 + bytes) + values * 4);
  return {
    type: 'MIX_AIC_1_2',
    about: [
      `Tiles of ${tiles.m} queries of one head go round the groups of cores, over tiles of ${tiles.n} keys.`,
      'The cube core multiplies, its two vector cores weigh the scores of half of the queries each.',
    ],
    constants: [
      `constexpr uint32_t kQueries = ${tiles.m};`,
      `constexpr uint32_t kKeys = ${tiles.n};`,
      `constexpr uint32_t kWidth = ${shape.width};`,
      `constexpr uint32_t kValues = ${shape.valueWidth};`,
      'constexpr uint32_t kValuePitch = Align16(kValues);',
      `constexpr uint32_t kHeads = ${names.heads};`,
      `constexpr uint32_t kKeyHeads = ${names.kvHeads};`,
      'constexpr uint32_t kRows = kQueries / 2;  // of a vector core',
      ...cubeConstants,
      `constexpr uint32_t kSlots = ${slots};  // tiles of a kind between a cube core and its vector cores`,
      `constexpr float kScale = ${names.scale};`,
      'constexpr float kHidden = -1e30f;  // below all scores, and far from what floats can hold',
      'constexpr uint16_t kScoresReady = 0;  // flags of a tile',
      'constexpr uint16_t kWeightsReady = 1;',
      'constexpr uint16_t kSumsReady = 2;',
    ],
    init: [
      'const uint32_t groups = GetBlockNum();',
      'const uint32_t scores = groups * kSlots * kQueries * kKeys;',
      'const uint32_t sums = groups * kSlots * kQueries * kValuePitch;',
      'scoresGm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scratch), scores);',
      'sumsGm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scratch) + scores, sums);',
      `weightsGm_.SetGlobalBuffer(reinterpret_cast<__gm__ ${type}*>(reinterpret_cast<__gm__ float*>(scratch) + scores + sums), scores);`,
      'if ASCEND_IS_AIC {',
      `    pipe_->InitBuffer(queryQueue_, 1, kQueries * Align16(kWidth) * sizeof(${type}));`,
      `    pipe_->InitBuffer(keysQueue_, 2, kKeys * Align16(kWidth) * sizeof(${type}));`,
      `    pipe_->InitBuffer(valuesQueue_, 2, kKeys * kValuePitch * sizeof(${type}));`,
      `    pipe_->InitBuffer(weightsQueue_, 2, kQueries * kKeys * sizeof(${type}));`,
      `    pipe_->InitBuffer(leftQueue_, 2, kQueries * ${Math.max(ceil16(shape.width), tiles.n)} * sizeof(${type}));`,
      `    pipe_->InitBuffer(rightQueue_, 2, kKeys * ${wider} * sizeof(${type}));`,
      `    pipe_->InitBuffer(productQueue_, 2, kQueries * ${Math.max(tiles.n, values)} * sizeof(float));`,
      '}',
      'if ASCEND_IS_AIV {',
      '    pipe_->InitBuffer(scoresQueue_, 2, kRows * kKeys * sizeof(float));',
      `    pipe_->InitBuffer(outQueue_, 1, kRows * ${Math.max(tiles.n, values)} * sizeof(${type}));`,
      '    pipe_->InitBuffer(sumsQueue_, 1, kRows * kValuePitch * sizeof(float));',
      '    pipe_->InitBuffer(totalBuffer_, kRows * kValuePitch * sizeof(float));',
      '    pipe_->InitBuffer(spreadBuffer_, kRows * 32);',
      `    pipe_->InitBuffer(numbersBuffer_, ${numbers.length} * kRows * sizeof(float));`,
      ...(shape.causal
        ? [
            '    pipe_->InitBuffer(maskBuffer_, kRows * 64 * sizeof(float));',
            '    pipe_->InitBuffer(columnsBuffer_, kKeys * sizeof(float));',
            '    CreateVecIndex(columnsBuffer_.Get<float>(), 0.0f, kKeys);',
          ]
        : []),
      '}',
    ],
    members: [
      'TQue<TPosition::A1, 1> queryQueue_;',
      'TQue<TPosition::B1, 1> keysQueue_;',
      'TQue<TPosition::B1, 1> valuesQueue_;',
      'TQue<TPosition::A1, 1> weightsQueue_;',
      'TQue<TPosition::A2, 1> leftQueue_;',
      'TQue<TPosition::B2, 1> rightQueue_;',
      'TQue<TPosition::CO1, 1> productQueue_;',
      'TQue<TPosition::VECIN, 1> scoresQueue_;',
      'TQue<TPosition::VECIN, 1> sumsQueue_;',
      'TQue<TPosition::VECOUT, 1> outQueue_;',
      ...['total', 'spread', 'numbers', ...(shape.causal ? ['mask', 'columns'] : [])].map(
        (name) => `TBuf<TPosition::VECCALC> ${name}Buffer_;`,
      ),
      'GlobalTensor<float> scoresGm_;',
      'GlobalTensor<float> sumsGm_;',
      `GlobalTensor<${type}> weightsGm_;`,
      'uint32_t tiles_;',
    ],
    occupancy: {
      UB: vectorBytes(tiles, values, shape.causal),
      L1:
        (tiles.m * (ceil16(shape.width) + 2 * tiles.n) + 2 * tiles.n * (ceil16(shape.width) + values)) *
        bytes,
      L0A: 2 * tiles.m * Math.max(ceil16(shape.width), tiles.n) * bytes,
      L0B: 2 * tiles.n * wider * bytes,
      L0C: 2 * tiles.m * Math.max(tiles.n, values) * 4,
    },
    scratchBytes: chip.cubeCores * slots * tileBytes,
    blocks: productOfDims([shape.groups, queryTiles]),
    methods: [
      method('Process()', ['if ASCEND_IS_AIC { ProcessCube(); }', 'if ASCEND_IS_AIV { ProcessVector(); }']),
      'private:',
      ...cubeMethods(shape, names),
      ...vectorMethods(shape, names),
    ],
  };
}

function cubeMethods(shape: AttentionShape, names: AttentionNames): string[] {
  const { type, queries, keys, values, tokens, length } = names;
  const tensor = (name: string): string => `const LocalTensor<${type}>& ${name}`;
  return [
    method(
      'ProcessCube()',
      forTiles(shape, names, 'GetBlockIdx()', [
        'const uint32_t keyHead = head * kKeyHeads / kHeads;',
        `LocalTensor<${type}> query = CopyQueries(batch, head, token, m);`,
        'if (begin < end) Score(query, batch, keyHead, m, begin, Minimum(kKeys, end - begin), tiles_ % kSlots);',
        'for (uint32_t key = begin; key < end; key += kKeys) {',
        '    const uint32_t next = key + kKeys;',
        '    if (next < end) Score(query, batch, keyHead, m, next, Minimum(kKeys, end - next), (tiles_ + 1) % kSlots);',
        '    MultiplyValues(batch, keyHead, m, key, Minimum(kKeys, end - key), tiles_ % kSlots);',
        '    ++tiles_;',
        '}',
        'queryQueue_.FreeTensor(query);',
      ]),
    ),
    method('CopyQueries(uint32_t batch, uint32_t head, uint32_t token, uint32_t m)', [
      `LocalTensor<${type}> query = queryQueue_.AllocTensor<${type}>();`,
      `const uint64_t row = (static_cast<uint64_t>(batch) * ${factor(tokens)} + token) * kHeads + head;`,
      `CopyLeft(query, ${queries}[row * kWidth], m, kWidth, kHeads * kWidth);`,
      'queryQueue_.EnQue(query);',
      `return queryQueue_.DeQue<${type}>();`,
    ]).replace('inline void', `inline LocalTensor<${type}>`),
    ...leftMethods(type),
    '// scores = query . keys',
    method(
      `Score(${tensor('query')}, uint32_t batch, uint32_t keyHead, uint32_t m, uint32_t key, uint32_t count, uint32_t slot)`,
      [
        `LocalTensor<${type}> keys = keysQueue_.AllocTensor<${type}>();`,
        `const uint64_t row = (static_cast<uint64_t>(batch) * ${factor(length)} + key) * kKeyHeads + keyHead;`,
        `DataCopy(keys, ${keys}[row * kWidth], Nd2NzParams(1, count, kWidth, 0, kKeyHeads * kWidth, Align16(count), 1, 0));`,
        'keysQueue_.EnQue(keys);',
        `keys = keysQueue_.DeQue<${type}>();`,
        `LocalTensor<${type}> right = rightQueue_.AllocTensor<${type}>();`,
        'LoadData2DParams load;',
        'load.repeatTimes = CeilDiv(kWidth, kC0) * (Align16(count) / 16);',
        'load.srcStride = 1;',
        'LoadData(right, keys, load);',
        'rightQueue_.EnQue(right);',
        'keysQueue_.FreeTensor(keys);',
        'LoadLeft(query, m, kWidth);',
        'Multiply(m, count, kWidth);',
        'CopyOut(scoresGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kKeys], m, Align16(count));',
        'CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);',
      ],
    ),
    '// sums = weights . values',
    method(
      'MultiplyValues(uint32_t batch, uint32_t keyHead, uint32_t m, uint32_t key, uint32_t count, uint32_t slot)',
      [
        `LocalTensor<${type}> values = valuesQueue_.AllocTensor<${type}>();`,
        `const uint64_t row = (static_cast<uint64_t>(batch) * ${factor(length)} + key) * kKeyHeads + keyHead;`,
        `DataCopy(values, ${values}[row * kValues], Nd2NzParams(1, count, kValues, 0, kKeyHeads * kValues, Align16(count), 1, 0));`,
        'valuesQueue_.EnQue(values);',
        `values = valuesQueue_.DeQue<${type}>();`,
        'LoadRight(values, count, kValues);',
        'valuesQueue_.FreeTensor(values);',
        'CrossCoreWaitFlag<2, PIPE_MTE2>(kWeightsReady);',
        `LocalTensor<${type}> weights = weightsQueue_.AllocTensor<${type}>();`,
        'CopyLeft(weights, weightsGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kKeys], m, count, Align16(count));',
        'weightsQueue_.EnQue(weights);',
        `weights = weightsQueue_.DeQue<${type}>();`,
        'LoadLeft(weights, m, count);',
        'weightsQueue_.FreeTensor(weights);',
        'Multiply(m, kValuePitch, count);',
        'CopyOut(sumsGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kValuePitch], m, kValuePitch);',
        'CrossCoreSetFlag<2, PIPE_FIX>(kSumsReady);',
      ],
    ),
    ...rightMethod(type),
    method('Multiply(uint32_t m, uint32_t n, uint32_t depth)', [
      'LocalTensor<float> sums = productQueue_.AllocTensor<float>();',
      ...multiplyStatements(type, 'true'),
      'productQueue_.EnQue(sums);',
    ]),
    method('CopyOut(const GlobalTensor<float>& to, uint32_t m, uint32_t n)', [
      'LocalTensor<float> sums = productQueue_.DeQue<float>();',
      'FixpipeParamsV220 out;',
      'out.nSize = n;',
      'out.mSize = m;',
      'out.srcStride = Align16(m);',
      'out.dstStride = n;',
      'out.quantPre = NoQuant;',
      'Fixpipe<float, float, CFG_ROW_MAJOR>(to, sums, out);',
      'productQueue_.FreeTensor(sums);',
    ]),
  ];
}

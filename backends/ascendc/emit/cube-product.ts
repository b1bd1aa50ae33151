/**
 * Products of two computed matrices on the cube: tiles of the result go round the cube cores; of both factors a part of
 * the inner axis at a time is in L1 and L0, and the sums are in L0C.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Value } from '../../../ir/module.js';
import {
  cubeConstants,
  fixpipeModes,
  leftMethods,
  longestPitch,
  multiplyStatements,
  rightMethod,
} from './cube.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { canLeaveCube, chooseTiling } from './matmul.js';
import { elementType, factor, product, sum } from './size.js';
import { coordinates, elementBytes, method } from './tile.js';

/** Undefined where the cube has no way: other types than those of 16 bits, views, rows that are too long. */
export function emitCubeProduct(context: KernelContext): KernelBody | undefined {
  const { root, func, chip } = context;
  const [a, b] = root.operands as [Value, Value];
  const { shape } = (root.results[0] as Value).type;
  const isPlain = [a, b].every((v) => func.args.includes(v) && v.type.shape.length > 1);
  const bytes = elementBytes(a.type.dtype);
  if (chip.layout !== 'split' || bytes !== 2 || a.type.dtype !== b.type.dtype || !isPlain) return undefined;
  const [rows, columns] = shape.slice(-2) as [Dim, Dim];
  const inner = a.type.shape.at(-1) as Dim;
  const most = (d: Dim): number => context.greatest(context.resolve(d));
  if (!canLeaveCube(func) || Math.max(most(inner), most(columns)) > longestPitch) return undefined;

  const batch = shape.slice(0, -2);
  const cores = Math.max(1, Math.floor(chip.cubeCores / most(productOfDims(batch))));
  const tiling = chooseTiling(most(rows), most(columns), most(inner), bytes, cores);
  const depth = Math.min(128, tiling.k);
  const [type, m, n, k] = [elementType[a.type.dtype], ...[rows, columns, inner].map(context.size)] as [
    string,
    string,
    string,
    string,
  ];
  const outType = elementType[(func.results[0] as Value).type.dtype];
  const { names, lines } = coordinates(context, batch, 'matrix', 'i');
  const [left, right] = [a, b].map((v) => matrixOf(context, v, names)) as [string, string];
  const tiles = dim(Math.ceil(most(rows) / tiling.m) * Math.ceil(most(columns) / tiling.n));
  return {
    type: 'AIC_ONLY',
    about: [`Tiles of ${tiling.m} x ${tiling.n}, with ${depth} of the inner axis at a time.`],
    constants: [
      `constexpr uint32_t kTileM = ${tiling.m};`,
      `constexpr uint32_t kTileN = ${tiling.n};`,
      `constexpr uint32_t kDepth = ${depth};`,
      ...cubeConstants,
    ],
    init: [
      `pipe_->InitBuffer(rowsQueue_, 2, kTileM * kDepth * sizeof(${type}));`,
      `pipe_->InitBuffer(columnsQueue_, 2, kDepth * kTileN * sizeof(${type}));`,
      `pipe_->InitBuffer(leftQueue_, 2, kTileM * kDepth * sizeof(${type}));`,
      `pipe_->InitBuffer(rightQueue_, 2, kDepth * kTileN * sizeof(${type}));`,
      'pipe_->InitBuffer(sumQueue_, 2, kTileM * kTileN * sizeof(float));',
    ],
    members: [
      'TQue<TPosition::A1, 1> rowsQueue_;',
      'TQue<TPosition::B1, 1> columnsQueue_;',
      'TQue<TPosition::A2, 1> leftQueue_;',
      'TQue<TPosition::B2, 1> rightQueue_;',
      'TQue<TPosition::CO1, 1> sumQueue_;',
    ],
    occupancy: {
      L1: 2 * (tiling.m + tiling.n) * depth * bytes,
      L0A: 2 * tiling.m * depth * bytes,
      L0B: 2 * tiling.n * depth * bytes,
      L0C: 2 * tiling.m * tiling.n * 4,
    },
    blocks: productOfDims([...batch, tiles]),
    methods: [
      method('Process()', [
        `const uint32_t rowTiles = CeilDiv(${m}, kTileM);`,
        `const uint32_t tiles = rowTiles * CeilDiv(${n}, kTileN);`,
        `for (uint32_t unit = GetBlockIdx(); unit < ${product([factor(context.size(productOfDims(batch))), 'tiles'])}; unit += GetBlockNum()) {`,
        '    const uint32_t matrix = unit / tiles;',
        ...lines.map((line) => `    ${line}`),
        '    const uint32_t row = unit % tiles % rowTiles * kTileM;',
        '    const uint32_t column = unit % tiles / rowTiles * kTileN;',
        `    const uint32_t m = Minimum(kTileM, ${m} - row);`,
        `    const uint32_t n = Minimum(kTileN, ${n} - column);`,
        `    Multiply(${elementAt(left, m, 'row', k)}, ${sum([product([right, factor(k), factor(n)]), 'column'])}, m, n);`,
        `    CopyOut(${sum([elementAt(batch.length === 0 ? '0' : 'matrix', m, 'row', n), 'column'])}, m, n);`,
        '}',
      ]),
      'private:',
      method('Multiply(uint64_t leftAt, uint64_t rightAt, uint32_t m, uint32_t n)', [
        'LocalTensor<float> sums = sumQueue_.AllocTensor<float>();',
        `for (uint32_t k = 0; k < ${k}; k += kDepth) MultiplyStep(sums, leftAt, rightAt, m, n, k, Minimum(kDepth, ${k} - k));`,
        'sumQueue_.EnQue(sums);',
      ]),
      method(
        'MultiplyStep(const LocalTensor<float>& sums, uint64_t leftAt, uint64_t rightAt, uint32_t m, uint32_t n, uint32_t k, uint32_t depth)',
        [
          `LocalTensor<${type}> rows = rowsQueue_.AllocTensor<${type}>();`,
          `CopyLeft(rows, ${context.pointer(a)}Gm_[leftAt + k], m, depth, ${k});`,
          'rowsQueue_.EnQue(rows);',
          `LocalTensor<${type}> columns = columnsQueue_.AllocTensor<${type}>();`,
          `DataCopy(columns, ${context.pointer(b)}Gm_[rightAt + static_cast<uint64_t>(k) * ${factor(n)}], Nd2NzParams(1, depth, n, 0, ${n}, Align16(depth), 1, 0));`,
          'columnsQueue_.EnQue(columns);',
          `rows = rowsQueue_.DeQue<${type}>();`,
          'LoadLeft(rows, m, depth);',
          'rowsQueue_.FreeTensor(rows);',
          `columns = columnsQueue_.DeQue<${type}>();`,
          'LoadRight(columns, depth, n);',
          'columnsQueue_.FreeTensor(columns);',
          '// Larger products follow each other in order by themselves.',
          'if (Align16(m) / 16 * (Align16(n) / 16) < 10) PipeBarrier<PIPE_M>();',
          ...multiplyStatements(type, 'k == 0'),
        ],
      ),
      ...leftMethods(type),
      ...rightMethod(type),
      method('CopyOut(uint64_t at, uint32_t m, uint32_t n)', [
        'LocalTensor<float> sums = sumQueue_.DeQue<float>();',
        'FixpipeParamsV220 out;',
        'out.nSize = n;',
        'out.mSize = m;',
        'out.srcStride = Align16(m);',
        `out.dstStride = ${n};`,
        `out.quantPre = ${fixpipeModes[outType]};`,
        `Fixpipe<${outType}, float, CFG_ROW_MAJOR>(out0Gm_[at], sums, out);`,
        'sumQueue_.FreeTensor(sums);',
      ]),
    ],
  };
}

/** Where a row of a matrix begins. */
const elementAt = (matrix: string, rows: string, row: string, pitch: string): string =>
  product([factor(sum([product([matrix, factor(rows)]), `static_cast<uint64_t>(${row})`])), factor(pitch)]);

/** Which matrix of an operand belongs to one of the result, whose leading axes broadcast. */
function matrixOf(context: KernelContext, operand: Value, names: readonly string[]): string {
  const lead = operand.type.shape.slice(0, -2);
  const own = names.slice(names.length - lead.length);
  const terms = lead.map((d, i) =>
    constantOf(d) === 1
      ? '0'
      : product([own[i] as string, ...lead.slice(i + 1).map((other) => factor(context.size(other)))]),
  );
  const text = sum(terms);
  return text === '0' ? text : `static_cast<uint64_t>(${text})`;
}

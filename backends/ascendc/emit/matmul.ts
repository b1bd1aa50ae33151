/**
 * linear, grouped_linear and quantized_linear. Cube cores multiply tiles: rows of x and rows of the weight go to L1 in fractals, from there
 * in steps of K to L0A and L0B, and are summed in f32 in L0C. A bare product leaves through Fixpipe. With a bias or an
 * epilogue, each cube core leaves its tiles in a ring in global memory (which stays in L2), and the two vector cores
 * beside it take them from there; flags say which slots are ready and which are done.
 *
 * A row is padded to fractals of 16; of a single row two are multiplied, because with m = 1 the unit reads plain rows.
 */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import type { Func, Op, Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { fixpipeModes } from './cube.js';
import { mul, spread, vector } from './elementwise.js';
import { Expressions, type Index, type Leaf, origin } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor } from './size.js';
import {
  copyAllIn,
  elementBytes,
  method,
  narrowInto,
  planned,
  readScalar,
  rowCoordinates,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import type { Register } from './vector-program.js';

const ceilTo = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

export interface Tiling {
  readonly m: number;
  readonly n: number;
  /** Elements of K in L1 and in L0 at a time. */
  readonly k: number;
  readonly kStep: number;
}

const longestM = 128;
const longestN = 128;
const longestK = 256;
/** Bytes of one row of a tile in L0: 64 rows of these fill a quarter of it. */
const stepBytes = 128;

/** Tiles as large as the buffers take, but not so large that cores have none. */
export function chooseTiling(
  rows: number,
  columns: number,
  depth: number,
  bytes: number,
  cores: number,
): Tiling {
  const m = Math.min(longestM, ceilTo(rows, 16));
  const rowTiles = Math.ceil(rows / m);
  const perCore = ceilTo(Math.ceil((columns * rowTiles) / cores), 16);
  const kStep = stepBytes / bytes;
  return {
    m,
    n: Math.min(longestN, ceilTo(columns, 16), Math.max(16, perCore)),
    k: Math.min(longestK, ceilTo(depth, kStep)),
    kStep,
  };
}

/** Slots of the ring between a cube core and its vector cores. */
const ringSlots = 4;

export interface Product {
  readonly x: Value;
  readonly weight: Value;
  readonly bias: Value | undefined;
  /** Which of several weights a row uses. */
  readonly index: Value | undefined;
  /** Of rows and columns, where the factors are integers. */
  readonly scales?: { readonly x: Value; readonly weight: Value };
  /** Rows of the product, and how many of them read one row of x. */
  readonly rows: Dim;
  readonly slots: string;
}

export function productOf(root: Op): Product {
  if (root.name === 'grouped_linear') {
    const [x, index, weight] = root.operands as [Value, Value, Value];
    const rows = productOfDims(index.type.shape);
    return { x, weight, bias: undefined, index, rows, slots: x.type.shape.length === 3 ? '1' : '' };
  }
  const rowsOf = (x: Value): Dim => productOfDims(x.type.shape.slice(0, -1));
  if (root.name === 'quantized_linear') {
    const [x, weight, ofX, ofWeight, bias] = root.operands as [Value, Value, Value, Value, Value?];
    const scales = { x: ofX, weight: ofWeight };
    return { x, weight, bias, index: undefined, rows: rowsOf(x), slots: '1', scales };
  }
  const [x, weight, bias] = root.operands as [Value, Value, Value?];
  return { x, weight, bias, index: undefined, rows: rowsOf(x), slots: '1' };
}

export function emitMatmul(context: KernelContext): KernelBody {
  const { root, func, chip } = context;
  const productShape = productOf(root);
  const { x, weight, bias, index, rows, scales } = productShape;
  const [outputs, inner] = weight.type.shape.slice(-2) as [Dim, Dim];
  const [n, k] = [outputs, inner].map((d) => constantOf(context.resolve(d)) as number) as [number, number];
  const grouped = index !== undefined;
  const type = elementType[x.type.dtype];
  const bytes = elementBytes(x.type.dtype);
  const sumType = scales === undefined ? 'float' : 'int32_t';
  const mostRows = grouped ? 1 : context.greatest(context.resolve(rows));
  const units = grouped ? context.greatest(context.resolve(rows)) : 1;
  const tiling = chooseTiling(mostRows, n, k, bytes, Math.max(1, Math.floor(chip.cubeCores / units)));
  const isBare = bias === undefined && scales === undefined && canLeaveCube(func);
  const rowsText = context.size(rows);
  const slots = grouped ? (x.type.shape.length === 3 ? '1' : context.size(index.type.shape[1] as Dim)) : '1';
  const cube = cubeMethods(context, { x, weight, index }, type, sumType, slots, isBare);
  const constants = [
    `constexpr uint32_t kN = ${n};`,
    `constexpr uint32_t kK = ${k};`,
    `constexpr uint32_t kTileM = ${tiling.m};`,
    `constexpr uint32_t kTileN = ${tiling.n};`,
    `constexpr uint32_t kTileK = ${tiling.k};  // in L1`,
    `constexpr uint32_t kStepK = ${tiling.kStep};  // in L0`,
    `constexpr uint32_t kC0 = ${32 / bytes};  // elements of one row of a fractal`,
  ];
  const cubeBuffers = [
    `pipe_->InitBuffer(leftQueue_, 2, kTileM * kTileK * sizeof(${type}));`,
    `pipe_->InitBuffer(rightQueue_, 2, kTileN * kTileK * sizeof(${type}));`,
    `pipe_->InitBuffer(leftStepQueue_, 2, kTileM * kStepK * sizeof(${type}));`,
    `pipe_->InitBuffer(rightStepQueue_, 2, kTileN * kStepK * sizeof(${type}));`,
    `pipe_->InitBuffer(sumQueue_, 1, kTileM * kTileN * sizeof(${sumType}));`,
  ];
  const cubeMembers = [
    'TQue<TPosition::A1, 1> leftQueue_;',
    'TQue<TPosition::B1, 1> rightQueue_;',
    'TQue<TPosition::A2, 1> leftStepQueue_;',
    'TQue<TPosition::B2, 1> rightStepQueue_;',
    'TQue<TPosition::CO1, 1> sumQueue_;',
  ];
  const occupancy = {
    L1: 2 * (tiling.m + tiling.n) * tiling.k * bytes,
    L0A: 2 * tiling.m * tiling.kStep * bytes,
    L0B: 2 * tiling.n * tiling.kStep * bytes,
    L0C: tiling.m * tiling.n * 4,
  };
  const about = [
    `Tiles of ${tiling.m} x ${tiling.n}, K in steps of ${tiling.k} through L1 and ${tiling.kStep} through L0.`,
  ];
  const blocks = productOfDims([
    grouped ? rows : dim(Math.ceil(mostRows / tiling.m)),
    dim(Math.ceil(n / tiling.n)),
  ]);
  if (isBare) {
    return {
      type: 'AIC_ONLY',
      about,
      constants,
      init: cubeBuffers,
      members: cubeMembers,
      occupancy,
      blocks,
      methods: [
        process(grouped, rowsText, ['Multiply(row, column, m, n);', 'CopyOut(row, column, m, n);']),
        'private:',
        ...cube,
      ],
    };
  }
  const epilogue = epilogueOf(context, productShape);
  const vector = vectorMethods(context, epilogue, sumType);
  return {
    type: 'MIX_AIC_1_2',
    about: [...about, 'Two vector cores finish the tiles of each cube core.'],
    constants: [
      ...constants,
      '// Columns of a row of the tile, and room for comparisons behind them.',
      'constexpr uint32_t kTile = WholeRepeats(kTileN);',
      ...epilogue.buffers.constants.filter((line) => !line.startsWith('constexpr uint32_t kTile =')),
      `constexpr uint32_t kRing = ${ringSlots};  // tiles between a cube core and its vector cores`,
      'constexpr uint16_t kReady = 0;  // flags of a slot of the ring',
      'constexpr uint16_t kDone = 1;',
    ],
    init: [
      `productGm_.SetGlobalBuffer(reinterpret_cast<__gm__ ${sumType}*>(scratch), kRing * kTileM * kTileN * GetBlockNum());`,
      'if ASCEND_IS_AIC {',
      ...cubeBuffers.map((line) => `    ${line}`),
      '}',
      'if ASCEND_IS_AIV {',
      ...epilogue.buffers.init.map((line) => `    ${line}`),
      '}',
    ],
    members: [...cubeMembers, ...epilogue.buffers.members, `GlobalTensor<${sumType}> productGm_;`],
    occupancy: { ...occupancy, UB: epilogue.buffers.occupancy },
    scratchBytes: chip.cubeCores * ringSlots * tiling.m * tiling.n * 4,
    blocks,
    methods: [
      method('Process()', ['if ASCEND_IS_AIC { ProcessCube(); }', 'if ASCEND_IS_AIV { ProcessVector(); }']),
      'private:',
      process(
        grouped,
        rowsText,
        [
          'if (tiles >= kRing) CrossCoreWaitFlag<2, PIPE_FIX>(kDone);',
          'Multiply(row, column, m, n);',
          'CopyToRing(tiles % kRing, m, n);',
          'CrossCoreSetFlag<2, PIPE_FIX>(kReady);',
          '++tiles;',
        ],
        'ProcessCube',
        ['uint32_t tiles = 0;'],
        ['for (uint32_t i = 0; i < Minimum(tiles, kRing); ++i) CrossCoreWaitFlag<2, PIPE_FIX>(kDone);'],
      ),
      process(
        grouped,
        rowsText,
        [
          'CrossCoreWaitFlag<2>(kReady);',
          'const uint32_t half = CeilDiv(m, 2);',
          'const uint32_t first = GetSubBlockIdx() * half;',
          'for (uint32_t i = first; i < Minimum(first + half, m); ++i) {',
          '    const uint32_t slot = (GetBlockIdx() / 2 * kRing + tiles % kRing) * kTileM * kTileN;',
          '    CopyIn(row + i, column, n, slot + i * kTileN);',
          '    Compute(row + i, column, n);',
          '    CopyOut(row + i, column, n);',
          '}',
          'CrossCoreSetFlag<2, PIPE_MTE2>(kDone);',
          '++tiles;',
        ],
        'ProcessVector',
        ['uint32_t tiles = 0;'],
        [],
        'GetBlockIdx() / 2',
      ),
      ...cube,
      ...vector,
    ],
  };
}

/** Fixpipe writes sums as f32, f16 or bf16: of a product, or of a product and its conversion. */
export function canLeaveCube({ body, results }: Func): boolean {
  const [, cast] = body;
  const isProduct = body.length === 1 || (body.length === 2 && cast?.name === 'cast');
  const dtype = results[0]?.type.dtype;
  return isProduct && (dtype === 'f32' || dtype === 'f16' || dtype === 'bf16');
}

/** Walks the tiles of a block in the same order on all its cores. */
function process(
  grouped: boolean,
  rows: string,
  body: readonly string[],
  name = 'Process',
  before: readonly string[] = [],
  after: readonly string[] = [],
  block = 'GetBlockIdx()',
): string {
  return method(`${name}()`, [
    'constexpr uint32_t columnTiles = CeilDiv(kN, kTileN);',
    // A row that has a weight of its own is a tile of one row.
    `const uint32_t rowTiles = ${grouped ? rows : `CeilDiv(${rows}, kTileM)`};`,
    ...before,
    `for (uint32_t tile = ${block}; tile < rowTiles * columnTiles; tile += GetBlockNum()) {`,
    // Neighbouring tiles share columns, so that a weight is read once for all rows.
    `    const uint32_t row = tile % rowTiles${grouped ? '' : ' * kTileM'};`,
    '    const uint32_t column = tile / rowTiles * kTileN;',
    `    const uint32_t m = ${grouped ? '1' : `Minimum(kTileM, ${rows} - row)`};`,
    '    const uint32_t n = Minimum(kTileN, kN - column);',
    ...body.map((line) => `    ${line}`),
    '}',
    ...after,
  ]);
}

function cubeMethods(
  context: KernelContext,
  { x, weight, index }: Pick<Product, 'x' | 'weight' | 'index'>,
  type: string,
  sumType: string,
  slots: string,
  isBare: boolean,
): string[] {
  const [xGm, weightGm] = [x, weight].map((value) => `${context.pointer(value)}Gm_`) as [string, string];
  const expert =
    index === undefined
      ? []
      : [
          `const uint64_t expert = Clamp(${context.pointer(index)}Gm_.GetValue(row), ${context.size(weight.type.shape[0] as Dim)});`,
        ];
  const weightRow = index === undefined ? 'column' : '(expert * kN + column)';
  const xRow = slots === '1' ? 'row' : `(row / ${factor(slots)})`;
  const outType = isBare ? elementType[(context.func.results[0] as Value).type.dtype] : sumType;
  return [
    method('Multiply(uint32_t row, uint32_t column, uint32_t m, uint32_t n)', [
      ...expert,
      `LocalTensor<${sumType}> sums = sumQueue_.AllocTensor<${sumType}>();`,
      'for (uint32_t k = 0; k < kK; k += kTileK) {',
      '    const uint32_t depth = Minimum(kTileK, kK - k);',
      `    CopyLeft(${xGm}[static_cast<uint64_t>(${xRow}) * kK + k], m, depth);`,
      `    CopyRight(${weightGm}[static_cast<uint64_t>(${weightRow}) * kK + k], n, depth);`,
      `    LocalTensor<${type}> left = leftQueue_.DeQue<${type}>();`,
      `    LocalTensor<${type}> right = rightQueue_.DeQue<${type}>();`,
      '    for (uint32_t step = 0; step < depth; step += kStepK) {',
      '        MultiplyStep(sums, left, right, m, n, step, Minimum(kStepK, depth - step), k + step == 0);',
      '    }',
      '    leftQueue_.FreeTensor(left);',
      '    rightQueue_.FreeTensor(right);',
      '}',
      'sumQueue_.EnQue(sums);',
    ]),
    method(`CopyLeft(const GlobalTensor<${type}>& from, uint32_t m, uint32_t depth)`, [
      `LocalTensor<${type}> left = leftQueue_.AllocTensor<${type}>();`,
      'const uint16_t rows = Align16(m);',
      'DataCopy(left, from, Nd2NzParams(1, m, depth, 0, kK, rows, 1, 0));',
      '// A product of one row would read plain rows: the row is there twice.',
      'if (m == 1) DataCopy(left[kC0], from, Nd2NzParams(1, 1, depth, 0, kK, rows, 1, 0));',
      'leftQueue_.EnQue(left);',
    ]),
    method(`CopyRight(const GlobalTensor<${type}>& from, uint32_t n, uint32_t depth)`, [
      `LocalTensor<${type}> right = rightQueue_.AllocTensor<${type}>();`,
      'DataCopy(right, from, Nd2NzParams(1, n, depth, 0, kK, Align16(n), 1, 0));',
      'rightQueue_.EnQue(right);',
    ]),
    method(
      `MultiplyStep(const LocalTensor<${sumType}>& sums, const LocalTensor<${type}>& left, const LocalTensor<${type}>& right, uint32_t m, uint32_t n, uint32_t step, uint32_t depth, bool isFirst)`,
      [
        'const uint32_t rows = Align16(m) / 16;',
        'const uint32_t columns = Align16(n) / 16;',
        'const uint32_t fractals = CeilDiv(depth, kC0);',
        'const uint32_t fractal = 16 * kC0;',
        `LocalTensor<${type}> a = leftStepQueue_.AllocTensor<${type}>();`,
        `LocalTensor<${type}> b = rightStepQueue_.AllocTensor<${type}>();`,
        'for (uint32_t i = 0; i < rows; ++i) {',
        '    LoadData2DParams load;',
        '    load.startIndex = step / kC0 * rows + i;',
        '    load.repeatTimes = fractals;',
        '    load.srcStride = rows;',
        '    LoadData(a[i * fractals * fractal], left, load);',
        '}',
        'LoadData2DParams load;',
        'load.startIndex = step / kC0 * columns;',
        'load.repeatTimes = fractals * columns;',
        'load.srcStride = 1;',
        'LoadData(b, right, load);',
        'leftStepQueue_.EnQue(a);',
        'rightStepQueue_.EnQue(b);',
        `a = leftStepQueue_.DeQue<${type}>();`,
        `b = rightStepQueue_.DeQue<${type}>();`,
        'MmadParams product;',
        'product.m = m == 1 ? 2 : m;',
        'product.n = n;',
        'product.k = depth;',
        'product.cmatrixInitVal = isFirst;',
        '// Larger products follow each other in order by themselves.',
        'if (rows * columns < 10) PipeBarrier<PIPE_M>();',
        'Mmad(sums, a, b, product);',
        'leftStepQueue_.FreeTensor(a);',
        'rightStepQueue_.FreeTensor(b);',
      ],
    ),
    method(
      isBare
        ? 'CopyOut(uint32_t row, uint32_t column, uint32_t m, uint32_t n)'
        : 'CopyToRing(uint32_t slot, uint32_t m, uint32_t n)',
      [
        `LocalTensor<${sumType}> sums = sumQueue_.DeQue<${sumType}>();`,
        'FixpipeParamsV220 out;',
        'out.nSize = n;',
        'out.mSize = m;',
        'out.srcStride = Align16(m);',
        `out.dstStride = ${isBare ? 'kN' : 'kTileN'};`,
        `out.quantPre = ${fixpipeModes[outType]};`,
        isBare
          ? `Fixpipe<${outType}, ${sumType}, CFG_ROW_MAJOR>(out0Gm_[static_cast<uint64_t>(row) * kN + column], sums, out);`
          : `Fixpipe<${outType}, ${sumType}, CFG_ROW_MAJOR>(productGm_[(GetBlockIdx() * kRing + slot) * kTileM * kTileN], sums, out);`,
        'sumQueue_.FreeTensor(sums);',
      ],
    ),
  ];
}

/** What vector cores do with a row of a tile: the bias, then the ops behind the product. */
function epilogueOf(context: KernelContext, { bias, scales }: Product) {
  const { root, func } = context;
  const [result] = func.results as [Value];
  const shape = (root.results[0] as Value).type.shape;
  const { names, lines } = rowCoordinates(context, shape.slice(0, -1));
  const column = { at: 'column', step: 1 };
  const index: Index = [...names.map((at) => ({ at, step: 0 })), column];
  const expressions = new Expressions(context);
  const { program } = expressions;
  const product: Register = { kind: 'float', place: 'product' };
  const scaled = scales === undefined ? product : rescaled(expressions, product, scales, index);
  const sum =
    bias === undefined
      ? scaled
      : program.call('Add', [scaled, spread(program, expressions.value(bias, [column]))]);
  expressions.define(root.results[0] as Value, { kind: 'vector', register: sum });
  narrowInto(program, expressions.value(result, index), result.type.dtype, 'result');
  const plan = planned(program);
  const dtype: DType = scales === undefined ? 'f32' : 'i32';
  const productLeaf: Leaf = { kind: 'contiguous', dtype, sources: [], name: 'product' };
  const buffers = tileBuffers(
    context,
    [...expressions.leaves, productLeaf],
    [plan.plan],
    [{ name: 'out', dtype: result.type.dtype }],
    dim(longestN),
  );
  return { expressions, plan, buffers, lines, index, result };
}

/** Exact sums as floats, times the scale of their column, times that of their row: in this order, as the op declares. */
function rescaled(
  expressions: Expressions,
  sums: Register,
  { x, weight }: { readonly x: Value; readonly weight: Value },
  index: Index,
): Register {
  const { program } = expressions;
  const wide = program.emit(
    [sums],
    'float',
    false,
    (result, [from]) => `Cast(${result}, ${from}, RoundMode::CAST_RINT, count);`,
  );
  const byColumn = spread(program, expressions.value(weight, [index.at(-1) as Index[number]]));
  const byRow = x.type.shape.map((d, axis) =>
    constantOf(d) === 1 ? origin : (index[axis] as Index[number]),
  );
  const row = expressions.value(x, byRow);
  return spread(program, mul(program, [vector(program.call('Mul', [wide, byColumn])), row]));
}

function vectorMethods(
  context: KernelContext,
  epilogue: ReturnType<typeof epilogueOf>,
  sumType: string,
): string[] {
  const { expressions, plan, lines, result } = epilogue;
  const queued = expressions.leaves.filter((leaf) => leaf.kind !== 'uniform');
  const scalars = expressions.leaves.filter((leaf) => leaf.kind === 'uniform');
  const type = elementType[result.type.dtype];
  return [
    method('CopyIn(uint32_t row, uint32_t column, uint32_t count, uint32_t slot)', [
      ...lines,
      `LocalTensor<${sumType}> product = productQueue_.AllocTensor<${sumType}>();`,
      'Load(product, productGm_[slot], count);',
      'productQueue_.EnQue(product);',
      ...copyAllIn(context, queued),
    ]),
    method('Compute(uint32_t row, uint32_t column, uint32_t count)', [
      ...lines,
      ...scalars.flatMap((leaf) => readScalar(context, leaf)),
      `LocalTensor<${sumType}> product = productQueue_.DeQue<${sumType}>();`,
      ...queued.map(
        (leaf) =>
          `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`,
      ),
      `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
      ...slotDeclarations(plan.plan),
      'PipeBarrier<PIPE_V>();',
      ...plan.lines,
      'productQueue_.FreeTensor(product);',
      ...queued.map((leaf) => `${leaf.name}Queue_.FreeTensor(${leaf.name});`),
      'outQueue_.EnQue(result);',
    ]),
    method('CopyOut(uint32_t row, uint32_t column, uint32_t count)', [
      `LocalTensor<${type}> result = outQueue_.DeQue<${type}>();`,
      'Store(out0Gm_[static_cast<uint64_t>(row) * kN + column], result, count);',
      'outQueue_.FreeTensor(result);',
    ]),
  ];
}

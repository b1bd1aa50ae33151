/** What kernels on the cube share; methods are those of 16-bit products of rows with rows of the inner axis. */
import { method } from './tile.js';

/** The pitch of rows in global memory that a copy into fractals takes, in elements. */
export const longestPitch = 65_535;

/** How sums leave the cube as elements of a type. */
export const fixpipeModes: Readonly<Record<string, string>> = {
  float: 'NoQuant',
  int32_t: 'NoQuant',
  half: 'F322F16',
  bfloat16_t: 'F322BF16',
};

export const cubeConstants: readonly string[] = [
  'constexpr uint32_t kC0 = 16;  // elements of one row of a fractal',
  'constexpr uint32_t kFractal = 16 * kC0;',
];

const tensor = (type: string, name: string): string => `const LocalTensor<${type}>& ${name}`;

/** `CopyLeft`, from global memory to L1, and `LoadLeft`, from there to L0A. */
export const leftMethods = (type: string): readonly string[] => [
  '// Rows of a left factor, as fractals.',
  method(
    `CopyLeft(${tensor(type, 'to')}, const GlobalTensor<${type}>& from, uint32_t m, uint32_t depth, uint32_t pitch)`,
    [
      'const uint16_t rows = Align16(m);',
      'DataCopy(to, from, Nd2NzParams(1, m, depth, 0, pitch, rows, 1, 0));',
      '// A product of one row would read plain rows: the row is there twice.',
      'if (m == 1) DataCopy(to[kC0], from, Nd2NzParams(1, 1, depth, 0, pitch, rows, 1, 0));',
    ],
  ),
  method(`LoadLeft(${tensor(type, 'from')}, uint32_t m, uint32_t depth)`, [
    `LocalTensor<${type}> left = leftQueue_.AllocTensor<${type}>();`,
    'const uint32_t rows = Align16(m) / 16;',
    'const uint32_t fractals = CeilDiv(depth, kC0);',
    'for (uint32_t i = 0; i < rows; ++i) {',
    '    LoadData2DParams load;',
    '    load.startIndex = i;',
    '    load.repeatTimes = fractals;',
    '    load.srcStride = rows;',
    '    LoadData(left[i * fractals * kFractal], from, load);',
    '}',
    'leftQueue_.EnQue(left);',
  ]),
];

/** `LoadRight`, from L1 to L0B, of a right factor whose rows are the inner axis of the product. */
export const rightMethod = (type: string): readonly string[] => [
  '// Rows of the inner axis of the product: their fractals are transposed.',
  method(`LoadRight(${tensor(type, 'from')}, uint32_t depth, uint32_t n)`, [
    `LocalTensor<${type}> right = rightQueue_.AllocTensor<${type}>();`,
    'const uint32_t steps = Align16(depth) / 16;',
    'const uint32_t columns = Align16(n) / 16;',
    'for (uint32_t i = 0; i < steps; ++i) {',
    '    LoadData2DParams load;',
    '    load.startIndex = i;',
    '    load.repeatTimes = columns;',
    '    load.srcStride = steps;',
    '    load.ifTranspose = true;',
    '    LoadData(right[i * columns * kFractal], from, load);',
    '}',
    'rightQueue_.EnQue(right);',
  ]),
];

/** Statements that multiply what is in the queues of L0 into `sums`. */
export const multiplyStatements = (type: string, isFirst: string): readonly string[] => [
  `LocalTensor<${type}> left = leftQueue_.DeQue<${type}>();`,
  `LocalTensor<${type}> right = rightQueue_.DeQue<${type}>();`,
  'MmadParams params;',
  'params.m = m == 1 ? 2 : m;',
  'params.n = n;',
  'params.k = depth;',
  `params.cmatrixInitVal = ${isFirst};`,
  'Mmad(sums, left, right, params);',
  'leftQueue_.FreeTensor(left);',
  'rightQueue_.FreeTensor(right);',
];

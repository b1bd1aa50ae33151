/** dynamic_quantize: the range of a row, or of all rows, and the integers that its scale makes. */
import { type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { type QuantizedDType, quantizedRange } from '../../../ir/ops/quantization.js';
import { floatLiteral, scalar, spread } from './elementwise.js';
import { Expressions, type Index, type Leaf } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { quantized } from './rescale.js';
import { elementType, factor, product, sum } from './size.js';
import {
  copyAllIn,
  method,
  narrowInto,
  planned,
  rowCoordinates,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import { type Register, VectorProgram } from './vector-program.js';

/** Scalar statements that make the scale, and the zero point, of a row's range. */
function rangeStatements(dtype: QuantizedDType, symmetric: boolean): string[] {
  const [low, high] = quantizedRange[dtype];
  if (symmetric) return [`scale_ = greatest_ / ${floatLiteral(high)};`, 'if (scale_ == 0.0f) scale_ = 1.0f;'];
  return [
    'if (least_ > 0.0f) least_ = 0.0f;',
    'if (greatest_ < 0.0f) greatest_ = 0.0f;',
    `scale_ = (greatest_ - least_) / ${floatLiteral(high - low)};`,
    'if (scale_ == 0.0f) scale_ = 1.0f;',
    `zeroPoint_ = NearestEven(-least_ / scale_) + ${floatLiteral(low)};`,
    `if (zeroPoint_ < ${floatLiteral(low)}) zeroPoint_ = ${floatLiteral(low)};`,
    `if (zeroPoint_ > ${floatLiteral(high)}) zeroPoint_ = ${floatLiteral(high)};`,
  ];
}

const place = 'uint32_t row, uint32_t column, uint32_t count';

/** Each row is read once for its range and once to be quantized; the second time it is near. */
export function emitDynamicQuantize(context: KernelContext): KernelBody {
  const root = context.root as OpOf<'dynamic_quantize'>;
  const [x] = root.operands as [Value];
  const dtype = root.attrs.dtype as QuantizedDType;
  const { symmetric, granularity } = root.attrs;
  const byRow = granularity === 'row';
  const width = x.type.shape.at(-1) as Dim;
  const lead = x.type.shape.slice(0, -1);
  context.nameDim(width, 'kWidth');
  const { names, lines } = rowCoordinates(context, lead);
  const index: Index = [...names.map((at) => ({ at, step: 0 })), { at: 'column', step: 1 }];

  const ranged = new Expressions(context);
  const value = spread(ranged.program, ranged.value(x, index));
  const reduced = (name: string, from: Register): Register =>
    ranged.program.emit([from], 'float', false, (to, [v]) => `${name}(${to}, ${v}, ${to}, count);`);
  const greatest = reduced('ReduceMax', symmetric ? ranged.program.call('Abs', [value]) : value);
  const least = symmetric ? undefined : reduced('ReduceMin', value);
  const ends = least === undefined ? [greatest] : [greatest, least];
  const range = planned(ranged.program, ends);

  const written = new Expressions(context);
  const { program } = written;
  const zeroPoint = symmetric ? undefined : scalar('zeroPoint_');
  const result = quantized(program, written.value(x, index), scalar('scale_'), zeroPoint, dtype);
  narrowInto(program, result, dtype, 'result');
  const write = planned(program);

  const narrow = new VectorProgram(context.chip.layout);
  narrowInto(narrow, scalar('scale_'), 'f32', 'scale');
  if (!symmetric) narrowInto(narrow, scalar('zeroPoint_'), dtype, 'zeroPoint');
  const scalars = planned(narrow);

  const leaf = ranged.leaves[0] as Leaf;
  const results = [
    { name: 'out', dtype },
    { name: 'scale', dtype: 'f32' as const, isNumber: true },
    ...(symmetric ? [] : [{ name: 'zeroPoint', dtype, isNumber: true }]),
  ];
  const buffers = tileBuffers(context, [leaf], [range.plan, write.plan, scalars.plan], results, width);
  const [widthText, rowsText] = [context.size(width), context.size(productOfDims(lead))];
  const type = elementType[leaf.dtype];
  const taken = `LocalTensor<${type}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${type}>();`;
  const freed = `${leaf.name}Queue_.FreeTensor(${leaf.name});`;
  const start = symmetric ? ['greatest_ = 0.0f;'] : ['greatest_ = -kInfinity;', 'least_ = kInfinity;'];
  const tiles = (body: readonly string[]): string[] => [
    `for (uint32_t column = 0; column < ${widthText}; column += kTile) {`,
    `    const uint32_t count = Minimum(kTile, ${widthText} - column);`,
    '    CopyIn(row, column, count);',
    ...body.map((line) => `    ${line}`),
    '}',
  ];
  const quantizeRow = tiles(['Compute(row, column, count);', 'CopyOut(row, column, count);']);
  const ranges = tiles(['Measure(count);']);
  const indented = (body: readonly string[]): string[] => body.map((line) => `    ${line}`);
  const ownRows = `for (uint32_t row = GetBlockIdx(); row < ${rowsText}; row += GetBlockNum()) {`;
  const outputs = [
    ...results
      .slice(1)
      .map(({ name }, i) => ({ name, type: elementType[results[i + 1]?.dtype ?? 'f32'], out: i + 1 })),
  ];
  return {
    type: 'AIV_ONLY',
    about: byRow
      ? ['Rows go round the cores; each is measured, then quantized.']
      : ['Every core measures all rows and quantizes its own; the first one writes the scale.'],
    ...buffers,
    members: [
      ...buffers.members,
      'float greatest_;',
      ...(symmetric ? [] : ['float least_;', 'float zeroPoint_;']),
      'float scale_;',
    ],
    occupancy: { UB: buffers.occupancy },
    blocks: productOfDims(lead),
    methods: [
      method(
        'Process()',
        byRow
          ? [
              ownRows,
              ...indented([
                ...start,
                ...ranges,
                ...rangeStatements(dtype, symmetric),
                'CopyScaleOut(row);',
                ...quantizeRow,
              ]),
              '}',
            ]
          : [
              ...start,
              `for (uint32_t row = 0; row < ${rowsText}; ++row) {`,
              ...indented(ranges),
              '}',
              ...rangeStatements(dtype, symmetric),
              'if (GetBlockIdx() == 0) CopyScaleOut(0);',
              ownRows,
              ...indented(quantizeRow),
              '}',
            ],
      ),
      'private:',
      method(`CopyIn(${place})`, [...lines, ...copyAllIn(context, [leaf])]),
      method('Measure(uint32_t count)', [
        taken,
        ...slotDeclarations(range.plan),
        'PipeBarrier<PIPE_V>();',
        ...range.lines,
        'WaitForVector();',
        ...ends.flatMap((end, i) => {
          const [name, sign] = i === 0 ? ['greatest', '>'] : ['least', '<'];
          return [
            `const float ${name} = ${range.plan.names.get(end)}.GetValue(0);`,
            `if (${name} ${sign} ${name}_) ${name}_ = ${name};`,
          ];
        }),
        'WaitForScalar();',
        freed,
      ]),
      method(`Compute(${place})`, [
        taken,
        `LocalTensor<${elementType[dtype]}> result = outQueue_.AllocTensor<${elementType[dtype]}>();`,
        ...slotDeclarations(write.plan),
        'PipeBarrier<PIPE_V>();',
        ...write.lines,
        freed,
        'outQueue_.EnQue(result);',
      ]),
      method(`CopyOut(${place})`, [
        `LocalTensor<${elementType[dtype]}> result = outQueue_.DeQue<${elementType[dtype]}>();`,
        `Store(out0Gm_[${sum([product(['row', factor(widthText)]), 'column'])}], result, count);`,
        'outQueue_.FreeTensor(result);',
      ]),
      method('CopyScaleOut(uint32_t row)', [
        'constexpr uint32_t count = 1;',
        ...outputs.map(
          ({ name, type: own }) => `LocalTensor<${own}> ${name} = ${name}Queue_.AllocTensor<${own}>();`,
        ),
        ...slotDeclarations(scalars.plan),
        'PipeBarrier<PIPE_V>();',
        ...scalars.lines,
        ...outputs.flatMap(({ name, type: own, out }) => [
          `${name}Queue_.EnQue(${name});`,
          `${name} = ${name}Queue_.DeQue<${own}>();`,
          `Store(out${out}Gm_[row], ${name}, count);`,
          `${name}Queue_.FreeTensor(${name});`,
        ]),
      ]),
    ],
  };
}

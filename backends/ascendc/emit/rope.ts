/** Rotary positions: the two halves of every head's row are rotated by the angles of its token. */
import { type Dim, divDims, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { spread } from './elementwise.js';
import { Expressions, type Index } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor } from './size.js';
import {
  copyAllIn,
  method,
  narrowInto,
  planned,
  rowCoordinates,
  slotDeclarations,
  tileBuffers,
} from './tile.js';

export function emitRope(context: KernelContext): KernelBody {
  const { root, func } = context;
  const [x, cos, sin] = root.operands as [Value, Value, Value];
  const [result] = func.results as [Value];
  const { interleaved } = (root as OpOf<'rope'>).attrs;
  const half = divDims(x.type.shape.at(-1) as Dim, 2);
  const lead = x.type.shape.slice(0, -1);
  context.nameDim(half, 'kHalf');
  context.nameDim(x.type.shape.at(-1) as Dim, 'kWidth');
  const { names, lines } = rowCoordinates(context, lead);
  const outer: Index = names.map((at) => ({ at, step: 0 }));
  const token = outer.at(-2) as Index[number];
  const halfText = context.size(half);
  const expressions = new Expressions(context);
  const { program } = expressions;
  const read = (value: Value, index: Index) => spread(program, expressions.value(value, index));
  // Pairs are neighbours when interleaved, and half a row apart otherwise.
  const pair = interleaved
    ? [
        { at: '0', step: 2 },
        { at: '1', step: 2 },
      ]
    : [
        { at: '0', step: 1 },
        { at: halfText, step: 1 },
      ];
  const [a, b] = pair.map((lane) => read(x, [...outer, lane]));
  const angle: Index = [token, { at: '0', step: 1 }];
  const [c, s] = [read(cos, angle), read(sin, angle)];
  const times = (p: typeof a, q: typeof a) => program.call('Mul', [p as never, q as never]);
  const first = program.call('Sub', [times(a, c), times(b, s)]);
  const second = program.call('Add', [times(b, c), times(a, s)]);
  narrowInto(program, { kind: 'vector', register: first }, result.type.dtype, 'first');
  narrowInto(program, { kind: 'vector', register: second }, result.type.dtype, 'second');
  const { plan, lines: computed } = planned(program);
  const { dtype } = result.type;
  const type = elementType[dtype];
  const buffers = tileBuffers(
    context,
    expressions.leaves,
    [plan],
    [
      { name: 'first', dtype },
      { name: 'second', dtype },
    ],
    half,
  );
  const rows = productOfDims(lead);
  const width = `2 * ${factor(halfText)}`;
  const stored = (name: string, offset: string): string[] => {
    const at = `row * ${width} + ${offset}`;
    if (!interleaved)
      return [`Store(out0Gm_[row * ${width}${offset === '0' ? '' : ` + ${offset}`}], ${name}, count);`];
    return [`StoreStrided(out0Gm_[${at}], ${name}, count, 2);`];
  };
  return {
    type: 'AIV_ONLY',
    about: ['Rows, one for each token and head, go round the cores.'],
    ...buffers,
    occupancy: { UB: buffers.occupancy },
    blocks: rows,
    methods: [
      method('Process()', [
        `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
        `    CopyIn(row, ${halfText});`,
        `    Compute(${halfText});`,
        `    CopyOut(row, ${halfText});`,
        '}',
      ]),
      'private:',
      method('CopyIn(uint32_t row, uint32_t count)', [...lines, ...copyAllIn(context, expressions.leaves)]),
      method('Compute(uint32_t count)', [
        ...expressions.leaves.map(
          (leaf) =>
            `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`,
        ),
        `LocalTensor<${type}> first = firstQueue_.AllocTensor<${type}>();`,
        `LocalTensor<${type}> second = secondQueue_.AllocTensor<${type}>();`,
        ...slotDeclarations(plan),
        'PipeBarrier<PIPE_V>();',
        ...computed,
        ...expressions.leaves.map((leaf) => `${leaf.name}Queue_.FreeTensor(${leaf.name});`),
        'firstQueue_.EnQue(first);',
        'secondQueue_.EnQue(second);',
      ]),
      method('CopyOut(uint32_t row, uint32_t count)', [
        `LocalTensor<${type}> first = firstQueue_.DeQue<${type}>();`,
        `LocalTensor<${type}> second = secondQueue_.DeQue<${type}>();`,
        ...stored('first', interleaved ? '0' : '0'),
        ...stored('second', interleaved ? '1' : halfText),
        'firstQueue_.FreeTensor(first);',
        'secondQueue_.FreeTensor(second);',
      ]),
    ],
  };
}

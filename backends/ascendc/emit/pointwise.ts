/** Pointwise kernels: tiles of the last axis of the result, each computed from the leaves of its expression. */
import { constantOf, type Dim, dim, dimsEqual, productOfDims } from '../../../ir/dim.js';
import type { Func, Value } from '../../../ir/module.js';
import { opTable } from '../../../ir/ops/table.js';
import { type Index, origin } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType, factor, product, sum } from './size.js';
import {
  copyAllIn,
  method,
  planned,
  readScalar,
  resultExpression,
  rowCoordinates,
  slotDeclarations,
  tileBuffers,
} from './tile.js';
import { barrierBetweenRuns } from './vector-program.js';

/** Whether every argument is read at the result's own linear index, or is a single value. */
function isFlat(func: Func): boolean {
  const [result] = func.results as [Value];
  const isElementwise = func.body.every(
    (op) => (opTable[op.name].category === 'elementwise' && op.name !== 'iota') || op.name === 'swiglu',
  );
  const isSingle = (value: Value): boolean => value.type.shape.every((d) => constantOf(d) === 1);
  const sameShape = (value: Value): boolean =>
    value.type.shape.length === result.type.shape.length &&
    value.type.shape.every((d, i) => dimsEqual(d, result.type.shape[i] as Dim));
  return (
    isElementwise &&
    [...func.args, ...func.body.flatMap((op) => op.results)].every((v) => sameShape(v) || isSingle(v))
  );
}

/** The function with all shapes that are not single made one axis. */
function flattened(func: Func): { lead: readonly Dim[]; width: Dim; flat: boolean } {
  const { shape } = (func.results as [Value])[0].type;
  if (isFlat(func)) return { lead: [], width: productOfDims(shape), flat: true };
  return { lead: shape.slice(0, -1), width: shape.at(-1) ?? dim(1), flat: false };
}

export function emitPointwise(context: KernelContext): KernelBody {
  const { func } = context;
  const [result] = func.results as [Value];
  const { lead, width, flat } = flattened(func);
  const { names, lines } = rowCoordinates(context, lead);
  if (!flat) context.nameDim(width, 'kWidth');
  const rank = result.type.shape.length;
  const lane = { at: 'column', step: 1 };
  // A flat kernel walks all elements as the last axis that is longer than one; its other coordinates are 0.
  const walked = result.type.shape.findLastIndex((d) => constantOf(d) !== 1);
  const index: Index =
    rank === 0
      ? []
      : flat
        ? result.type.shape.map((_, axis) => (axis === walked ? lane : origin))
        : [...names.map((at) => ({ at, step: 0 })), lane];
  const expressions = resultExpression(context, result, index, 'result');
  const { plan, lines: program } = planned(expressions.program);
  const queued = expressions.leaves.filter((leaf) => leaf.kind !== 'uniform');
  const scalars = expressions.leaves.filter((leaf) => leaf.kind === 'uniform');
  const rows = productOfDims(lead);
  const buffers = tileBuffers(
    context,
    expressions.leaves,
    [plan],
    [{ name: 'out', dtype: result.type.dtype }],
    width,
  );
  const type = elementType[result.type.dtype];
  const widthText = context.size(width);
  const place = 'uint32_t row, uint32_t column, uint32_t count';
  const offset = sum([product(['row', factor(widthText)]), 'column']);
  return {
    type: 'AIV_ONLY',
    about: [`Tiles of up to ${buffers.tile} elements go round the cores.`],
    constants: buffers.constants,
    init: buffers.init,
    members: buffers.members,
    occupancy: { UB: buffers.occupancy },
    blocks: productOfDims([rows, width]),
    methods: [
      method('Process()', [
        `const uint32_t tiles = CeilDiv(${widthText}, kTile);`,
        `const uint32_t units = ${product([factor(context.size(rows)), 'tiles'])};`,
        'for (uint32_t unit = GetBlockIdx(); unit < units; unit += GetBlockNum()) {',
        '    const uint32_t row = unit / tiles;',
        '    const uint32_t column = unit % tiles * kTile;',
        `    const uint32_t count = Minimum(kTile, ${widthText} - column);`,
        ...(queued.length > 0 ? ['    CopyIn(row, column, count);'] : []),
        '    Compute(row, column, count);',
        '    CopyOut(row, column, count);',
        '}',
      ]),
      'private:',
      ...(queued.length > 0 ? [method(`CopyIn(${place})`, [...lines, ...copyAllIn(context, queued)])] : []),
      method(`Compute(${place})`, [
        ...lines,
        ...scalars.flatMap((leaf) => readScalar(context, leaf)),
        ...queued.map(
          (leaf) =>
            `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`,
        ),
        `LocalTensor<${type}> result = outQueue_.AllocTensor<${type}>();`,
        ...slotDeclarations(plan),
        ...barrierBetweenRuns(expressions.program, plan),
        ...program,
        ...queued.map((leaf) => `${leaf.name}Queue_.FreeTensor(${leaf.name});`),
        'outQueue_.EnQue(result);',
      ]),
      method(`CopyOut(${place})`, [
        `LocalTensor<${type}> result = outQueue_.DeQue<${type}>();`,
        `Store(out0Gm_[${offset}], result, count);`,
        'outQueue_.FreeTensor(result);',
      ]),
    ],
  };
}

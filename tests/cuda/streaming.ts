/**
 * Cases whose kernels have parameters that shapes as small as those of the conformance suite leave no choice of: rows,
 * reductions and pointwise kernels of symbolic and of great sizes, attention of many queries, and experts.
 */
import { arg, caseModule, caseTitle, type OpCase, opCase, weightArg } from '../conformance/case.js';
import { fixed, indices, uniform } from '../conformance/random.js';
import type { DecodingCase } from './decoding.js';

const rows = (size: number) => ({ dims: { T: { min: 1, max: 400, size } } });

/** Elements that a thread takes in four turns, of more than one block. */
const several = rows(59);

const cases: readonly OpCase[] = [
  opCase(
    'layer_norm',
    'long rows, four at a time',
    [arg('f32', ['T', 1160]), weightArg('f32', [1160]), weightArg('f32', [1160])],
    { attrs: { eps: 1e-5 }, ...rows(13) },
  ),
  opCase(
    'rms_norm',
    'few rows of bf16, four at a time',
    [arg('bf16', [9, 2052]), weightArg('bf16', [2052])],
    { attrs: { eps: 1e-6 } },
  ),
  opCase('rms_norm', 'odd rows', [arg('f32', ['T', 301])], { attrs: { eps: 1e-6 }, ...rows(11) }),
  opCase('softmax', 'odd rows', [arg('f32', [5, 1279])]),
  opCase('softmax', 'rows that registers cannot hold', [arg('f32', [3, 10501])]),
  opCase('reduce_sum', 'long sums', [arg('f32', ['T', 901], uniform(-1, 1))], {
    attrs: { axes: [1] },
    ...rows(19),
  }),
  opCase('reduce_max', 'of all', [arg('f32', [37, 20, 3])], { attrs: { axes: [0, 1, 2] } }),
  opCase('reduce_min', 'long rows of i32', [arg('i32', [10, 'T'])], { attrs: { axes: [1] }, ...rows(333) }),
  opCase('reduce_mean', 'two axes around one', [arg('f32', [30, 7, 'T'])], {
    attrs: { axes: [0, 2] },
    ...several,
  }),
  opCase('mul', 'rows of fours', [arg('f32', ['T', 72]), arg('f32', [72])], several),
  opCase('add', 'rows of fours in bf16', [arg('bf16', ['T', 260]), arg('bf16', ['T', 1])], several),
  opCase('gelu', 'rows of fours', [arg('f32', ['T', 3, 12])], several),
  opCase(
    'attention',
    'many queries',
    [arg('f32', [150, 4, 72]), arg('f32', [150, 2, 72]), arg('f32', [150, 2, 72])],
    { attrs: { scale: 72 ** -0.5 } },
  ),
  opCase(
    'attention',
    'many queries behind others',
    [arg('f32', ['T', 4, 32]), arg('f32', [300, 1, 32]), arg('f32', [300, 1, 32]), arg('i32', [], fixed(77))],
    { attrs: { causal: true, scale: 32 ** -0.5 }, ...rows(140) },
  ),
  opCase(
    'attention',
    'many queries of wide heads in a window',
    [arg('f32', ['T', 2, 128]), arg('f32', ['T', 2, 128]), arg('f32', ['T', 2, 128])],
    { attrs: { causal: true, window: 90, scale: 128 ** -0.5 }, ...rows(201) },
  ),
  opCase('grouped_linear', 'few slots', [
    arg('f32', [1, 96]),
    arg('i32', [1, 4], indices(6)),
    weightArg('bf16', [6, 50, 96]),
  ]),
  opCase('grouped_linear', 'few slots, an input for each', [
    arg('f32', [2, 3, 40]),
    arg('i32', [2, 3], indices(5)),
    weightArg('bf16', [5, 33, 40]),
  ]),
];

export const streamingCases: readonly DecodingCase[] = cases.map((c) => {
  const { module, inputs } = caseModule(c, { weights: 'parameters' });
  return { name: caseTitle(c), module, calls: [{ entry: 'main', inputs }] };
});

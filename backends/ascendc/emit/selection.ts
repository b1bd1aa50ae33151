/**
 * Kernels that choose by value: argmax, topk and the routing of experts. A row is brought in as floats; the scalar unit
 * chooses from it, in descending order and the lower index first among equals. A NaN is never chosen.
 */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import type { DType } from '../../../ir/type.js';
import { spread } from './elementwise.js';
import { Expressions, type Index, type Leaf } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { elementType } from './size.js';
import { copyAllIn, method, planned, rowCoordinates, slotDeclarations, tileBuffers } from './tile.js';
import type { Register, VectorProgram } from './vector-program.js';

interface Selection {
  /** Chosen elements of a row, and where they are stored. */
  readonly outputs: readonly { readonly name: string; readonly dtype: DType; readonly count: number }[];
  /** Vector work on the row before the choice; registers that the choice reads, by name. */
  readonly prepare: (program: VectorProgram, x: Register) => Readonly<Record<string, Register>>;
  /** Statements that choose from the prepared registers into the outputs. */
  readonly choose: readonly string[];
}

function emitSelection(context: KernelContext, x: Value, selection: Selection): KernelBody {
  const lead = x.type.shape.slice(0, -1);
  const width = x.type.shape.at(-1) as Dim;
  context.nameDim(width, 'kWidth');
  const { names, lines } = rowCoordinates(context, lead);
  const index: Index = [...names.map((at) => ({ at, step: 0 })), { at: '0', step: 1 }];
  const expressions = new Expressions(context);
  const { program } = expressions;
  const register = spread(program, expressions.value(x, index));
  // A copy: the scalar unit reads it after the queue's tensor is freed.
  const row = program.call('Adds', [register], ['0.0f']);
  const prepared = selection.prepare(program, row);
  const { plan, lines: computed } = planned(program, [row, ...Object.values(prepared)]);
  const leaf = expressions.leaves[0] as Leaf;
  const { outputs } = selection;
  const buffers = tileBuffers(context, expressions.leaves, [plan], [], width);
  const rows = productOfDims(lead);
  const types = outputs.map(({ dtype }) => elementType[dtype]);
  const widthText = context.size(width);
  return {
    type: 'AIV_ONLY',
    about: ['Rows go round the cores; the scalar unit chooses.'],
    constants: buffers.constants,
    init: [
      ...buffers.init,
      ...outputs.map(
        ({ name, count }, i) =>
          `pipe_->InitBuffer(${name}Queue_, 2, CeilDiv(${count} * sizeof(${types[i]}), 32) * 32);`,
      ),
    ],
    members: [...buffers.members, ...outputs.map(({ name }) => `TQue<TPosition::VECOUT, 1> ${name}Queue_;`)],
    occupancy: { UB: buffers.occupancy },
    blocks: rows,
    methods: [
      method('Process()', [
        `for (uint32_t row = GetBlockIdx(); row < ${context.size(rows)}; row += GetBlockNum()) {`,
        `    CopyIn(row, ${widthText});`,
        `    Compute(${widthText});`,
        '    CopyOut(row);',
        '}',
      ]),
      'private:',
      method('CopyIn(uint32_t row, uint32_t count)', [...lines, ...copyAllIn(context, [leaf])]),
      method('Compute(uint32_t count)', [
        `LocalTensor<${elementType[leaf.dtype]}> ${leaf.name} = ${leaf.name}Queue_.DeQue<${elementType[leaf.dtype]}>();`,
        ...outputs.map(
          ({ name }, i) => `LocalTensor<${types[i]}> ${name} = ${name}Queue_.AllocTensor<${types[i]}>();`,
        ),
        ...slotDeclarations(plan),
        ...computed,
        `${leaf.name}Queue_.FreeTensor(${leaf.name});`,
        `LocalTensor<float> values = ${plan.names.get(row)};`,
        ...Object.entries(prepared).map(
          ([name, own]) => `LocalTensor<float> ${name} = ${plan.names.get(own)};`,
        ),
        'WaitForVector();',
        ...selection.choose,
        'WaitForScalar();',
        ...outputs.map(({ name }) => `${name}Queue_.EnQue(${name});`),
      ]),
      method('CopyOut(uint32_t row)', [
        ...outputs.flatMap(({ name, count }, i) => [
          `LocalTensor<${types[i]}> ${name} = ${name}Queue_.DeQue<${types[i]}>();`,
          `Store(out${i}Gm_[row * ${count}], ${name}, ${count});`,
          `${name}Queue_.FreeTensor(${name});`,
        ]),
      ]),
    ],
  };
}

/** The greatest element of [begin, end) after `last` in descending order becomes `best`. */
const nextBest = (begin: string, end: string): string[] => [
  'Candidate best{-kInfinity, kNowhere};',
  `for (uint32_t at = ${begin}; at < ${end}; ++at) {`,
  '    const Candidate candidate{values.GetValue(at), at};',
  '    if ((last.at == kNowhere || last.Before(candidate)) && candidate.Before(best)) best = candidate;',
  '}',
];

const indent = (lines: readonly string[]): string[] => lines.map((line) => `    ${line}`);

export function emitArgmax(context: KernelContext): KernelBody {
  const [x] = context.root.operands as [Value];
  return emitSelection(context, x, {
    outputs: [{ name: 'indices', dtype: 'i32', count: 1 }],
    prepare: () => ({}),
    choose: [
      'const Candidate last{kInfinity, kNowhere};',
      ...nextBest('0', 'count'),
      'indices.SetValue(0, best.at == kNowhere ? 0 : static_cast<int32_t>(best.at));',
    ],
  });
}

export function emitTopk(context: KernelContext): KernelBody {
  const [x] = context.root.operands as [Value];
  const { k } = (context.root as OpOf<'topk'>).attrs;
  const { dtype } = x.type;
  return emitSelection(context, x, {
    outputs: [
      { name: 'chosen', dtype, count: k },
      { name: 'indices', dtype: 'i32', count: k },
    ],
    prepare: () => ({}),
    choose: [
      'Candidate last{kInfinity, kNowhere};',
      `for (uint32_t k = 0; k < ${k}; ++k) {`,
      ...indent([
        ...nextBest('0', 'count'),
        'last = best;',
        `chosen.SetValue(k, static_cast<${elementType[dtype]}>(best.value));`,
        'indices.SetValue(k, static_cast<int32_t>(best.at));',
      ]),
      '}',
    ],
  });
}

/** Scores of all experts, then the best of each group by their logits, which scores grow with. */
export function emitMoeRoute(context: KernelContext): KernelBody {
  const [logits] = context.root.operands as [Value];
  const { num_groups, topk_per_group, score, renormalize } = (context.root as OpOf<'moe_route'>).attrs;
  const size = (constantOf(context.resolve(logits.type.shape.at(-1) as Dim)) as number) / num_groups;
  const count = num_groups * topk_per_group;
  const scores = (program: VectorProgram, x: Register): Register => {
    const one = (): Register => program.emit([], 'float', false, (r) => `Duplicate(${r}, 1.0f, count);`);
    if (score === 'sigmoid') {
      const e = program.call('Exp', [program.call('Muls', [x], ['-1.0f'])]);
      return program.call('Div', [one(), program.call('Adds', [e], ['1.0f'])]);
    }
    // Chosen weights are divided by the total, so exponents are taken of differences to the greatest.
    const greatest = program.emit([x], 'float', false, (r, [v]) => `ReduceMax(${r}, ${v}, ${r}, count);`);
    return program.emit(
      [x, greatest],
      'float',
      false,
      (r, [v, g]) => `ExpOfDifference(${r}, ${v}, ${g}, count);`,
    );
  };
  return emitSelection(context, logits, {
    outputs: [
      { name: 'weights', dtype: 'f32', count },
      { name: 'indices', dtype: 'i32', count },
    ],
    prepare: (program, x) => {
      const own = scores(program, x);
      if (score === 'sigmoid') return { scores: own };
      const total = program.emit([own], 'float', false, (r, [v]) => `ReduceSum(${r}, ${v}, ${r}, count);`);
      return { scores: own, total };
    },
    choose: [
      'float sum = 0.0f;',
      `for (uint32_t group = 0; group < ${num_groups}; ++group) {`,
      ...indent([
        'Candidate last{kInfinity, kNowhere};',
        `for (uint32_t k = 0; k < ${topk_per_group}; ++k) {`,
        ...indent([
          ...nextBest(`group * ${size}`, `(group + 1) * ${size}`),
          'last = best;',
          `const float weight = scores.GetValue(best.at)${score === 'sigmoid' ? '' : ' / total.GetValue(0)'};`,
          'sum += weight;',
          `weights.SetValue(group * ${topk_per_group} + k, weight);`,
          `indices.SetValue(group * ${topk_per_group} + k, static_cast<int32_t>(best.at));`,
        ]),
        '}',
      ]),
      '}',
      ...(renormalize
        ? [`for (uint32_t k = 0; k < ${count}; ++k) weights.SetValue(k, weights.GetValue(k) / sum);`]
        : []),
    ],
  });
}

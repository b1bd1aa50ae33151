/** Kernels that choose by value: argmax, topk and the routing of experts. A warp takes a row. */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { isFloat } from '../../../ir/type.js';
import { Expressions } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { warpPerElement } from './reduction.js';
import { registerType } from './size.js';

/** Declares `value` and `at` of the greatest element among `count`, after (`bound`, `bound_at`) in descending order. */
function selectNext(
  context: KernelContext,
  register: string,
  count: string,
  element: (at: string) => string,
): void {
  const { code } = context;
  const floats = register === 'float';
  code.line(`Candidate<${register}> best;`);
  code.block(`for (int at = lane; at < ${count}; at += 32)`, () => {
    const raw = element('at');
    const rank = floats ? `(${raw} != ${raw} ? -infinity() : ${raw})` : raw;
    code.line(`const Candidate<${register}> candidate{${rank}, at};`);
    code.line('if (last.before(candidate) && candidate.before(best)) best = candidate;');
  });
  code.line('best = best_of_warp(best);');
}

export const emitArgmax: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x] = root.operands as [Value];
  const [result] = context.func.results as [Value];
  const { shape, dtype } = x.type;
  const axis = ((root.attrs as { axis: number }).axis + shape.length) % shape.length;
  const kept = shape.filter((_, a) => a !== axis);
  context.libraries.add('selection');
  return warpPerElement(context, kept, context.indexType(x.type), (outer) => {
    code.line(`const auto last = Candidate<${registerType[dtype]}>::first();`);
    selectNext(context, registerType[dtype], context.size(shape[axis] as Dim), (at) =>
      new Expressions(context).value(x, outer.toSpliced(axis, 0, at)),
    );
    code.line(`if (lane == 0) ${context.pointer(result)}[output] = best.at == kNowhere ? 0 : best.at;`);
  });
};

export const emitTopk: KernelEmitter = (context) => {
  const { code, root } = context;
  const [x] = root.operands as [Value];
  const [values, indices] = context.func.results as [Value, Value];
  const { k } = (root as OpOf<'topk'>).attrs;
  const lead = x.type.shape.slice(0, -1);
  const register = registerType[x.type.dtype];
  context.libraries.add('selection');
  return warpPerElement(context, lead, context.indexType(x.type), (outer) => {
    code.line(`auto last = Candidate<${register}>::first();`);
    code.block(`for (int k = 0; k < ${k}; k++)`, () => {
      selectNext(context, register, context.size(x.type.shape.at(-1) as Dim), (at) =>
        new Expressions(context).value(x, [...outer, at]),
      );
      code.line('last = best;');
      code.block('if (lane == 0)', () => {
        const chosen = new Expressions(context).element(x, [...outer, 'best.at']);
        code.line(`${context.pointer(values)}[output * ${k} + k] = ${chosen};`);
        code.line(`${context.pointer(indices)}[output * ${k} + k] = best.at;`);
      });
    });
  });
};

/** Scores of all experts, then the best of each group by their logits, which scores grow with. */
export const emitMoeRoute: KernelEmitter = (context) => {
  const { code, root } = context;
  const [logits] = root.operands as [Value];
  const [weights, indices] = context.func.results as [Value, Value];
  const { num_groups, topk_per_group, score, renormalize } = (root as OpOf<'moe_route'>).attrs;
  const [tokens, experts] = logits.type.shape as [Dim, Dim];
  const count = constantOf(context.resolve(experts)) as number;
  const size = count / num_groups;
  const chosen = num_groups * topk_per_group;
  context.libraries.add('selection');
  if (!isFloat(logits.type.dtype)) throw new Error('moe_route of integers');
  return warpPerElement(context, [tokens], context.indexType(logits.type), ([token]) => {
    const logit = (at: string): string => new Expressions(context).value(logits, [token as string, at]);
    if (score === 'softmax') {
      code.line('float greatest = -infinity(), total = 0.0f;');
      code.block(`for (int e = lane; e < ${count}; e += 32)`, () =>
        code.line(`greatest = maximum(greatest, ${logit('e')});`),
      );
      code.line('greatest = warp_max(greatest);');
      code.block(`for (int e = lane; e < ${count}; e += 32)`, () =>
        code.line(`total += expf(${logit('e')} - greatest);`),
      );
      code.line('total = warp_sum(total);');
    }
    code.line(`float weight[${chosen}], sum = 0.0f;`);
    code.line(`int expert[${chosen}];`);
    code.line('#pragma unroll');
    code.block(`for (int group = 0; group < ${num_groups}; group++)`, () => {
      code.line('auto last = Candidate<float>::first();');
      code.line('#pragma unroll');
      code.block(`for (int k = 0; k < ${topk_per_group}; k++)`, () => {
        selectNext(context, 'float', String(size), (at) => logit(`(group * ${size} + ${at})`));
        code.line('last = best;');
        code.line(`const int slot = group * ${topk_per_group} + k;`);
        code.line(`expert[slot] = group * ${size} + best.at;`);
        const value = logit('expert[slot]');
        code.line(
          `weight[slot] = ${score === 'sigmoid' ? `sigmoid(${value})` : `expf(${value} - greatest) / total`};`,
        );
        code.line('sum += weight[slot];');
      });
    });
    code.line('#pragma unroll');
    code.block(`for (int slot = 0; slot < ${chosen}; slot++)`, () => {
      code.line('if (lane != slot % 32) continue;');
      const at = `[output * ${chosen} + slot]`;
      code.line(`${context.pointer(weights)}${at} = weight[slot]${renormalize ? ' / sum' : ''};`);
      code.line(`${context.pointer(indices)}${at} = expert[slot];`);
    });
  });
};

/**
 * Legalisation for this target: what is decomposed, and which types meet in the cube. The residual stream, norms and
 * activations are f32; linear layers, attention and caches take 16-bit operands and sum in f32 (narrow.ts).
 */
import { defOf, type Module, type Op, type Value } from '../../ir/module.js';
import type { OpName } from '../../ir/ops/table.js';
import { type Rule, rule } from '../../passes/rules/rule.js';
import { applyRules, decomposeRule, patchesAsLinear, softmaxLast, widenRule } from '../legalise.js';
import { type ComputeDType, narrow } from '../narrow.js';
import { supports } from './capabilities.js';
import type { Chip } from './chips.js';

/** Ops without a form of their own; the parts fuse into the kernels around them. */
const decomposed = ['swiglu', 'modulate', 'split', 'integer_linear'] as const satisfies readonly OpName[];

/** Quantization has kernels, where the chip takes the types and scales; elsewhere its parts are computed in f32. */
const quantization = [
  'quantize',
  'dynamic_quantize',
  'quantized_linear',
] as const satisfies readonly OpName[];

function decomposeUnsupported(name: OpName, chip: Chip): Rule {
  const { apply, ...rest } = decomposeRule(name);
  return {
    ...rest,
    apply: (op, ...others) => (supports(op as Op, chip) === true ? undefined : apply(op, ...others)),
  };
}

/** What weights and caches come from. */
const stored: ReadonlySet<OpName | undefined> = new Set<OpName>(['param', 'state_read', 'cache_append']);

/** Weights and caches are widened before the cube, a gather or an attention reads them. */
const wideStores: Rule = (() => {
  const { apply, ...rest } = decomposeRule('dequantize');
  return {
    ...rest,
    apply: (op, ...others) =>
      stored.has(defOf(op.operands[0] as Value)?.name) ? apply(op, ...others) : undefined,
  };
})();

/** The cube multiplies two factors of one type: x takes the weight's. */
function oneFactorType(name: 'linear' | 'grouped_linear'): Rule {
  const algebra = `${name}(x, w: f16 or bf16) == ${name}(cast(x, w's dtype), w), rounding x`;
  return rule(name, `${name.replace('_', '-')}-of-one-type`, algebra, (op, operands, builder) => {
    const [x, weight] = [operands[0], operands[name === 'linear' ? 1 : 2]] as [Value, Value];
    if (x.type.dtype === weight.type.dtype) return undefined;
    const rest = operands.slice(1);
    const result = builder.one(
      name,
      [builder.one('cast', [x], { dtype: weight.type.dtype }), ...rest],
      op.attrs,
    );
    const { dtype } = (op.results[0] as Value).type;
    return [result.type.dtype === dtype ? result : builder.one('cast', [result], { dtype })];
  });
}

const cubeRules: readonly Rule[] = [oneFactorType('linear'), oneFactorType('grouped_linear')];

export function legalise(module: Module, compute: ComputeDType, chip: Chip): Module {
  const rules = [
    ...decomposed.map(decomposeRule),
    ...quantization.map((name) => decomposeUnsupported(name, chip)),
    wideStores,
    patchesAsLinear,
    softmaxLast,
    ...(compute === 'f32' ? [widenRule('attention')] : []),
  ];
  const simple = applyRules(module, rules);
  return applyRules(compute === 'f32' ? simple : narrow(simple, compute), cubeRules);
}

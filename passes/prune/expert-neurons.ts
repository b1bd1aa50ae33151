/**
 * Neurons of which every expert has its own: each index of the dimension means something else in each expert, so each
 * expert keeps the neurons that matter most to it, as many as the others (§2 of the reference: "per expert, one more FFN
 * score"). The graph shows it: all weights of the neurons are stacks of experts, and between them an expert's neurons
 * stay with the expert that made them.
 */
import { dimNames, nameOf } from '../../ir/dim.js';
import type { Func, Module, Op, Value } from '../../ir/module.js';
import { opTable } from '../../ir/ops/table.js';
import type { FeedForward } from '../structure.js';
import { structureOf } from '../structure.js';

/** How the activations of one feed-forward layer say which expert made them. */
export type ExpertSite =
  /** [experts, .., neurons] */
  | { readonly kind: 'leading' }
  /** [rows, slots, neurons], `index` [rows, slots] naming the expert of each slot of a stack of weights. */
  | { readonly kind: 'routed'; readonly index: Value; readonly weight: Value };

export function expertSite({ product, writer }: FeedForward, experts: string): ExpertSite | undefined {
  const { op } = writer;
  if (op.name === 'grouped_linear') {
    const [, index, weight] = op.operands as [Value, Value, Value];
    return { kind: 'routed', index, weight };
  }
  const [first] = product.type.shape;
  return first !== undefined && nameOf(first) === experts ? { kind: 'leading' } : undefined;
}

/** The dimension of the experts that each have their own neurons of this name; undefined when neurons are shared. */
export function expertsOwning(module: Module, neurons: string): string | undefined {
  const { routers, feedForwards } = structureOf(module);
  const experts = routers
    .map((router) => router.experts)
    .find((name) => ownsAllWeights(module, name, neurons));
  if (experts === undefined) return undefined;
  const layers = feedForwards.filter((layer) => layer.neurons === neurons);
  const sound =
    layers.every((layer) => expertSite(layer, experts) !== undefined) &&
    [...module.functions.values()].every((func) => staysWithExpert(func, experts, neurons));
  return sound ? experts : undefined;
}

/** Whether every weight of the neurons has one axis of experts before its one axis of neurons, in a loop. */
function ownsAllWeights(module: Module, experts: string, neurons: string): boolean {
  const weights = [...module.params.values()].filter(({ type }) =>
    type.shape.some((d) => dimNames(d).has(neurons)),
  );
  return (
    weights.length > 0 &&
    weights.every(({ type, loop }) => {
      const names = type.shape.map(nameOf);
      const mentioned = type.shape.filter((d) => dimNames(d).has(neurons) || dimNames(d).has(experts));
      return (
        loop !== undefined && mentioned.length === 2 && names.indexOf(experts) < names.lastIndexOf(neurons)
      );
    })
  );
}

/** Whether no op of a function brings neurons of different experts together. */
function staysWithExpert(func: Func, experts: string, neurons: string): boolean {
  const has = (value: Value, name: string): boolean => value.type.shape.some((d) => dimNames(d).has(name));
  const indices = new Set<Value>();
  const keeps = (op: Op): boolean => {
    const touched = [...op.operands, ...op.results].filter((value) => has(value, neurons));
    if (touched.length === 0 || op.name === 'param' || op.name === 'cast') return true;
    if (op.name === 'grouped_linear') {
      indices.add(op.operands[1] as Value);
      return true;
    }
    const apart = touched.every((value) => has(value, experts));
    if (op.name === 'matmul' || op.name === 'transpose') return apart;
    return (opTable[op.name].category === 'elementwise' || op.name === 'swiglu') && touched.length > 0;
  };
  return func.body.every(keeps) && indices.size <= 1;
}

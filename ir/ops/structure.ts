/** Structural ops: weights, states, repetition over layers and calls of outlined kernels. */
import { attr, defineOp, type InferContext, InferError, operand, variadic } from '../op.js';
import type { Tensor } from '../tensor.js';
import { printType, type TensorType, typesEqual } from '../type.js';

function checkArguments(
  types: readonly TensorType[],
  callee: string,
  context: InferContext,
): readonly TensorType[] {
  const { args, results } = context.signature(callee);
  if (args.length !== types.length) {
    throw new InferError(`@${callee} takes ${args.length} arguments, ${types.length} given`, {
      kind: 'shape',
    });
  }
  types.forEach((type, i) => {
    const wanted = args[i] as TensorType;
    if (!typesEqual(type, wanted)) {
      throw new InferError(
        `argument ${i} of @${callee} must be ${printType(wanted)}, not ${printType(type)}`,
        { kind: 'shape', operand: i },
      );
    }
  });
  return results;
}

export const structureOps = {
  param: defineOp({
    doc: 'a weight of the module; inside a loop, the instance of the current turn',
    category: 'structure',
    operands: [],
    attrs: { name: attr('symbol', 'the parameter') },
    infer: (_types, { name }, context) => [context.paramType(name)],
    evaluate: (_inputs, { name }, context) => [context.param(name)],
    flops: () => 0,
  }),

  state_read: defineOp({
    doc: 'the value a state had when the function was called; inside a loop, the instance of the current turn',
    category: 'structure',
    operands: [],
    attrs: { name: attr('symbol', 'the state') },
    infer: (_types, { name }, context) => [context.stateType(name)],
    evaluate: (_inputs, { name }, context) => [context.readState(name)],
    flops: () => 0,
  }),

  state_write: defineOp({
    doc: 'gives a state its value for later calls; at most once per function and state, after every read',
    category: 'structure',
    operands: [operand('value', 'type of the state')],
    attrs: { name: attr('symbol', 'the state') },
    effects: true,
    infer: ([type], { name }, context) => {
      const wanted = context.stateType(name);
      if (typesEqual(type as TensorType, wanted)) return [];
      throw new InferError(
        `state @${name} is ${printType(wanted)}, the value is ${printType(type as TensorType)}`,
        { kind: 'shape', operand: 0 },
      );
    },
    evaluate: ([value], { name }, context) => {
      context.writeState(name, value as Tensor);
      return [];
    },
    flops: () => 0,
  }),

  repeat: defineOp({
    doc: 'calls a function once per turn of a loop: the first `carried` operands are replaced by its results each turn, the others stay',
    category: 'structure',
    operands: [variadic(operand('arguments', 'carried values, then invariants'))],
    attrs: {
      callee: attr('symbol', 'the function of one turn'),
      loop: attr('symbol', 'the loop'),
      carried: attr('int', 'how many operands are carried'),
    },
    effects: true,
    infer: (types, { callee, carried }, context) => {
      const results = checkArguments(types, callee, context);
      if (results.length !== carried || carried > types.length) {
        throw new InferError(`@${callee} returns ${results.length} values, ${carried} are carried`, {
          kind: 'shape',
        });
      }
      results.forEach((type, i) => {
        if (!typesEqual(type, types[i] as TensorType)) {
          throw new InferError(
            `carried value ${i} changes from ${printType(types[i] as TensorType)} to ${printType(type)}`,
            { kind: 'shape', operand: i },
          );
        }
      });
      return results;
    },
    evaluate: (inputs, { callee, loop, carried }, context) => {
      let values = inputs.slice(0, carried);
      const invariants = inputs.slice(carried);
      for (let turn = 0; turn < context.loopCount(loop); turn++) {
        values = [...context.call(callee, [...values, ...invariants], turn)];
      }
      return values;
    },
    flops: () => 0,
  }),

  kernel: defineOp({
    doc: 'calls an outlined kernel function: one unit of work of a target, made by the fuse pass',
    category: 'structure',
    operands: [variadic(operand('arguments', 'the arguments of the kernel function'))],
    attrs: { callee: attr('symbol', 'the kernel function') },
    infer: (types, { callee }, context) => checkArguments(types, callee, context),
    evaluate: (inputs, { callee }, context) => context.call(callee, inputs),
    flops: () => 0,
  }),
};

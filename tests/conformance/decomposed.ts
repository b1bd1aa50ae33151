/** Rewrites ops into their decompositions, so that both meanings can be run and compared. */
import { moduleScope, rewriteFunc } from '../../ir/builder.js';
import type { Module } from '../../ir/module.js';
import { opTable } from '../../ir/ops/table.js';

/** The module with every op that has a decomposition decomposed once. */
export function decomposeOnce(module: Module): Module {
  const functions = [...module.functions.values()].map((func) => {
    const scope = moduleScope(module, func.loop);
    return rewriteFunc(func, scope, (op, operands, builder) =>
      opTable[op.name].decompose?.(builder, operands, op.attrs),
    );
  });
  return { ...module, functions: new Map(functions.map((f) => [f.name, f])) };
}

/** Decomposes until only primitive ops are left. */
export function decomposeFully(module: Module): Module {
  const left = [...module.functions.values()].some((f) =>
    f.body.some((op) => opTable[op.name].decompose !== undefined),
  );
  return left ? decomposeFully(decomposeOnce(module)) : module;
}

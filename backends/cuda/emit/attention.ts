/** Attention: a warp per query and head. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import { type KernelContext, type KernelEmitter, warps } from './kernel.js';

function constantSize(context: KernelContext, value: Dim): number | undefined {
  return constantOf(context.resolve(value));
}

export const emitAttention: KernelEmitter = (context) => {
  const { code, root } = context;
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const [result] = context.func.results as [Value];
  const { causal, scale } = (root as OpOf<'attention'>).attrs;
  const lead = q.type.shape.slice(0, -1);
  const [heads, kv] = [q, k].map((value) => context.size(value.type.shape.at(-2) as Dim)) as [string, string];
  const length = context.size(k.type.shape.at(-3) as Dim);
  const [width, valueWidth] = [q, v].map((value) => constantSize(context, value.type.shape.at(-1) as Dim));
  context.libraries.add('attentionRows');
  code.line('await_predecessor();');
  code.line('const int row = block * kWarps + threadIdx.x / 32;');
  code.line(`if (row >= ${context.size(productOfDims(lead))}) return;`);
  const index = declareIndex(context, lead.map(context.size), 'row', 'int');
  const [outer, token, head] = [index.slice(0, -2), index.at(-2) as string, index.at(-1) as string];
  const first = offset === undefined ? '0' : `${context.pointer(offset)}[0]`;
  code.line(`const int visible = ${causal ? `max(0, min(${length}, ${first} + ${token} + 1))` : length};`);
  code.line(`const int key_head = ${head} * ${kv} / ${heads};`);
  const expressions = new Expressions(context);
  const at = (value: Value, where: readonly string[]): string => `&${expressions.element(value, where)}`;
  const stride = (value: Value): string => context.size(productOfDims(value.type.shape.slice(-2)));
  code.line(
    `attend_row<${width}, ${valueWidth}>(${at(q, [...index, '0'])}, ${at(k, [...outer, '0', 'key_head', '0'])}, ${at(v, [...outer, '0', 'key_head', '0'])}, ${stride(k)}, ${stride(v)}, visible, ${floatLiteral(scale)}, ${at(result, [...index, '0'])});`,
  );
  return [{ count: productOfDims(lead), per: warps }];
};

/** Attention: a warp per query and head; that of one token is in decode-attention.ts. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { keyRows } from './cache-rows.js';
import { decodeShape, emitDecode } from './decode-attention.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import { emitFlashAttention, fitsTensorCores } from './flash-attention.js';
import { type KernelContext, type KernelEmitter, warps } from './kernel.js';
import { viewed } from './view.js';

function constantSize(context: KernelContext, value: Dim): number | undefined {
  return constantOf(context.resolve(value));
}

/** Declares the keys that the query of `token` sees: `visible` of them, from the key `oldest` on. */
function declareVisible(context: KernelContext, token: string): void {
  const { code } = context;
  const [, k, , offset] = context.root.operands as [Value, Value, Value, Value?];
  const { causal, window } = (context.root as OpOf<'attention'>).attrs;
  const length = context.size(k.type.shape.at(-3) as Dim);
  if (!causal) {
    code.line(`const int oldest = 0, visible = ${length};`);
    return;
  }
  const first = offset === undefined ? '0' : `${context.pointer(offset)}[0]`;
  code.line(`const int end = max(0, min(${length}, ${first} + ${token} + 1));`);
  code.line(
    `const int oldest = ${window > 0 ? `min(end, max(0, ${first} + ${token} + 1 - ${window}))` : '0'};`,
  );
  code.line('const int visible = end - oldest;');
}

export const emitAttention: KernelEmitter = (context) => {
  const shape = decodeShape(context.root as OpOf<'attention'>, context.resolve);
  if (shape !== undefined) return emitDecode(context, shape);
  return fitsTensorCores(context) ? emitFlashAttention(context) : emitRows(context);
};

const emitRows: KernelEmitter = (context) => {
  const { code, root } = context;
  const [q, k, v] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const { scale } = (root as OpOf<'attention'>).attrs;
  const lead = q.type.shape.slice(0, -1);
  const [heads, kv] = [q, k].map((value) => context.size(value.type.shape.at(-2) as Dim)) as [string, string];
  const [width, valueWidth] = [q, v].map((value) => constantSize(context, value.type.shape.at(-1) as Dim));
  context.libraries.add('cacheRows');
  context.libraries.add('attentionRows');
  code.line('await_predecessor();');
  code.line('const int row = block * kWarps + threadIdx.x / 32;');
  code.line(`if (row >= ${context.size(productOfDims(lead))}) return;`);
  const index = declareIndex(context, lead.map(context.size), 'row', 'int');
  const [outer, token, head] = [index.slice(0, -2), index.at(-2) as string, index.at(-1) as string];
  declareVisible(context, token);
  code.line(`const int key_head = ${head} * ${kv} / ${heads};`);
  const expressions = new Expressions(context);
  const at = (value: Value, where: readonly string[]): string => {
    const { source, index: own } = viewed(context, value, where);
    return `&${expressions.element(source, own)}`;
  };
  const rows = (value: Value): string => keyRows(context, value, [...outer, 'oldest', 'key_head', '0']);
  code.line(
    `attend_row<${width}, ${valueWidth}>(${at(q, [...index, '0'])}, ${rows(k)}, ${rows(v)}, visible, ${floatLiteral(scale)}, ${at(result, [...index, '0'])});`,
  );
  return [{ count: productOfDims(lead), per: warps }];
};

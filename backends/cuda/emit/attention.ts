/** Attention: a warp per query and head, or, for one token over a long cache, blocks that share the keys of a head. */
import { constantOf, type Dim, dim, productOfDims } from '../../../ir/dim.js';
import { type Func, type Module, modelDims, type OpOf, type Value } from '../../../ir/module.js';
import { resolver, rootOf } from '../../kernel-function.js';
import { Code } from './code.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import { type KernelContext, type KernelEmitter, type Phase, scratch, warps } from './kernel.js';

function constantSize(context: KernelContext, value: Dim): number | undefined {
  return constantOf(context.resolve(value));
}

/** Blocks among which the keys of one key head are split. */
const splits = 32;
/** Caches shorter than this are not worth a second launch. */
const shortestSplit = 256;

interface SplitShape {
  /** Query rows of one key head. */
  readonly rows: number;
  readonly width: number;
  readonly keyHeads: number;
  readonly group: number;
}

/** The shape of attention that is split among blocks: few queries, no batch, many keys, heads of a power of two. */
function splitShape(module: Module, root: OpOf<'attention'>): SplitShape | undefined {
  const resolve = resolver(modelDims(module));
  const [q, k, v] = root.operands as [Value, Value, Value];
  if (q.type.shape.length !== 3) return undefined;
  const sizes = [...q.type.shape, ...k.type.shape, v.type.shape.at(-1) as Dim].map((d) =>
    constantOf(resolve(d)),
  );
  if (sizes.some((size) => size === undefined)) return undefined;
  const [tokens, heads, width, length, keyHeads, , valueWidth] = sizes as number[] as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const group = heads / keyHeads;
  const rows = tokens * group;
  const fits =
    [16, 32, 64, 128, 256].includes(width) &&
    width === valueWidth &&
    rows >= 1 &&
    rows <= 8 &&
    rows * width <= 1024;
  return fits && length >= shortestSplit ? { rows, width, keyHeads, group } : undefined;
}

/** Bytes of the partial results. */
export function attentionScratch(module: Module, func: Func): Dim {
  const shape = splitShape(module, rootOf(func) as OpOf<'attention'>);
  return dim(shape === undefined ? 0 : shape.keyHeads * splits * shape.rows * (shape.width + 2) * 4);
}

/** Declares the keys that the query of `token` sees: `visible` of them, from the key `oldest` on. */
function declareVisible(context: KernelContext, code: Code, token: string): void {
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
  const shape = splitShape(context.module, context.root as OpOf<'attention'>);
  const single =
    constantOf(context.resolve((context.root.operands[0] as Value).type.shape.at(-3) as Dim)) === 1;
  return shape !== undefined && single ? emitSplit(context, shape) : emitRows(context);
};

function emitSplit(context: KernelContext, { rows, width, keyHeads, group }: SplitShape): readonly Phase[] {
  const [q, k, v] = (context.root.operands as Value[]).map(context.pointer) as [string, string, string];
  const [result] = context.func.results as [Value];
  const { scale } = (context.root as OpOf<'attention'>).attrs;
  context.libraries.add('splitAttention');
  const split = new Code();
  split.line(
    `constexpr int kRows = ${rows}, kWidth = ${width}, kSplits = ${splits}, kKeyHeads = ${keyHeads};`,
  );
  split.line('const int head = block / kSplits, split = block % kSplits;');
  split.line('await_predecessor();');
  declareVisible(context, split, '0');
  split.line(
    'const long long skipped = static_cast<long long>(oldest) * kKeyHeads * kWidth + head * kWidth;',
  );
  split.line(`const auto query = [&](int r) { return ${q} + (head * ${group} + r) * kWidth; };`);
  split.line(`auto* out = reinterpret_cast<PartialRow<kWidth>*>(${scratch}) + block * kRows;`);
  split.line(
    `attend_split<kRows, kWidth, kSplits>(query, ${k} + skipped, ${v} + skipped, kKeyHeads * kWidth, kKeyHeads * kWidth, visible, split, ${floatLiteral(scale)}, out);`,
  );
  const combine = new Code();
  combine.line(`constexpr int kRows = ${rows}, kWidth = ${width}, kSplits = ${splits};`);
  combine.line('await_predecessor();');
  combine.line('const int query = block * kWarps + threadIdx.x / 32;');
  combine.line(`if (query >= ${keyHeads * rows}) return;`);
  combine.line(
    `const auto* parts = reinterpret_cast<const PartialRow<kWidth>*>(${scratch}) + query / kRows * kSplits * kRows + query % kRows;`,
  );
  combine.line(`combine_splits<kWidth, kSplits>(parts, kRows, ${context.pointer(result)} + query * kWidth);`);
  return [
    { suffix: '', grid: [{ count: dim(keyHeads * splits), per: 1 }], code: split },
    { suffix: '_combine', grid: [{ count: dim(keyHeads * rows), per: warps }], code: combine },
  ];
}

const emitRows: KernelEmitter = (context) => {
  const { code, root } = context;
  const [q, k, v] = root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const { scale } = (root as OpOf<'attention'>).attrs;
  const lead = q.type.shape.slice(0, -1);
  const [heads, kv] = [q, k].map((value) => context.size(value.type.shape.at(-2) as Dim)) as [string, string];
  const [width, valueWidth] = [q, v].map((value) => constantSize(context, value.type.shape.at(-1) as Dim));
  context.libraries.add('attentionRows');
  code.line('await_predecessor();');
  code.line('const int row = block * kWarps + threadIdx.x / 32;');
  code.line(`if (row >= ${context.size(productOfDims(lead))}) return;`);
  const index = declareIndex(context, lead.map(context.size), 'row', 'int');
  const [outer, token, head] = [index.slice(0, -2), index.at(-2) as string, index.at(-1) as string];
  declareVisible(context, code, token);
  code.line(`const int key_head = ${head} * ${kv} / ${heads};`);
  const expressions = new Expressions(context);
  const at = (value: Value, where: readonly string[]): string => `&${expressions.element(value, where)}`;
  const stride = (value: Value): string => context.size(productOfDims(value.type.shape.slice(-2)));
  code.line(
    `attend_row<${width}, ${valueWidth}>(${at(q, [...index, '0'])}, ${at(k, [...outer, 'oldest', 'key_head', '0'])}, ${at(v, [...outer, 'oldest', 'key_head', '0'])}, ${stride(k)}, ${stride(v)}, visible, ${floatLiteral(scale)}, ${at(result, [...index, '0'])});`,
  );
  return [{ count: productOfDims(lead), per: warps }];
};

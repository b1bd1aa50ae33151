/** Attention of many queries on tensor cores (device/flash-attention.ts): a block per head and tile of queries. */
import { constantOf, type Dim, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import type { Grid } from '../../native/plan.js';
import { flashTilesOf } from '../device/flash-wgmma.js';
import type { FlashShape } from '../tuning.js';
import { cacheKind, keyRows } from './cache-rows.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import { flashVariants } from './flash-wgmma.js';
import type { KernelContext, Phase } from './kernel.js';
import { storageType } from './size.js';
import { viewed } from './view.js';

/** As in device/flash-attention.ts. */
const queryTile = 128;
/** Channels of a head whose tiles fit into shared memory and registers. */
const widestHead = 128;
/** Of fewer queries a tile would be almost empty. */
const fewestQueries = 16;

/** Whether the kernel has its tensors in 16-bit floats, heads that fit, and enough queries. */
export function fitsTensorCores(context: KernelContext): boolean {
  const { operands, attrs } = context.root as OpOf<'attention'>;
  const [q, k, v] = operands as [Value, Value, Value];
  const constant = (value: Value, axis: number): number | undefined =>
    constantOf(context.resolve(value.type.shape.at(axis) as Dim));
  const [width, valueWidth, tokens] = [constant(q, -1), constant(v, -1), constant(q, -3)];
  if (width === undefined || width !== valueWidth || width === 0 || width % 8 !== 0 || width > widestHead)
    return false;
  const narrow = q.type.dtype !== 'f32' && k.type.dtype === q.type.dtype && v.type.dtype === q.type.dtype;
  return narrow && (tokens === undefined || tokens >= fewestQueries) && attrs.scale > 0;
}

export function emitFlashAttention(context: KernelContext): readonly Phase[] {
  const { code, root } = context;
  const [q, k, v, offset] = root.operands as [Value, Value, Value, Value?];
  const [result] = context.func.results as [Value];
  const { scale, causal, window } = (root as OpOf<'attention'>).attrs;
  const shape = q.type.shape;
  const [outer, tokens, heads] = [shape.slice(0, -3), shape.at(-3) as Dim, shape.at(-2) as Dim];
  const element = storageType[q.type.dtype];
  context.libraries.add('tensorCores');
  context.libraries.add('cacheRows');
  context.libraries.add('flashAttention');
  code.line('await_predecessor();');
  code.line(`const int tiles = (${context.size(tokens)} + ${queryTile - 1}) / ${queryTile};`);
  code.line('const int head_of_all = static_cast<int>(block) / tiles;');
  // The last tiles see the most keys, so they come first.
  code.line(`const int tile = ${causal ? 'tiles - 1 - block % tiles' : 'block % tiles'};`);
  const lead = declareIndex(context, [...outer, heads].map(context.size), 'head_of_all', 'int');
  const head = lead.at(-1) as string;
  code.line(
    `const int key_head = ${head} * ${context.size(k.type.shape.at(-2) as Dim)} / ${context.size(heads)};`,
  );
  const rows = (name: string, value: Value, of: string): void => {
    const { source, index } = viewed(context, value, [...lead.slice(0, -1), '0', of, '0']);
    const stride = context.size(productOfDims(source.type.shape.slice(-2)));
    const constness = value === result ? '' : 'const ';
    code.line(
      `const Rows<${constness}${element}> ${name}{&${new Expressions(context).element(source, index)}, ${stride}};`,
    );
  };
  rows('queries', q, head);
  const keyIndex = [...lead.slice(0, -1), '0', 'key_head', '0'];
  code.line(`const auto keys = ${keyRows(context, k, keyIndex)};`);
  code.line(`const auto values = ${keyRows(context, v, keyIndex)};`);
  rows('out', result, head);
  const first = offset === undefined ? '0' : `${context.pointer(offset)}[0]`;
  const visible = `const Visible visible{${context.size(k.type.shape.at(-3) as Dim)}, ${causal ? first : '0'}, ${window}, ${causal}};`;
  code.line(visible);
  const sizeOf = (size: Dim): number => constantOf(context.resolve(size)) ?? 0;
  const width = sizeOf(shape.at(-1) as Dim);
  const flashShape: FlashShape = {
    width,
    heads: sizeOf(productOfDims([...outer, heads])),
    queries: sizeOf(tokens),
    keys: sizeOf(k.type.shape.at(-3) as Dim),
    mask: causal ? 'causal' : 'none',
    ...cacheKind(k, v),
  };
  const { keys, resident, hopper } = context.parameters('flash', flashShape);
  code.line(
    `attend_tile<${width}, ${keys}>(tile, ${context.size(tokens)}, queries, keys, values, visible, ${floatLiteral(scale)}, out);`,
  );
  const grid: Grid = [
    { count: productOfDims([...outer, heads]), per: 1 },
    { count: tokens, per: queryTile },
  ];
  const tiles = flashTilesOf(flashShape).filter((name) => hopper === 'auto' || hopper === name);
  return [{ suffix: '', grid, code, resident, variants: flashVariants(context, tiles, visible) }];
}

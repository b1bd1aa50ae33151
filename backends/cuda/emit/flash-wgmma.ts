/** Attention of many queries on Hopper (device/flash-wgmma.ts): a tile per head and 128 or 256 queries. */
import { constantOf, type Dim, dimBounds, productOfDims } from '../../../ir/dim.js';
import { dimRange, type OpOf, type Value } from '../../../ir/module.js';
import { type DType, dtypes } from '../../../ir/type.js';
import { type FlashTile, flashTiles } from '../device/flash-wgmma.js';
import { Code } from './code.js';
import { floatLiteral } from './elementwise.js';
import { declareIndex, Expressions } from './expression.js';
import type { KernelContext, Library, MatrixMap, Variant } from './kernel.js';
import { storageType } from './size.js';
import { viewed } from './view.js';
import { alignmentBytes } from './wgmma.js';

/** Of fewer queries the kernel of other GPUs is done as soon, for it begins sooner. */
const fewestQueries = 256;
/** Time of a tile. */
const costs: Readonly<Record<FlashTile, number>> = { two: 100, four: 150 };
/** Of a row in a box. */
const boxBytes = 128;
/** Shared memory of a multiprocessor that tiles may take. */
const tileBytes = 200 * 1024;
const mostStages = 4;

const librariesOf: Readonly<Partial<Record<DType, readonly Library[]>>> = {
  bf16: ['wgmmaBf16', 'flashBf16'],
  f16: ['wgmmaF16', 'flashF16'],
};

interface Placed {
  readonly map: MatrixMap;
  /** C++ of the element that a head begins with, and of the elements between two rows. */
  readonly offset: string;
  readonly columns: number;
}

/** Where heads at `index`, [.., token, head, channel], lie in the matrix behind a value, [.. tokens, heads channels]. */
function placed(
  context: KernelContext,
  value: Value,
  index: readonly string[],
  boxRows: number,
): Placed | undefined {
  const { source, index: own } = viewed(context, value, index);
  const rows = productOfDims(source.type.shape.slice(0, -2));
  const columns = constantOf(context.resolve(productOfDims(source.type.shape.slice(-2)))) ?? 0;
  const { min } = dimBounds(context.resolve(rows), (name) => dimRange(context.module, name));
  const isMatrix = columns > 0 && (columns * dtypes[source.type.dtype].bits) % 128 === 0 && min > 0;
  if (!isMatrix) return undefined;
  const map = { value: source, rows, columns, boxRows };
  return { map, offset: new Expressions(context).offset(source, own), columns };
}

/** The kernel with these tiles, or none where bulk copies cannot read the operands. */
export function flashVariants(
  context: KernelContext,
  tiles: readonly FlashTile[],
  visible: string,
): readonly Variant[] {
  return tiles.flatMap((tile) => flashVariant(context, tile, visible) ?? []);
}

function flashVariant(outer: KernelContext, tile: FlashTile, visible: string): Variant | undefined {
  const { groups, keys } = flashTiles[tile];
  const queries = 64 * groups;
  const code = new Code();
  const context = { ...outer, code };
  const [q, k, v] = context.root.operands as [Value, Value, Value];
  const [result] = context.func.results as [Value];
  const { scale } = (context.root as OpOf<'attention'>).attrs;
  const { shape, dtype } = q.type;
  const width = constantOf(context.resolve(shape.at(-1) as Dim)) as number;
  const [tokens, lead] = [shape.at(-3) as Dim, [...shape.slice(0, -3), shape.at(-2) as Dim]];

  const inHead = { ...context, code: code.part(1) };
  const index = declareIndex(inHead, lead.map(context.size), 'head_of_all', 'int');
  const head = index.at(-1) as string;
  const [heads, keyHeads] = [q, k].map(({ type }) => context.size(type.shape.at(-2) as Dim));
  inHead.code.line(`const int key_head = ${head} * ${keyHeads} / ${heads};`);
  const at = (own: string): string[] => [...index.slice(0, -1), '0', own, '0'];
  const places = [
    placed(inHead, q, at(head), queries),
    placed(inHead, k, at('key_head'), keys),
    placed(inHead, v, at('key_head'), keys),
  ].filter((place) => place !== undefined);
  if (places.length < 3) return undefined;

  for (const library of ['wgmma', ...(librariesOf[dtype] ?? []), 'flashWgmma'] as const)
    context.libraries.add(library);
  const element = storageType[dtype];
  const coordinates = places.map(({ offset, columns }, i) => {
    inHead.code.line(`const long long at${i} = ${offset};`);
    return `static_cast<int>(at${i} / ${columns}), static_cast<int>(at${i} % ${columns})`;
  });
  const stride = context.size(productOfDims(shape.slice(-2)));
  const out = `Rows<${element}>{&${new Expressions(context).element(result, at(head))}, ${stride}}`;
  inHead.code.line(`return HeadPlace<${element}>{${coordinates.join(', ')}, ${out}};`);
  code.line('await_predecessor();');
  code.block('const auto head_at = [&](int head_of_all)', () => code.add(inHead.code), '};');
  code.line(visible);
  const rowBytes = boxBytes * Math.ceil((width * 2) / boxBytes);
  const [queryBytes, stageBytes] = [queries * rowBytes, 2 * keys * rowBytes];
  const stages = Math.min(mostStages, Math.floor((tileBytes - queryBytes) / stageBytes));
  code.line(
    `attend_heads<${element}, ${width}, ${groups}, ${keys}, ${stages}>(${context.size(productOfDims(lead))}, ${context.size(tokens)}, &map0, &map1, &map2, head_at, visible, ${floatLiteral(scale)});`,
  );
  return {
    suffix: `_${tile}`,
    preferred: [],
    least: fewestQueries,
    code,
    grid: [
      { count: tokens, per: queries },
      { count: productOfDims(lead), per: 1 },
    ],
    threads: 128 + 128 * groups,
    shared: queryBytes + stages * stageBytes + alignmentBytes,
    cost: costs[tile],
    maps: places.map(({ map }) => map),
  };
}

/**
 * conv2d as a matrix product: for each image, group and output row, the input patches of that row are laid out in
 * scratch memory (one patch per output pixel), and multiplied with the group's [out, channels * kh * kw] weights.
 */
import { addDims, type Dim, divDims, mulDims, productOfDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { panelWidth } from '../packing.js';
import { type Expr, i32, type Local, type Make, type Size } from './asm.js';
import { Expressions } from './expression.js';
import { emitProduct } from './gemm.js';
import type { KernelContext, KernelEmitter, ScratchSize } from './kernel.js';
import { epilogue, matrixBytes, matrixPanels } from './matmul.js';

/** Elements of one patch: input channels of a group times the kernel window. */
function patchSize(weight: Value): Dim {
  return productOfDims(weight.type.shape.slice(1));
}

/** The weight as a stack of [out, patch] matrices, one per group. */
export function convolutionMatrices(root: OpOf<'conv2d'>): Dim[] {
  const weight = root.operands[1] as Value;
  const { groups } = root.attrs;
  return [addDims(groups, 0), divDims(weight.type.shape[0] as Dim, groups), patchSize(weight)];
}

export const emitConvolution: KernelEmitter = (context) => {
  const { asm } = context;
  const root = context.root as unknown as OpOf<'conv2d'>;
  const [x, w, bias] = root.operands as [Value, Value, Value?];
  const [images, , height, width] = context.sizes((root.results[0] as Value).type.shape) as [
    Size,
    Size,
    Size,
    Size,
  ];
  const [groups, columns, inner] = convolutionMatrices(root).map((d) => context.size(d)) as [
    Size,
    Size,
    Size,
  ];
  const patches = asm.local(i32);
  const biasAt = new Expressions(context);
  const matrix = (group: Local): Make => {
    const offset = asm.mul(group.get, matrixBytes(context, w, columns, inner));
    return () => asm.expr(asm.add(context.pointer(w).get, offset));
  };
  const rowOf = (image: Local, group: Local, y: Local): readonly Expr[] => {
    const channel = (column: Size): Size => asm.add(asm.mul(group.get, columns), column);
    return [
      ...layOutPatches(context, root, x, { image, group, y, patches }),
      ...emitProduct(context, {
        rows: width,
        inner,
        columns,
        panels: matrixPanels(context, w, matrix(group), columns, inner),
        rowAddress: (row) => asm.expr(asm.add(patches.get, asm.mul(row, asm.mul(inner, 4)))),
        ...(bias === undefined
          ? {}
          : { initial: (column: Size) => biasAt.vector(bias, [{ at: channel(column), lane: 1 }]) }),
        ...epilogue(context, (row, column, lane) => [
          { at: image.get, lane: 0 },
          { at: channel(column), lane },
          { at: y.get, lane: 0 },
          { at: row, lane: 0 },
        ]),
      }),
    ];
  };
  return [
    patches.set(asm.expr(asm.add(context.scratch.get, asm.mul(inner, panelWidth * 4)))),
    asm.loop(0, images, (image) => [
      asm.loop(0, groups, (group) => [asm.loop(0, height, (y) => rowOf(image, group, y))]),
    ]),
  ];
};

interface PatchRow {
  readonly image: Local;
  readonly group: Local;
  readonly y: Local;
  readonly patches: Local;
}

/** patches[ox][c][ky][kx] = x[image, group's channel c, oy * stride + ky * dilation - top, …], zero outside. */
function layOutPatches(
  context: KernelContext,
  root: OpOf<'conv2d'>,
  x: Value,
  { image, group, y, patches }: PatchRow,
): readonly Expr[] {
  const { asm, m } = context;
  const [, , height, width] = context.sizes(x.type.shape) as [Size, Size, Size, Size];
  const [, channels, windowHeight, windowWidth] = context.sizes((root.operands[1] as Value).type.shape) as [
    Size,
    Size,
    Size,
    Size,
  ];
  const outWidth = context.sizes((root.results[0] as Value).type.shape)[3] as Size;
  const { stride, padding, dilation } = root.attrs;
  const [sourceY, sourceX, to] = [asm.local(i32), asm.local(i32), asm.local(i32)];
  const source = new Expressions(context);
  const position = (out: Local, k: Local, axis: 0 | 1): Size =>
    asm.sub(
      asm.add(asm.mul(out.get, stride[axis] as number), asm.mul(k.get, dilation[axis] as number)),
      padding[axis] as number,
    );
  const copy = (c: Local, ky: Local, kx: Local, ox: Local): readonly Expr[] => {
    const index = [
      { at: image.get, lane: 0 },
      { at: asm.add(asm.mul(group.get, channels), c.get), lane: 0 },
      { at: sourceY.get, lane: 0 },
      { at: sourceX.get, lane: 0 },
    ];
    const inside = m.i32.and(
      m.i32.lt_u(sourceY.get(), asm.expr(height)),
      m.i32.lt_u(sourceX.get(), asm.expr(width)),
    );
    return [
      sourceY.set(asm.expr(position(y, ky, 0))),
      sourceX.set(asm.expr(position(ox, kx, 1))),
      m.f32.store(0, 4, to.get(), m.if(inside, source.scalar(x, index), m.f32.const(0))),
      to.set(asm.expr(asm.add(to.get, 4))),
    ];
  };
  return [
    to.set(patches.get()),
    asm.loop(0, outWidth, (ox) => [
      asm.loop(0, channels, (c) => [
        asm.loop(0, windowHeight, (ky) => [asm.loop(0, windowWidth, (kx) => copy(c, ky, kx, ox))]),
      ]),
    ]),
  ];
}

export const convolutionScratch: ScratchSize = (_func, root) => {
  const inner = patchSize(root.operands[1] as Value);
  const width = (root.results[0] as Value).type.shape[3] as Dim;
  return addDims(mulDims(inner, panelWidth * 4), mulDims(mulDims(width, inner), 4));
};

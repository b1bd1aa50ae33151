/** conv2d and pooling: a thread per element of the result. */
import { constantOf, type Dim } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { Expressions, storeResult } from './expression.js';
import type { KernelContext, KernelEmitter } from './kernel.js';
import { threadPerElement } from './pointwise.js';

interface Taps {
  readonly kernel: readonly [number, number];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
}

function sizeOf(context: KernelContext, value: Dim): number {
  return constantOf(context.resolve(value)) as number;
}

/** Runs `body` for each tap of the window at (y, x) that lies inside the image, with `row` and `column` declared. */
function overTaps(
  { code }: KernelContext,
  { kernel, stride, padding, dilation }: Taps,
  [height, width]: readonly [string, string],
  [y, x]: readonly [string, string],
  body: () => void,
): void {
  code.block(`for (int tap_row = 0; tap_row < ${kernel[0]}; tap_row++)`, () => {
    code.line(`const int row = ${y} * ${stride[0]} - ${padding[0]} + tap_row * ${dilation[0]};`);
    code.line(`if (row < 0 || row >= ${height}) continue;`);
    code.block(`for (int tap_column = 0; tap_column < ${kernel[1]}; tap_column++)`, () => {
      code.line(`const int column = ${x} * ${stride[1]} - ${padding[1]} + tap_column * ${dilation[1]};`);
      code.line(`if (column < 0 || column >= ${width}) continue;`);
      body();
    });
  });
}

export const emitConvolution: KernelEmitter = (context) => {
  const { code, root } = context;
  const [image, w, bias] = root.operands as [Value, Value, Value?];
  const [result] = context.func.results as [Value];
  const { groups, stride, padding, dilation } = (root as OpOf<'conv2d'>).attrs;
  const [outputs, perGroup, kh, kw] = w.type.shape.map((d) => sizeOf(context, d)) as [
    number,
    number,
    number,
    number,
  ];
  const [height, width] = image.type.shape.slice(2).map(context.size) as [string, string];
  const shape = (root.results[0] as Value).type.shape;
  return threadPerElement(context, shape, context.indexType(image.type, result.type), (index) => {
    const [n, o, y, x] = index as [string, string, string, string];
    const start = bias === undefined ? '0.0f' : new Expressions(context).value(bias, [o]);
    code.line(`float sum = ${start};`);
    code.block(`for (int c = 0; c < ${perGroup}; c++)`, () => {
      const channel = groups === 1 ? 'c' : `(${o} / ${outputs / groups} * ${perGroup} + c)`;
      overTaps(context, { kernel: [kh, kw], stride, padding, dilation }, [height, width], [y, x], () => {
        const expressions = new Expressions(context);
        const pixel = expressions.value(image, [n, channel, 'row', 'column']);
        const weight = expressions.value(w, [o, 'c', 'tap_row', 'tap_column']);
        code.line(`sum += ${pixel} * ${weight};`);
      });
    });
    storeResult(context, result, index, new Map([[root.results[0] as Value, 'sum']]));
  });
};

function emitPool(
  context: KernelContext,
  start: string,
  step: (pixel: string) => string,
  finish: (kernel: readonly [number, number]) => string,
): ReturnType<KernelEmitter> {
  const { code, root } = context;
  const [image] = root.operands as [Value];
  const [result] = context.func.results as [Value];
  const { kernel, stride, padding } = (root as OpOf<'max_pool2d'>).attrs;
  const [height, width] = image.type.shape.slice(2).map(context.size) as [string, string];
  const window = kernel as unknown as readonly [number, number];
  return threadPerElement(context, result.type.shape, context.indexType(image.type), (index) => {
    const [n, c, y, x] = index as [string, string, string, string];
    code.line(`float folded = ${start};`);
    code.line('int count = 0;');
    overTaps(context, { kernel: window, stride, padding, dilation: [1, 1] }, [height, width], [y, x], () => {
      code.line(`folded = ${step(new Expressions(context).value(image, [n, c, 'row', 'column']))};`);
      code.line('count++;');
    });
    code.line(`const float pooled = ${finish(window)};`);
    storeResult(context, result, index, new Map([[root.results[0] as Value, 'pooled']]));
  });
}

export const emitMaxPool: KernelEmitter = (context) =>
  emitPool(
    context,
    '-infinity()',
    (pixel) => `maximum(folded, ${pixel})`,
    () => 'count == 0 ? -infinity() : folded',
  );

export const emitAvgPool: KernelEmitter = (context) => {
  const { count_include_pad } = (context.root as OpOf<'avg_pool2d'>).attrs;
  return emitPool(
    context,
    '0.0f',
    (pixel) => `folded + ${pixel}`,
    ([rows, columns]) => (count_include_pad ? `folded / ${rows * columns}.0f` : 'folded / count'),
  );
};

/** Convolutions and pooling: rows of an image under each tap of a window, added up or compared on the vector cores. */
import { type Dim, dim, divDims } from '../../../ir/dim.js';
import type { OpOf, Value } from '../../../ir/module.js';
import { emitAccumulation, total } from './accumulate.js';
import { add, floatLiteral, mul, scalar, vector } from './elementwise.js';
import type { Coordinate, Leaf, Source } from './expression.js';
import type { KernelBody, KernelContext } from './kernel.js';
import { factor, product, sum } from './size.js';

interface Window {
  readonly stride: readonly [number, number];
  /** Top, left, bottom, right. */
  readonly padding: readonly [number, number, number, number];
  readonly dilation: readonly [number, number];
}

/** Where element `at` of the result reads the image; unsigned, so what lies before the image is beyond its end. */
const read = (at: string, stride: number, tap: string, dilation: number, before: number): string =>
  sum([product([at, String(stride)]), product([tap, String(dilation)])]) + (before > 0 ? ` - ${before}` : '');

/** The coordinates of the image that `windowLeaf` reads, from names of the output row and of the taps. */
function windowLines(
  { stride, padding, dilation }: Window,
  outRow: string,
  down: string,
  across: string,
): string[] {
  return [
    `const uint32_t imageRow = ${read(outRow, stride[0], down, dilation[0], padding[0])};`,
    `const uint32_t imageColumn = ${read('column', stride[1], across, dilation[1], padding[1])};`,
  ];
}

/** The elements of an image under one tap of a window; `fill` where that is outside. */
function windowLeaf(
  context: KernelContext,
  x: Value,
  window: Window,
  image: string,
  channel: string,
  fill: number,
): Leaf {
  const { stride, padding } = window;
  const [channels, height, width] = x.type.shape.slice(1).map(context.size) as [string, string, string];
  const [top, left, bottom, right] = padding;
  const perLane = left > 0 || right > 0 || stride[1] !== 1;
  const at = perLane ? sum(['imageColumn', product(['lane', String(stride[1])])]) : 'imageColumn';
  const plane = sum([product([image, factor(channels)]), channel]);
  const offset = `((${plane}) * ${factor(height)} + imageRow) * ${factor(width)} + ${at}`;
  const conditions = [
    ...(top > 0 || bottom > 0 ? [`imageRow < ${height}`] : []),
    ...(left > 0 || right > 0 ? [`${at} < ${width}`] : []),
  ];
  const isPadded = conditions.length > 0;
  const inside: Source = {
    argument: x,
    offset,
    step: '1',
    perLane,
    ...(isPadded && { condition: conditions.join(' && ') }),
  };
  const sources = isPadded ? [inside, { fill, perLane }] : [inside];
  return { kind: perLane ? 'scattered' : 'contiguous', dtype: x.type.dtype, sources, name: 'window' };
}

export function emitConvolution(context: KernelContext): KernelBody {
  const root = context.root as OpOf<'conv2d'>;
  const [x, w, bias] = root.operands as [Value, Value, Value?];
  const { groups } = root.attrs;
  const window = root.attrs as unknown as Window;
  const [outputs, inner, down, across] = w.type.shape as [Dim, Dim, Dim, Dim];
  const { shape } = (root.results[0] as Value).type;
  const [perGroup, innerText] = [context.size(divDims(outputs, groups)), context.size(inner)];
  const channelOf = (row: readonly string[], step: readonly string[]): string =>
    groups === 1
      ? (step[0] as string)
      : sum([product([`(${row[1]} / ${factor(perGroup)})`, factor(innerText)]), step[0] as string]);
  return emitAccumulation(context, {
    about: 'Rows of the image under each tap, times the tap, are added up.',
    lead: shape.slice(0, -1),
    steps: [inner, down, across],
    fold: 'Add',
    lines: (row, step) => windowLines(window, row[2] as string, step[1] as string, step[2] as string),
    term: (expressions, row, step) => {
      const [image] = row as [Coordinate];
      const names = [row, step].map((index) => index.map(({ at }) => at)) as [string[], string[]];
      const pixels = expressions.leaf(windowLeaf(context, x, window, image.at, channelOf(...names), 0));
      const tap = expressions.value(w, [row[1] as Coordinate, ...step]);
      return mul(expressions.program, [pixels, tap]);
    },
    ...(bias && {
      finish: (expressions, row) =>
        add(expressions.program, [
          vector(total),
          expressions.value(bias, [{ at: row[1] as string, step: 0 }]),
        ]),
    }),
  });
}

export function emitPool(context: KernelContext): KernelBody {
  const root = context.root as OpOf<'max_pool2d'> | OpOf<'avg_pool2d'>;
  const [x] = root.operands as [Value];
  const [down, across] = root.attrs.kernel as readonly [number, number];
  const window: Window = { ...(root.attrs as unknown as Window), dilation: [1, 1] };
  const [height, width] = x.type.shape.slice(-2).map(context.size) as [string, string];
  const isMax = root.name === 'max_pool2d';
  const { padding, stride } = window;
  const isPadded = padding.some((p) => p > 0);
  const whole = root.name === 'avg_pool2d' && (root.attrs.count_include_pad || !isPadded);
  const { shape } = (root.results[0] as Value).type;
  return emitAccumulation(context, {
    about: 'Rows of the image under each tap of the window are folded.',
    lead: shape.slice(0, -1),
    steps: [dim(down), dim(across)],
    fold: isMax ? 'Max' : 'Add',
    lines: (row, step) => windowLines(window, row[2] as string, step[0] as string, step[1] as string),
    term: (expressions, row) =>
      expressions.leaf(
        windowLeaf(
          context,
          x,
          window,
          row[0]?.at as string,
          row[1]?.at as string,
          isMax ? Number.NEGATIVE_INFINITY : 0,
        ),
      ),
    ...(whole && {
      finish: (expressions) =>
        mul(expressions.program, [vector(total), scalar(floatLiteral(1 / (down * across)))]),
    }),
    ...(!isMax &&
      !whole && {
        adjust: (row) => [
          'float elements = 0.0f;',
          `for (uint32_t down = 0; down < ${down}; ++down) {`,
          `    for (uint32_t across = 0; across < ${across}; ++across) {`,
          `        const uint32_t imageRow = ${read(row[2] as string, stride[0], 'down', 1, padding[0])};`,
          `        const uint32_t imageColumn = ${read('(column + lane)', stride[1], 'across', 1, padding[1])};`,
          `        if (imageRow < ${height} && imageColumn < ${width}) elements += 1.0f;`,
          '    }',
          '}',
          'total.SetValue(lane, total.GetValue(lane) / elements);',
        ],
      }),
  });
}

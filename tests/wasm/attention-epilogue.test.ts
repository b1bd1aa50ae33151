/** What follows attention elementwise and is part of its kernel, against the interpreter, over odd sizes. */
import { describe, expect, test } from 'vitest';
import { legalise } from '../../backends/wasm/legalise.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { constantOf, dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module, type Value, withFunctions } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount, tensorType } from '../../ir/type.js';
import { dce } from '../../passes/dce.js';
import { fuse } from '../../passes/fuse.js';
import { differences } from '../conformance/case.js';
import { randomFrom } from '../conformance/random.js';
import { runKernels } from './kernel-harness.js';

interface Sizes {
  /** Axes before queries, heads and channels. */
  readonly lead: readonly number[];
  readonly heads: number;
  readonly kv: number;
  readonly width: number;
  /** Channels of a value. */
  readonly valueWidth: number;
}

const sizes: readonly Sizes[] = [
  { lead: [], heads: 2, kv: 1, width: 4, valueWidth: 4 },
  { lead: [2], heads: 2, kv: 2, width: 8, valueWidth: 6 },
  { lead: [3], heads: 3, kv: 1, width: 5, valueWidth: 3 },
  { lead: [2, 3], heads: 2, kv: 2, width: 4, valueWidth: 8 },
];

type Finish = (b: FuncBuilder, a: Value, other: Value, lead: readonly number[]) => Value;

const joinHeads = (b: FuncBuilder, a: Value): Value => {
  const [heads, width] = a.type.shape.slice(-2).map((d) => constantOf(d) as number) as [number, number];
  return b.one('reshape', [a], { shape: [...a.type.shape.slice(0, -2), dim(heads * width)] });
};

const finishes: Readonly<Record<string, Finish>> = {
  'a scale and a residual': (b, a, other) => b.one('add', [b.one('mul', [a, other]), other]),
  'a cast to 16 bits': (b, a) => b.one('cast', [a], { dtype: 'f16' }),
  'quantization of joined heads': (b, a) =>
    b.one('quantize', [joinHeads(b, a), b.one('full', [], { value: 0.02 })], { dtype: 'i8' }),
  'quantization of joined heads by sample': (b, a, _other, lead) => {
    const shape = [...lead.map((n) => dim(n)), dim(1), dim(1)];
    const scale = b.one('exp', [b.one('full', [], { value: -4, shape })]);
    const zero = b.one('full', [], { value: 3, dtype: 'u8', shape });
    return b.one('quantize', [joinHeads(b, a), scale, zero], { dtype: 'u8' });
  },
};

function moduleOf({ lead, heads, kv, width, valueWidth }: Sizes, finish: Finish): Module {
  const module = { ...emptyModule('m'), dims: new Map([['T', { min: 1, max: 6 }]]) };
  const b = new FuncBuilder('main', moduleScope(module), { outputs: ['y'] });
  const arg = (name: string, count: number, channels: number): Value =>
    b.arg(tensorType('f32', [...lead, dim('T'), count, channels]), name);
  const [q, k, v] = [arg('q', heads, width), arg('k', kv, width), arg('v', kv, valueWidth)];
  const other = arg('other', heads, valueWidth);
  const a = b.one('attention', [q, k, v], { causal: true, scale: 0.5 });
  return withFunctions(module, [b.finish([finish(b, a, other, lead)])]);
}

function inputsOf({ lead, heads, kv, width, valueWidth }: Sizes, tokens: number): Record<string, Tensor> {
  const random = randomFrom(tokens * 100 + width);
  const values = (count: number, channels: number): Tensor => {
    const shape = [...lead, tokens, count, channels];
    return tensor(
      'f32',
      shape,
      Float32Array.from({ length: elementCount(shape) }, () => 3 * random() - 1.5),
    );
  };
  return {
    q: values(heads, width),
    k: values(kv, width),
    v: values(kv, valueWidth),
    other: values(heads, valueWidth),
  };
}

describe.each(Object.entries(finishes))('%s', (_name, finish) => {
  test.each(sizes)('%o', (size) => {
    const module = moduleOf(size, finish);
    const legal = dce.run(legalise(module), {}).module;
    const { module: fused } = fuse.run(legal, {
      epilogues: true,
      quantized_rows: true,
      attention_epilogues: true,
      constant_operands: true,
      narrow_caches: false,
    });
    const classes = [...fused.functions.values()].flatMap(({ kernel }) => kernel ?? []);
    expect(classes.filter((name) => name === 'attention')).toHaveLength(1);
    const body = [...fused.functions.values()].find(({ kernel }) => kernel === 'attention')?.body ?? [];
    expect(body.length).toBeGreaterThan(1);
    for (const tokens of [1, 3, 5]) {
      const inputs = inputsOf(size, tokens);
      const [found, wanted] = [runKernels(legal, inputs), interpretEntry(module, 'main', inputs)];
      const isCodes = wanted.y?.dtype === 'i8' || wanted.y?.dtype === 'u8';
      if (!isCodes) {
        expect(differences(wanted, found, { f16: { absolute: 2e-3, relative: 2e-3 } })).toEqual([]);
        continue;
      }
      const moved = [...(found.y as Tensor).data].map((code, i) =>
        Math.abs(code - (wanted.y?.data[i] as number)),
      );
      expect(Math.max(...moved)).toBeLessThanOrEqual(1);
      expect(moved.filter((step) => step > 0).length).toBeLessThanOrEqual(Math.max(1, moved.length * 0.05));
    }
  });
});

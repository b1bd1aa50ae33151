/** Rows that their kernel makes and quantizes, against the interpreter, over odd widths. */
import { describe, expect, test } from 'vitest';
import { legalise } from '../../backends/wasm/legalise.js';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { dim } from '../../ir/dim.js';
import { interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module, type Value, withFunctions } from '../../ir/module.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, tensorType } from '../../ir/type.js';
import { fuse } from '../../passes/fuse.js';
import { randomFrom } from '../conformance/random.js';
import { runKernels } from './kernel-harness.js';

interface Settings {
  readonly dtype: DType;
  readonly symmetric: boolean;
}

type Make = (b: FuncBuilder, x: Value, y: Value) => Value;

/** What makes a row; `exact` where floats and the interpreter round alike. */
const makers: Readonly<Record<string, { readonly make: Make; readonly exact: boolean }>> = {
  rms_norm: { make: (b, x) => b.one('rms_norm', [x], { eps: 1e-5 }), exact: false },
  'layer_norm and modulation': {
    make: (b, x, y) => {
      const normed = b.one('layer_norm', [x], { eps: 1e-6 });
      return b.one('add', [b.one('mul', [normed, y]), y]);
    },
    exact: false,
  },
  softmax: { make: (b, x) => b.one('softmax', [x]), exact: false },
  'an activation': {
    make: (b, x, y) => b.one('mul', [b.one('silu', [x]), y]),
    exact: false,
  },
  'a sum': { make: (b, x, y) => b.one('relu', [b.one('add', [x, y])]), exact: true },
  'a sum of halves': {
    make: (b, x, y) => {
      const half = b.one('cast', [b.one('mul', [x, y])], { dtype: 'f16' });
      return b.one('sub', [b.one('cast', [half], { dtype: 'f32' }), y]);
    },
    exact: true,
  },
};

function moduleOf(make: Make, width: number, { dtype, symmetric }: Settings): Module {
  const module = { ...emptyModule('m'), dims: new Map([['T', { min: 1, max: 5 }]]) };
  const names = ['q', 'scale', ...(symmetric ? [] : ['zero'])];
  const b = new FuncBuilder('main', moduleScope(module), { outputs: names });
  const type = tensorType('f32', [2, dim('T'), width]);
  const [x, y] = [b.arg(type, 'x'), b.arg(type, 'y')];
  const row = make(b, x, y);
  const results = b.emit('dynamic_quantize', [row], { dtype, symmetric });
  return withFunctions(module, [b.finish(results)]);
}

function inputsOf(width: number, tokens: number): Record<string, Tensor> {
  const random = randomFrom(width * 10 + tokens);
  const values = (): Tensor =>
    tensor(
      'f32',
      [2, tokens, width],
      Float32Array.from({ length: 2 * tokens * width }, () => 4 * random() - 2),
    );
  return { x: values(), y: values() };
}

const settings: readonly Settings[] = [
  { dtype: 'i8', symmetric: true },
  { dtype: 'i8', symmetric: false },
  { dtype: 'u8', symmetric: false },
];

describe.each(Object.entries(makers))('%s', (_name, { make, exact }) => {
  test.each([1, 3, 4, 7, 16, 33])('rows of %i', (width) => {
    for (const setting of settings) {
      const module = moduleOf(make, width, setting);
      const { module: fused } = fuse.run(legalise(module), {
        epilogues: true,
        quantized_rows: true,
        attention_epilogues: true,
        constant_operands: true,
        narrow_caches: false,
      });
      const kernels = [...fused.functions.values()].filter(({ kernel }) => kernel !== undefined);
      expect(kernels.map(({ kernel }) => kernel)).toEqual(['row']);
      const inputs = inputsOf(width, 3);
      const found = runKernels(module, inputs);
      const wanted = interpretEntry(module, 'main', inputs);
      const differences = [...(found.q as Tensor).data].map((q, i) =>
        Math.abs(q - (wanted.q?.data[i] as number)),
      );
      expect(Math.max(...differences)).toBeLessThanOrEqual(exact ? 0 : 1);
      found.scale?.data.forEach((scale, i) => {
        const [own, tolerance] = [wanted.scale?.data[i] as number, exact ? 0 : 1e-5];
        expect(Math.abs(scale - own)).toBeLessThanOrEqual(tolerance * own);
      });
      // Of codes that rounding may move by one, few are so near to the middle of two.
      const moved = differences.filter((difference) => difference > 0).length;
      expect(moved).toBeLessThanOrEqual(Math.max(1, differences.length * 0.05));
    }
  });
});

test('a row that is read elsewhere too stays in memory', () => {
  const module = { ...emptyModule('m'), dims: new Map([['T', { min: 1, max: 5 }]]) };
  const b = new FuncBuilder('main', moduleScope(module), { outputs: ['q', 'scale', 'row'] });
  const x = b.arg(tensorType('f32', [dim('T'), 8]), 'x');
  const row = b.one('rms_norm', [x], { eps: 1e-5 });
  const [q, scale] = b.emit('dynamic_quantize', [row], { dtype: 'i8', symmetric: true }) as [Value, Value];
  const whole = withFunctions(module, [b.finish([q, scale, row])]);
  const { module: fused } = fuse.run(whole, {
    epilogues: true,
    quantized_rows: true,
    attention_epilogues: true,
    constant_operands: true,
    narrow_caches: false,
  });
  expect([...fused.functions.values()].filter(({ kernel }) => kernel === 'row')).toHaveLength(2);
});

/** Accuracy of the emitted mathematical functions against JavaScript's, over all magnitudes and at the edges. */
import { describe, expect, test } from 'vitest';
import { Asm, f32, type Local } from '../../backends/wasm/emit/asm.js';
import type { VectorFunction } from '../../backends/wasm/emit/math.js';
import { erf } from '../../ir/numeric.js';
import { randomFrom, seedOf } from '../conformance/random.js';
import { emptyWasmModule, instantiate, librariesOf } from './kernel-harness.js';

const inf = Number.POSITIVE_INFINITY;
const smallest = 2 ** -149;
const edges = [0, -0, inf, -inf, Number.NaN, smallest, -smallest, 2 ** -126, 1, -1, 3.4e38, -3.4e38, 1e-30];

/** `count` floats of both signs whose magnitudes are spread evenly over the exponents from `low` to `high`. */
function spread(name: string, low: number, high: number, count = 4000): number[] {
  const random = randomFrom(seedOf(name));
  const exponents = Math.log2(high) - Math.log2(low);
  return Array.from({ length: count }, () =>
    Math.fround((random() < 0.5 ? -1 : 1) * low * 2 ** (exponents * random())),
  );
}

function compiled(relaxed: boolean): Record<VectorFunction | 'pow', (...x: number[]) => number> {
  const m = emptyWasmModule();
  const { math } = librariesOf(m, { relaxed });
  const names: VectorFunction[] = ['exp', 'tanh', 'erf', 'sigmoid', 'log', 'sin', 'cos'];
  for (const name of names) {
    const asm = new Asm(m, { relaxed }, [f32]);
    asm.define(name, f32, [math.scalar(name, (asm.params[0] as Local).get())]);
    m.addFunctionExport(name, name);
  }
  const asm = new Asm(m, { relaxed }, [f32, f32]);
  asm.define('pow', f32, [math.pow((asm.params[0] as Local).get(), (asm.params[1] as Local).get())]);
  m.addFunctionExport('pow', 'pow');
  return instantiate(m, new WebAssembly.Memory({ initial: 1, maximum: 65536 })) as ReturnType<
    typeof compiled
  >;
}

/** The error that counts: relative, or absolute where that is smaller in proportion to its own bound. */
function excess(wanted: number, actual: number, { relative, absolute }: Bounds): number {
  if (Number.isNaN(wanted) || Number.isNaN(actual))
    return Number.isNaN(wanted) && Number.isNaN(actual) ? 0 : inf;
  const rounded = Math.fround(wanted);
  if (rounded === actual) return 0;
  if (!Number.isFinite(rounded)) return inf;
  const error = Math.abs(wanted - actual);
  return Math.min(error / (relative * Math.abs(wanted)), error / absolute);
}

interface Bounds {
  readonly relative: number;
  readonly absolute: number;
}

interface Row extends Bounds {
  readonly of: (x: number) => number;
  readonly inputs: readonly number[];
}

const usual: Bounds = { relative: 1e-6, absolute: 3e-7 };
/** Results near the top of the range cannot be judged absolutely, and those near zero only so. */
const relativeOnly: Bounds = { relative: 1e-6, absolute: 2 * smallest };

const rows: Record<VectorFunction, Row> = {
  exp: { ...relativeOnly, of: Math.exp, inputs: spread('exp', 1e-10, 120) },
  tanh: { ...relativeOnly, of: Math.tanh, inputs: spread('tanh', 1e-30, 30) },
  erf: { ...usual, of: erf, inputs: spread('erf', 1e-30, 8) },
  sigmoid: { ...usual, of: (x) => 1 / (1 + Math.exp(-x)), inputs: spread('sigmoid', 1e-10, 200) },
  log: { ...relativeOnly, of: Math.log, inputs: spread('log', smallest, 3e38) },
  sin: { ...usual, of: Math.sin, inputs: spread('sin', 1e-10, 1e8) },
  cos: { ...usual, of: Math.cos, inputs: spread('cos', 1e-10, 1e8) },
};

describe.each([false, true])('relaxed %s', (relaxed) => {
  const functions = compiled(relaxed);

  test.each(Object.entries(rows))('%s', (name, { of, inputs, ...bounds }) => {
    const isPeriodic = name === 'sin' || name === 'cos';
    const special = isPeriodic ? edges.filter((x) => !(Math.abs(x) > 1e8) || !Number.isFinite(x)) : edges;
    const worst = [...special, ...inputs]
      .map(Math.fround)
      .map((x) => ({ x, wanted: of(x), actual: functions[name as VectorFunction](x) }))
      .map((row) => ({ ...row, excess: excess(row.wanted, row.actual, bounds) }))
      .reduce((a, b) => (b.excess > a.excess ? b : a));
    expect(worst.excess, JSON.stringify(worst)).toBeLessThanOrEqual(1);
  });

  test('pow', () => {
    const bases = [...edges, 2, -2, 0.5, -0.5, 3, ...spread('base', 1e-8, 1e8, 60)];
    const powers = [...edges, 2, 3, -3, 0.5, -0.5, 7, 1 / 3, 16777217, ...spread('power', 1e-3, 30, 40)];
    const found = bases.flatMap((a) =>
      powers.map((b) => {
        const [base, power] = [Math.fround(a), Math.fround(b)];
        const wanted = base ** power;
        const actual = functions.pow(base, power);
        return { base, power, wanted, actual, excess: excess(wanted, actual, relativeOnly) };
      }),
    );
    const worst = found.reduce((a, b) => (b.excess > a.excess ? b : a));
    expect(worst.excess, JSON.stringify(worst)).toBeLessThanOrEqual(1);
  });
});

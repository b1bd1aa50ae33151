/** Predictions from counted work: which resource holds a kernel up, and what adds up to an entry. */
import { expect, test } from 'vitest';
import { chips } from '../../backends/ascendc/chips.js';
import { type Counters, type KernelWork, reportOf } from '../../backends/ascendc/report.js';

const none: Counters = {
  gm_to_ub: 0,
  ub_to_gm: 0,
  gm_to_l1: 0,
  l1_to_l0: 0,
  l0c_out: 0,
  vector_cycles: 0,
  cube_cycles: 0,
};
const work = (kernel: string, change: Partial<KernelWork>, busiest: Partial<Counters> = {}): KernelWork => ({
  kernel,
  blocks: 20,
  runs: 1,
  gm_read: 0,
  gm_written: 0,
  weights_read: 0,
  total: none,
  ...change,
  busiest: { ...none, ...busiest },
});

test('the slowest resource decides, and launches add up', () => {
  const records = [
    work('product', { runs: 3, gm_read: 1.6e6, weights_read: 1.5e6 }, { cube_cycles: 900 }),
    work('norm', { gm_read: 1600 }, { vector_cycles: 3600 }),
    work('dense', { gm_read: 1600 }, { cube_cycles: 36_000 }),
    work('steps', {}, { l1_to_l0: 128 * 1800 }),
    work('again', { total: { ...none, gm_to_ub: 7e6 } }),
  ];
  const memory = { UB: 94_080, L0A: 65_536 };
  const report = reportOf(chips['910b3'], 'decode', records, {
    product: { type: 'AIC_ONLY', cores: 20, memory },
  });
  const { product, norm, dense, steps, again } = Object.fromEntries(report.kernels.map((k) => [k.kernel, k]));
  expect([product, norm, dense, steps, again].map((k) => k?.bound)).toEqual([
    'memory',
    'vector',
    'cube',
    'L1',
    'L2',
  ]);
  expect(product?.predicted).toBeCloseTo(1e-6, 12);
  expect(norm?.predicted).toBeCloseTo(2e-6, 12);
  expect(dense?.predicted).toBeCloseTo(20e-6, 12);
  expect(steps?.predicted).toBeCloseTo(1e-6, 12);
  expect(again?.predicted).toBeCloseTo(1e-6, 12);
  expect(product?.occupancy).toEqual({ UB: 0.5, L0A: 1 });
  expect(report.kernels[0]?.kernel).toBe('dense');
  expect(report.totals).toMatchObject({ launches: 7, weightBytes: 4.5e6, memoryBytes: 3 * 1.6e6 + 3200 });
  expect(report.totals.predicted).toBeCloseTo(27e-6, 12);
  expect(report.totals.byteBound).toBeCloseTo(4.5e6 / 1.6e12, 12);
});

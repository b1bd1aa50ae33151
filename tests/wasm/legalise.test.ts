/** Legalisation: each rule on its op, that meaning is kept, and that nothing else changes. */
import { describe, expect, test } from 'vitest';
import { supports } from '../../backends/wasm/capabilities.js';
import { legalisationRules, legalise } from '../../backends/wasm/legalise.js';
import { interpretEntry } from '../../ir/interpret.js';
import type { Module, Op } from '../../ir/module.js';
import { opTable } from '../../ir/ops/table.js';
import { printModule } from '../../ir/print.js';
import { isFloat } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { caseModule, caseTitle, differences, refusesFourBit } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';

const bodyOf = (module: Module): readonly Op[] => module.functions.get('main')?.body ?? [];
const ruled = new Set<string>(legalisationRules.map((r) => r.op));
const widened = new Set<string>(
  legalisationRules.filter(({ name }) => name.endsWith('-in-f32')).map((r) => r.op),
);

test('rules have names of their own', () => {
  const names = legalisationRules.map((r) => r.name);
  expect(new Set(names).size).toBe(names.length);
});

describe('legalised ops', () => {
  const cases = opCases.filter((c) => ruled.has(c.op)).map((c) => [caseTitle(c), c] as const);
  test.each(cases)('%s', (_title, c) => {
    const { module, inputs } = caseModule(c, { weights: 'arguments' });
    const legal = legalise(module);
    expect(verifyModule(legal)).toEqual([]);
    expect(
      differences(interpretEntry(module, 'main', inputs), interpretEntry(legal, 'main', inputs), c.tolerance),
    ).toEqual([]);
    for (const op of bodyOf(legal)) {
      expect(['swiglu', 'modulate']).not.toContain(op.name);
      const activations = op.operands.filter(
        (o, i) => isFloat(o.type.dtype) && !opTable[op.name].operands[i]?.widens,
      );
      if (widened.has(op.name)) expect(activations.filter((o) => o.type.dtype !== 'f32')).toEqual([]);
      if (op.name !== 'softmax') continue;
      const rank = op.operands[0]?.type.shape.length ?? 0;
      expect((op.attrs.axis + rank) % rank).toBe(rank - 1);
    }
  });
});

test('other ops stay as they are', () => {
  for (const c of opCases.filter((each) => !ruled.has(each.op))) {
    const { module } = caseModule(c, { weights: 'parameters' });
    expect(printModule(legalise(module))).toBe(printModule(module));
  }
});

test('every op of the suite is supported', () => {
  for (const c of opCases) {
    const { module } = caseModule(c, { weights: 'parameters' });
    for (const op of bodyOf(module).filter((each) => each.name === c.op))
      expect(supports(op) === true, caseTitle(c)).toBe(!refusesFourBit(c));
  }
});

/** Every case of the conformance suite on the wasm backend, against the interpreter. */
import { describe, expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import { instantiate, runOnce } from '../wasm/run-module.js';
import { caseModule, caseTitle, differences, refusesFourBit } from './case.js';
import { moduleCases } from './cases/structure.js';
import { opCases } from './cases.js';

describe.each(['arguments', 'parameters'] as const)('weights as %s', (weights) => {
  const cases = opCases.filter(
    (c) => weights === 'arguments' || c.operands.some((operand) => operand.weight),
  );
  test.each(cases.map((c) => ({ title: caseTitle(c), c })))('$title', ({ c }) => {
    const { module, inputs } = caseModule(c, { weights });
    if (refusesFourBit(c)) {
      expect(() => runOnce(module, 'main', inputs)).toThrow(/^HEW6003: wasm cannot run \w+: on [iu]4/);
      return;
    }
    const wanted = interpretEntry(module, 'main', inputs);
    expect(differences(wanted, runOnce(module, 'main', inputs), c.tolerance)).toEqual([]);
  });
});

describe('modules', () => {
  test.each(moduleCases)('$name', ({ module, calls }) => {
    const running = instantiate(module);
    for (const { entry, inputs, wanted } of calls) {
      const outputs = running.run(entry, inputs);
      const values = Object.fromEntries(
        Object.entries(outputs).map(([name, t]) => [name, Array.from(t.data)]),
      );
      expect(values).toEqual(wanted);
    }
  });
});

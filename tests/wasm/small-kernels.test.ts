/**
 * Every emitted kernel against the op declarations: the conformance suite, legalised and fused as the backend does,
 * with the kernels run one by one through WebAssembly.
 */
import { describe, expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import { opNames } from '../../ir/ops/table.js';
import { opRoles } from '../../passes/kernel-class.js';
import { type CaseDim, caseModule, differences, type OpCase, refusesFourBit } from '../conformance/case.js';
import { opCases } from '../conformance/cases.js';
import { runKernels } from './kernel-harness.js';

function check(c: OpCase, relaxed: boolean): void {
  const { module, inputs } = caseModule(c, { weights: 'parameters' });
  const wanted = interpretEntry(module, 'main', inputs);
  expect(differences(wanted, runKernels(module, inputs, { relaxed }), c.tolerance)).toEqual([]);
}

/** The case with every run-time symbol at another size within its bounds; undefined when there is none to change. */
function resized(c: OpCase, size: number): OpCase | undefined {
  // The position of a cache_append fits the size that the case names.
  if (c.op === 'cache_append') return undefined;
  const own = Object.entries(c.dims).map(([name, d]): [string, CaseDim] => {
    const fits = typeof d !== 'number' && d.min <= size && size <= d.max && d.size !== size;
    return [name, fits ? { ...d, size } : d];
  });
  const changed = own.some(([name, d]) => d !== c.dims[name]);
  return changed ? { ...c, dims: Object.fromEntries(own) } : undefined;
}

const ops = opNames.filter((name) => opRoles[name] !== 'structure' && opRoles[name] !== 'view');

describe.each(ops)('%s', (op) => {
  for (const c of opCases.filter((each) => each.op === op && !refusesFourBit(each))) {
    test(c.name, () => {
      check(c, false);
      check(c, true);
      for (const size of [1, 2, 4, 7]) {
        const other = resized(c, size);
        if (other !== undefined) check(other, false);
      }
    });
  }
});

/**
 * The interpreter as the measure of all backends: every op's `evaluate` against results found independently, every
 * decomposition against `evaluate`, and the suite itself against the op table.
 */
import { describe, expect, test } from 'vitest';
import { FuncBuilder, moduleScope } from '../../ir/builder.js';
import { type InterpretOptions, interpretEntry } from '../../ir/interpret.js';
import { emptyModule, type Module } from '../../ir/module.js';
import { opNames, opTable } from '../../ir/ops/table.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { isFloat, printType, tensorType } from '../../ir/type.js';
import { verifyModule } from '../../ir/verify.js';
import { caseModule, caseTitle, differences, tensorDifferences } from './case.js';
import { moduleCases } from './cases/structure.js';
import { opCases } from './cases.js';
import { decomposeFully, decomposeOnce } from './decomposed.js';
import { type Vector, vectors } from './vectors.js';

function runVector(op: string, { inputs, attrs = {} }: Vector): { results: Tensor[]; module: Module } {
  const builder = new FuncBuilder('main', moduleScope(emptyModule('vector')));
  const args = inputs.map((value, i) => builder.arg(tensorType(value.dtype, value.shape), `x${i}`));
  const values = builder.emit(op, args, attrs);
  const outputs = values.map((_, i) => `y${i}`);
  const func = { ...builder.finish(values), outputs };
  const module = { ...emptyModule('vector'), functions: new Map([['main', func]]) };
  const named = Object.fromEntries(inputs.map((value, i) => [`x${i}`, value]));
  return { results: Object.values(interpretEntry(module, 'main', named)), module };
}

describe('fixed vectors', () => {
  const rows = Object.entries(vectors).flatMap(([op, list]) => list.map((vector, i) => ({ op, i, vector })));
  test.each(rows)('$op $i', ({ op, vector }) => {
    const { results } = runVector(op, vector);
    expect(results).toHaveLength(vector.wanted.length);
    const found = results.flatMap((result, i) => {
      const shape = i === 0 && vector.shape !== undefined ? vector.shape : result.shape;
      const wanted = tensor(result.dtype, shape, vector.wanted[i] as number[]);
      const tolerance = isFloat(result.dtype) ? { absolute: 1e-7, relative: 1e-6 } : undefined;
      return tensorDifferences(`y${i}`, wanted, result, tolerance);
    });
    expect(found).toEqual([]);
  });
});

describe('the table of cases', () => {
  test('names every case once', () => {
    const titles = opCases.map(caseTitle);
    expect(titles.filter((title, i) => titles.indexOf(title) !== i)).toEqual([]);
  });

  test('has a case for every op', () => {
    const covered = new Set<string>([...opCases.map((c) => c.op), ...moduleCases.flatMap((c) => c.ops)]);
    // Sums over ranks need several modules: tests/passes/shard.test.ts.
    expect(opNames.filter((name) => !covered.has(name))).toEqual(['all_reduce']);
  });
});

function resultTypes(module: Module): string[] | undefined {
  return module.functions.get('main')?.results.map((r) => printType(r.type));
}

describe.each(Object.keys(vectors) as (keyof typeof vectors)[])('%s', (op) => {
  for (const c of opCases.filter((each) => each.op === op)) {
    test(c.name, () => {
      const { module, inputs } = caseModule(c, { weights: 'parameters' });
      expect(verifyModule(module)).toEqual([]);
      expect(printModule(parseModule(printModule(module)))).toBe(printModule(module));
      const wanted = interpretEntry(module, 'main', inputs);

      const asArguments = caseModule(c, { weights: 'arguments' });
      const same = interpretEntry(asArguments.module, 'main', asArguments.inputs);
      expect(differences(wanted, same, c.tolerance)).toEqual([]);

      if (opTable[op].decompose === undefined) return;
      const once = decomposeOnce(module);
      expect(verifyModule(once)).toEqual([]);
      expect(resultTypes(once)).toEqual(resultTypes(module));
      expect(differences(wanted, interpretEntry(once, 'main', inputs), c.tolerance)).toEqual([]);

      const fully = decomposeFully(once);
      expect(verifyModule(fully)).toEqual([]);
      expect(differences(wanted, interpretEntry(fully, 'main', inputs), c.tolerance)).toEqual([]);
    });
  }
});

describe('modules', () => {
  test.each(moduleCases)('$name', ({ module, calls }) => {
    expect(verifyModule(module)).toEqual([]);
    const states: NonNullable<InterpretOptions['states']> = new Map();
    for (const { entry, inputs, wanted } of calls) {
      const outputs = interpretEntry(module, entry, inputs, { states });
      const values = Object.fromEntries(Object.entries(outputs).map(([name, t]) => [name, [...t.data]]));
      expect(values).toEqual(wanted);
    }
  });
});

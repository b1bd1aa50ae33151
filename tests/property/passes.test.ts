/**
 * Passes on random modules: each preserves what the module computes, over two calls that keep their states, and leaves
 * a module that the verifier accepts and whose text reads back the same. A failure prints fast-check's seed and path.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type InterpretOptions, interpretEntry } from '../../ir/interpret.js';
import type { Module } from '../../ir/module.js';
import { parseModule } from '../../ir/parse.js';
import { printModule } from '../../ir/print.js';
import type { Tensor } from '../../ir/tensor.js';
import { verifyModule } from '../../ir/verify.js';
import { type PipelineStep, parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { passes, standardPipeline } from '../../passes/registry.js';
import { differences, type Tolerance } from '../conformance/case.js';
import { type RandomModule, randomModule } from './random-graph.js';

const numRuns = Number(process.env.HEW_PROPERTY_RUNS ?? 150);
const timeout = 60_000 + 100 * numRuns;
const exact: Tolerance = { absolute: 0, relative: 0 };
/** Differences of a few float64 roundings, after what later ops make of them. */
const close: Tolerance = { absolute: 1e-9, relative: 1e-5 };

/** Rules that round differently. Without them a pass must change no bit (but the sign of a zero). */
const inexactRules = ['linear-bias', 'pow-two'];

type Outputs = Record<string, Tensor>;

function runTwice(
  module: Module,
  inputs: RandomModule['inputs'],
  precision: InterpretOptions['precision'],
): Outputs {
  const options = { precision: precision ?? 'f32', states: new Map<string, Tensor>() };
  const first = interpretEntry(module, 'main', inputs, options);
  const second = interpretEntry(module, 'main', inputs, options);
  const named = (prefix: string, outputs: Outputs): [string, Tensor][] =>
    Object.entries(outputs).map(([name, value]) => [`${prefix} ${name}`, value]);
  return Object.fromEntries([...named('first', first), ...named('second', second)]);
}

/** Compares bit by bit; after an inexact rule in float64, where the difference is tiny. */
function changes(before: Module, after: Module, inputs: RandomModule['inputs'], inexact: boolean): string[] {
  const precision = inexact ? 'f64' : 'f32';
  const tolerance = inexact ? close : exact;
  const [wanted, found] = [before, after].map((m) => runTwice(m, inputs, precision)) as [Outputs, Outputs];
  return differences(wanted, found, { f32: tolerance, f16: tolerance, bf16: tolerance });
}

function checkStep(module: Module, inputs: RandomModule['inputs'], step: PipelineStep): Module {
  const { module: result, reports } = runPipeline(module, [step]);
  const counts = reports[0]?.counts ?? {};
  const inexact = inexactRules.some((rule) => rule in counts);
  expect(
    changes(module, result, inputs, inexact),
    `${step.pass.name} ${JSON.stringify(counts)}\n${printModule(module)}`,
  ).toEqual([]);
  const text = printModule(result);
  expect(printModule(parseModule(text))).toBe(text);
  return result;
}

function holds(pipeline: string, share = 1): void {
  const steps = parsePipeline(pipeline);
  const property = fc.property(randomModule(), ({ module, inputs }) => {
    steps.reduce((current, step) => checkStep(current, inputs, step), module);
  });
  fc.assert(property, { numRuns: Math.ceil(numRuns * share) });
}

describe('random modules', () => {
  test('are sound and have a text form', () => {
    const property = fc.property(randomModule(), ({ module }) => {
      expect(verifyModule(module)).toEqual([]);
      const text = printModule(module);
      expect(printModule(parseModule(text))).toBe(text);
    });
    fc.assert(property, { numRuns });
  });
});

describe('passes preserve meaning', () => {
  // One rank of several means something only beside the others: tests/passes/shard.test.ts.
  const exactPasses = passes.filter(
    ({ name, kind, data }) => kind === 'exact' && data === undefined && name !== 'shard',
  );
  test.each(exactPasses.map((pass) => pass.name))('%s', (name) => holds(name), timeout);
  test('every op its own kernel', () => holds('fuse{epilogues=false}', 0.5), timeout);
  test(
    'the standard pipeline and fusion, step by step',
    () => holds(`${standardPipeline},fuse,dce`),
    timeout,
  );
  test('passes in an unusual order', () => holds('fuse,cse,canonicalize,fuse,fold,dce', 0.5), timeout);
});

/** Random modules on the wasm backend, over two calls that keep their states, against the interpreter. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import { printModule } from '../../ir/print.js';
import type { Tensor } from '../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { standardPipeline } from '../../passes/registry.js';
import { differences, type Tolerance } from '../conformance/case.js';
import { instantiate } from '../wasm/run-module.js';
import { randomModule } from './random-graph.js';

const numRuns = Number(process.env.HEW_PROPERTY_RUNS ?? 100);
/** f32 sums in another order, through a dozen ops; narrow floats may round to the neighbour. */
const tolerance: Record<'f32' | 'f16' | 'bf16', Tolerance> = {
  f32: { absolute: 1e-4, relative: 1e-4 },
  f16: { absolute: 4e-3, relative: 4e-3 },
  bf16: { absolute: 3e-2, relative: 3e-2 },
};

test('compiled modules compute what they mean', () => {
  const property = fc.property(randomModule({ smooth: true }), ({ module, inputs }) => {
    const simplified = runPipeline(module, parsePipeline(standardPipeline)).module;
    const running = instantiate(simplified);
    const states = new Map<string, Tensor>();
    for (let call = 0; call < 2; call++) {
      const wanted = interpretEntry(module, 'main', inputs, { states });
      expect(differences(wanted, running.run('main', inputs), tolerance), printModule(module)).toEqual([]);
    }
  });
  fc.assert(property, { numRuns });
}, 300_000);

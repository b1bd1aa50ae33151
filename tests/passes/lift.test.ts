/** Lifting keeps what a function computes: every filetest of `lift` before and after, on random inputs. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { interpretEntry } from '../../ir/interpret.js';
import type { TensorSource } from '../../ir/materialise.js';
import type { Func, Module, Param } from '../../ir/module.js';
import { encodeBytes } from '../../ir/numeric.js';
import { parseModule } from '../../ir/parse.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { elementCount, evalShape } from '../../ir/type.js';
import { parsePipeline, runPipeline } from '../../passes/pipeline.js';
import { differences } from '../conformance/case.js';

const folder = join(import.meta.dirname, 'filetests', 'lift');
const names = readdirSync(folder).filter((name) => name.endsWith('.ir'));

/** Values between 0.1 and 1.1, in no order: positive, so that logarithms and roots are numbers. */
const value = (i: number): number => 0.1 + ((i * 7919) % 101) / 101;

function inputsOf(func: Func, symbols: ReadonlyMap<string, number>): Record<string, Tensor> {
  return Object.fromEntries(
    func.args.map(({ name, type: { dtype, shape } }, argument) => {
      const sizes = evalShape(shape, symbols);
      const values = Float64Array.from({ length: elementCount(sizes) }, (_, i) => {
        const real = value(i + 13 * argument);
        if (dtype === 'f32') return Math.fround(real);
        return dtype === 'bool' ? Number(i % 3 !== 0) : i % 2;
      });
      return [name as string, tensor(dtype, sizes, values)];
    }),
  );
}

function sourceOf(module: Module): TensorSource {
  return {
    read: (name) => {
      const { type } = module.params.get(name) as Param;
      const count = elementCount(evalShape(type.shape, new Map()));
      return {
        dtype: 'f32',
        bytes: encodeBytes(
          'f32',
          Float64Array.from({ length: count }, (_, i) => value(i + 5)),
        ),
      };
    },
  };
}

test.each(names)('%s', (name) => {
  const [text = ''] = readFileSync(join(folder, name), 'utf8').split('// result:\n');
  const module = parseModule(text, name);
  const { module: lifted } = runPipeline(module, parsePipeline('lift,fold,cse,dce'));
  const inputs = inputsOf(
    module.functions.get('main') as Func,
    new Map([
      ['T', 3],
      ['B', 2],
    ]),
  );
  const source = sourceOf(module);
  const [before, after] = [module, lifted].map((each) =>
    interpretEntry(each, 'main', inputs, { source }),
  ) as [Record<string, Tensor>, Record<string, Tensor>];
  expect(differences(before, after, { f32: { absolute: 1e-5, relative: 1e-5 } })).toEqual([]);
});

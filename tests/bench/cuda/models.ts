/**
 * The models that are measured: a decoder of 7B parameters in bf16 for one sequence and for several, and with weights that are
 * integers of 8 and 4 bits; and DiT-XL/2 in bf16, and in W8A8 with ranges by groups of timesteps.
 */
import { join } from 'node:path';
import { openModel } from '../../../compiler/compile.js';
import type { Module } from '../../../ir/module.js';
import { parsePipeline, runPipeline } from '../../../passes/pipeline.js';
import { standardPipeline } from '../../../passes/registry.js';
import { type Integers, withIntegers } from '../integer-layers.js';
import { withStepGroups } from './step-groups.js';

function moduleOf(spec: string, config: string, set: Readonly<Record<string, string>>): Module {
  const file = (name: string): string => join(import.meta.dirname, name);
  const model = openModel({ spec: file(spec), config: file(config), set, weightsDtype: 'bf16' });
  model.close();
  return runPipeline(model.module, parsePipeline(standardPipeline)).module;
}

function decoder(batch: number, integers?: Integers): () => Module {
  return () => {
    const set = { batch_size: String(batch), max_position_embeddings: '1152' };
    const module = moduleOf('decode-batch.hew', 'pangu-7b.json', set);
    return integers === undefined ? module : withIntegers(module, integers);
  };
}

const diffusion = (): Module => moduleOf('dit.hew', 'dit-xl.json', {});

export const models: Readonly<Record<string, () => Module>> = {
  'bf16-1': decoder(1),
  'bf16-8': decoder(8),
  'bf16-32': decoder(32),
  'i8-1': decoder(1, { dtype: 'i8', group: 0 }),
  'i8-8': decoder(8, { dtype: 'i8', group: 0 }),
  'i4-1': decoder(1, { dtype: 'i4', group: 128 }),
  'i4-8': decoder(8, { dtype: 'i4', group: 128 }),
  'dit-bf16': diffusion,
  'dit-w8a8': () => withStepGroups(diffusion()),
};

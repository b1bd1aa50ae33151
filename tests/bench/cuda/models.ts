/**
 * The models that are measured: a decoder of 7B parameters in bf16 for one sequence and for several, with weights that are
 * integers of 8 and 4 bits, with caches of 8 bits (`kv8`) and behind many tokens (`long`); and DiT-XL/2 in bf16, and in W8A8 with ranges by groups of timesteps.
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

interface Decoder {
  readonly integers?: Integers;
  /** Caches of 8 bits. */
  readonly kv8?: boolean;
  readonly context?: number;
}

function decoder(batch: number, { integers, kv8 = false, context = 1152 }: Decoder = {}): () => Module {
  return () => {
    const set = { batch_size: String(batch), max_position_embeddings: String(context) };
    const module = moduleOf('decode-batch.hew', 'pangu-7b.json', set);
    const weighed = integers === undefined ? module : withIntegers(module, integers);
    return kv8 ? runPipeline(weighed, parsePipeline('quantize-kv')).module : weighed;
  };
}

const [i8, i4] = [{ dtype: 'i8', group: 0 } as const, { dtype: 'i4', group: 128 } as const];
/** One token after 8192. */
const long = 8320;

const diffusion = (): Module => moduleOf('dit.hew', 'dit-xl.json', {});

export const models: Readonly<Record<string, () => Module>> = {
  'bf16-1': decoder(1),
  'bf16-8': decoder(8),
  'bf16-32': decoder(32),
  'bf16-1-kv8': decoder(1, { kv8: true }),
  'bf16-8-kv8': decoder(8, { kv8: true }),
  'bf16-32-kv8': decoder(32, { kv8: true }),
  'bf16-1-long': decoder(1, { context: long }),
  'bf16-8-long': decoder(8, { context: long }),
  'bf16-32-long': decoder(32, { context: long }),
  'bf16-1-long-kv8': decoder(1, { context: long, kv8: true }),
  'bf16-8-long-kv8': decoder(8, { context: long, kv8: true }),
  'bf16-32-long-kv8': decoder(32, { context: long, kv8: true }),
  'i8-1': decoder(1, { integers: i8 }),
  'i8-8': decoder(8, { integers: i8 }),
  'i8-1-kv8': decoder(1, { integers: i8, kv8: true }),
  'i4-1': decoder(1, { integers: i4 }),
  'i4-8': decoder(8, { integers: i4 }),
  'dit-bf16': diffusion,
  'dit-w8a8': () => withStepGroups(diffusion()),
};

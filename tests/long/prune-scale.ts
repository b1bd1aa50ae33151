/** Pruning and refitting synthetic models of 94 layers, layer by layer, in a measured process. */
import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { type Measured, runMeasured } from './measured.js';
import { type PanguSizes, writeSyntheticPangu } from './synthetic-checkpoint.js';

export type PruneScale = Omit<PanguSizes, 'num_hidden_layers'>;

/** Sizes by the bytes of the checkpoint in bf16. */
export const pruneScales = {
  '3 MB': {
    hidden_size: 32,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    head_dim: 8,
    intermediate_size: 64,
    vocab_size: 256,
  },
  '300 MB': {
    hidden_size: 512,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    head_dim: 32,
    intermediate_size: 608,
    vocab_size: 2048,
  },
  '4 GB': {
    hidden_size: 2048,
    num_attention_heads: 16,
    num_key_value_heads: 4,
    head_dim: 64,
    intermediate_size: 2560,
    vocab_size: 8192,
  },
} as const satisfies Record<string, PruneScale>;

export const layers = 94;

export const prunePipeline = 'prune{d=75%,ffn=25%,heads=4},slnp,refit{mode=one-shot}';

export interface PruneMeasured extends Measured {
  readonly checkpointBytes: number;
  readonly report: {
    readonly reloadDifference: number;
    readonly after: { readonly dims: Readonly<Record<string, number>>; readonly bytes: number };
    readonly passes: readonly { readonly pass: string; readonly counts: Readonly<Record<string, number>> }[];
  };
}

/** Writes the model into a folder, prunes it on 2 windows of 64 tokens, and leaves the result in `pruned`. */
export async function pruneMeasured(folder: string, sizes: PruneScale): Promise<PruneMeasured> {
  mkdirSync(folder, { recursive: true });
  const path = (name: string): string => join(folder, name);
  const config = {
    ...sizes,
    num_hidden_layers: layers,
    max_position_embeddings: 64,
    sandwich_norm: true,
  };
  writeFileSync(path('config.json'), JSON.stringify(config));
  await writeSyntheticPangu(path('model.safetensors'), config);
  const ids = Int32Array.from({ length: 128 }, (_, i) => (i * 37 + 11) % sizes.vocab_size);
  const data = new Uint8Array(ids.buffer);
  await writeSafetensors(path('tokens.safetensors'), [
    { name: 'tokens', dtype: 'i32', shape: [2, 64], data },
  ]);
  const measured = runMeasured([
    'prune',
    'examples/pangu/pangu.hew',
    '--config',
    path('config.json'),
    '--weights',
    path('model.safetensors'),
    '--calib',
    path('tokens.safetensors'),
    '--pipeline',
    prunePipeline,
    '--resident-memory',
    '0',
    '--no-cache',
    '--json',
    '-o',
    path('pruned'),
  ]);
  return {
    ...measured,
    checkpointBytes: statSync(path('model.safetensors')).size,
    report: JSON.parse(measured.stdout) as PruneMeasured['report'],
  };
}

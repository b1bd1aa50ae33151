/** A tiny pangu model on disk, with tokens to calibrate it on. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { writeSyntheticPangu } from '../long/synthetic-checkpoint.js';
import { ints } from './fixture.js';

const tinyConfig = {
  hidden_size: 16,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  intermediate_size: 24,
  vocab_size: 32,
  max_position_embeddings: 32,
  sandwich_norm: true,
};

/** Arguments of `hew prune` that name the model and the calibration data, which are written into the directory. */
export async function writePanguFiles(
  directory: string,
  change: Partial<typeof tinyConfig> = {},
): Promise<string[]> {
  const path = (name: string): string => join(directory, name);
  const config = { ...tinyConfig, ...change };
  writeFileSync(path('config.json'), JSON.stringify(config));
  await writeSyntheticPangu(path('model.safetensors'), config);
  const ids = Array.from({ length: 36 }, (_, i) => (i * 11 + 3) % 32);
  await writeSafetensors(path('tokens.safetensors'), [ints('tokens', [3, 12], ids)]);
  return [
    'examples/pangu/pangu.hew',
    '--config',
    path('config.json'),
    '--weights',
    path('model.safetensors'),
    '--calib',
    path('tokens.safetensors'),
  ];
}

/** A checkpoint in shards is imported through its index, and computes what the same checkpoint in one file does. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openCheckpoint } from '../../compiler/checkpoint/checkpoint.js';
import { writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { openModel } from '../../compiler/compile.js';
import { functionsOf } from '../../compiler/write-model.js';
import { hew, scratchDirectory } from '../cli/run-cli.js';
import { decoderShapes, writeCheckpoint } from './tiny-checkpoint.js';

const scratch = scratchDirectory();

test('shards with an index', async () => {
  const config = {
    architectures: ['LlamaForCausalLM'],
    hidden_size: 16,
    intermediate_size: 20,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    vocab_size: 30,
    max_position_embeddings: 16,
  };
  const [whole, sharded] = [join(scratch, 'whole'), join(scratch, 'sharded')];
  await writeCheckpoint(whole, { config, shapes: decoderShapes(config) });
  mkdirSync(sharded);
  writeFileSync(join(sharded, 'config.json'), JSON.stringify(config));
  const checkpoint = openCheckpoint(whole);
  const shardOf = (name: string): string =>
    `model-0000${name.includes('layers.1') ? 2 : 1}-of-00002.safetensors`;
  const shards = Map.groupBy(checkpoint.tensors.values(), ({ name }) => shardOf(name));
  for (const [file, tensors] of shards) {
    const entries = tensors.map(({ name, dtype, shape }) => ({
      name,
      dtype,
      shape,
      data: checkpoint.read(name),
    }));
    await writeSafetensors(join(sharded, file), entries);
  }
  const weight_map = Object.fromEntries([...checkpoint.tensors.keys()].map((name) => [name, shardOf(name)]));
  writeFileSync(join(sharded, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }));
  expect(shards.size).toBe(2);

  for (const directory of [whole, sharded]) {
    const { code, stderr } = await hew(['import', directory]);
    expect([code, stderr]).toEqual([0, '']);
  }
  expect(readFileSync(join(sharded, 'model.hew'), 'utf8')).toContain(
    'weights "model.safetensors.index.json"',
  );
  const models = [whole, sharded].map((directory) => openModel({ spec: join(directory, 'model.hew') }));
  const [one, other] = models.map(({ module }) => functionsOf(module));
  expect(other).toBe(one);
  for (const name of checkpoint.tensors.keys())
    expect(models[1]?.source?.read(name)).toEqual(models[0]?.source?.read(name));
  for (const model of [checkpoint, ...models]) model.close();
});

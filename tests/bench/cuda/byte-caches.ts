/**
 * Language models with caches of 8 bits, for check.py: `byte-caches.ts OUTPUT NAME..` writes bundles in f32 and bf16, and golden
 * files whose logits and greedy tokens are those of the interpreter on the quantized module. Tokens for the likelihood, and what
 * it was of the floats, are those of the model's own golden file.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint, type TensorInfo } from '../../../compiler/checkpoint/checkpoint.js';
import { type TensorEntry, writeSafetensors } from '../../../compiler/checkpoint/write-safetensors.js';
import { compile, openModel } from '../../../compiler/compile.js';
import { interpretEntry, type StateStore } from '../../../ir/interpret.js';
import type { TensorSource } from '../../../ir/materialise.js';
import { encodeBytes } from '../../../ir/numeric.js';
import { type Tensor, tensor } from '../../../ir/tensor.js';
import { parsePipeline, runPipeline } from '../../../passes/pipeline.js';
import { standardPipeline } from '../../../passes/registry.js';

const pipeline = `${standardPipeline},quantize-kv`;
const copied = ['prompt', 'eval_tokens', 'eval_nll'];

function argmax(values: ArrayLike<number>): number {
  return Array.from(values).reduce((best, value, i) => (value > (values[best] as number) ? i : best), 0);
}

async function write(name: string, output: string): Promise<void> {
  const spec = join('examples', name, 'model.hew');
  const folder = [join('examples', name), join('../shared/models', name)].find((own) =>
    existsSync(join(own, 'golden.safetensors')),
  );
  if (folder === undefined) {
    console.log(`${name} is left out, its weights are not on this machine`);
    return;
  }
  for (const dtype of ['f32', 'bf16'] as const)
    await compile({ spec, output: join(output, `${name}-kv8-${dtype}`), target: 'cuda', dtype, pipeline });
  const golden = openCheckpoint(join(folder, 'golden.safetensors'));
  const integers = (id: string): number[] => {
    const bytes = golden.read(id);
    return Array.from(new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4));
  };
  const model = openModel({ spec });
  const { module } = runPipeline(model.module, parsePipeline(pipeline));
  const states: StateStore = new Map();
  const source = model.source as TensorSource;
  const run = (entry: string, ids: readonly number[]): Tensor =>
    interpretEntry(module, entry, { ids: tensor('i32', [ids.length], ids) }, { source, states })
      .logits as Tensor;
  const logits = run('prefill', integers('prompt'));
  const greedy: number[] = [];
  let next = argmax(logits.data.subarray(-(logits.shape[1] as number)));
  for (let i = 0; i < integers('greedy').length; i++) {
    greedy.push(next);
    next = argmax(run('decode', [next]).data);
  }
  model.close();
  const made = (id: string, { dtype, shape, data }: Tensor): TensorEntry => ({
    name: id,
    dtype: dtype as 'f32' | 'i32',
    shape,
    data: encodeBytes(dtype, data),
  });
  await writeSafetensors(join(output, `${name}-kv8.golden.safetensors`), [
    ...copied.map((id) => ({ ...(golden.tensors.get(id) as TensorInfo), name: id, data: golden.read(id) })),
    made('logits', logits),
    made('greedy', tensor('i32', [greedy.length], greedy)),
  ]);
  golden.close();
}

const [, , output = 'out/caches', ...names] = process.argv;
mkdirSync(output, { recursive: true });
for (const name of names) await write(name, output);

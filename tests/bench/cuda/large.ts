/**
 * Writes a checkpoint of the 7B shape with random weights (16 GB) and, of each compute type that is named, its bundles for one
 * GPU and for two, whose tokens `ranks.py 2 OUTPUT/whole-f32 OUTPUT/split-f32 --tokens COUNT` compares:
 * `large.ts OUTPUT [bf16|f32..] [--layers=COUNT]`. A checkpoint that is there is taken. 32 GB for each type.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compile } from '../../../compiler/compile.js';
import { type PanguSizes, writeSyntheticPangu } from '../../long/synthetic-checkpoint.js';

const flag = '--layers=';
const [output = 'out/large', ...dtypes] = process.argv.slice(2).filter((arg) => !arg.startsWith(flag));
const layers = process.argv.find((arg) => arg.startsWith(flag))?.slice(flag.length);
const shape = JSON.parse(readFileSync(join(import.meta.dirname, 'pangu-7b.json'), 'utf8')) as PanguSizes;
const sizes = layers === undefined ? shape : { ...shape, num_hidden_layers: Number(layers) };

async function timed(name: string, work: () => Promise<unknown>): Promise<void> {
  const start = performance.now();
  await work();
  console.log(`${name}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

mkdirSync(output, { recursive: true });
const at = (name: string): string => join(output, name);
const [config, weights] = [at('config.json'), at('model.safetensors')];
if (!existsSync(weights)) {
  writeFileSync(config, JSON.stringify(sizes));
  await timed('checkpoint', () => writeSyntheticPangu(at('partial'), sizes));
  renameSync(at('partial'), weights);
}
for (const dtype of dtypes) {
  if (dtype !== 'bf16' && dtype !== 'f32') throw new Error(`${dtype} is neither bf16 nor f32`);
  const options = { spec: 'examples/pangu/pangu.hew', config, weights, target: 'cuda', dtype } as const;
  await timed(`whole-${dtype}`, () => compile({ ...options, output: at(`whole-${dtype}`) }));
  await timed(`split-${dtype}`, () =>
    compile({ ...options, output: at(`split-${dtype}`), tensorParallel: 2 }),
  );
}

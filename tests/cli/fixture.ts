/** Small models and bundles on disk for tests of the command line. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeBundle } from '../../compiler/bundle.js';
import { type TensorEntry, writeSafetensors } from '../../compiler/checkpoint/write-safetensors.js';
import { toyFiles, toyLogits, toyManifest } from '../runtime/fixture.js';

export const lineSpec = `config size: int = 4
dim n = size
dim T <= 8

entry line(x: [T, n]) -> (y: [T, n]) {
  weight w: [n, n] = "w"
  return (y = x @ w.T)
}

weights "model.safetensors"
`;

const bytesOf = (values: Float32Array | Int32Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export function floats(name: string, shape: readonly number[], values: readonly number[]): TensorEntry {
  return { name, dtype: 'f32', shape, data: bytesOf(Float32Array.from(values)) };
}

export function ints(name: string, shape: readonly number[], values: readonly number[]): TensorEntry {
  return { name, dtype: 'i32', shape, data: bytesOf(Int32Array.from(values)) };
}

/** A spec of one matrix product, with its weights; returns the path of the spec. */
export async function writeLineModel(directory: string): Promise<string> {
  const spec = join(directory, 'line.hew');
  writeFileSync(spec, lineSpec);
  const values = Array.from({ length: 16 }, (_, i) => i / 8 - 1);
  await writeSafetensors(join(directory, 'model.safetensors'), [floats('w', [4, 4], values)]);
  return spec;
}

/** The hand-made bundle of the loader's tests, without its toy tokenizer. */
export async function writeToyBundle(directory: string, sampler: 'text' | 'diffusion'): Promise<string> {
  const output = join(directory, `toy-${sampler}`);
  const files = toyFiles();
  files.delete('tokenizer.json');
  await writeBundle(output, { ...toyManifest(sampler), tokenizer: null }, files);
  return output;
}

/** Golden outputs of the toy language model; `shift` makes its logits wrong by so much. */
export async function writeToyGolden(path: string, shift = 0): Promise<void> {
  const prompt = [1, 2, 3];
  const logits = prompt.flatMap((_, i) => toyLogits(prompt.slice(0, i + 1)));
  const greedy: number[] = [];
  while (greedy.length < 3) greedy.push(mostLikely(toyLogits([...prompt, ...greedy])));
  const window = [0, 3, 5, 1];
  await writeSafetensors(path, [
    ints('prompt', [3], prompt),
    floats(
      'logits',
      [3, 8],
      logits.map((value) => value + shift),
    ),
    ints('greedy', [3], greedy),
    ints('eval_tokens', [1, 4], window),
    floats('eval_nll', [1], [toyNll(window)]),
  ]);
}

function mostLikely(logits: readonly number[]): number {
  return logits.indexOf(Math.max(...logits));
}

export function toyNll(window: readonly number[]): number {
  const losses = window.slice(1).map((id, i) => {
    const logits = toyLogits(window.slice(0, i + 1));
    return Math.log(logits.reduce((sum, value) => sum + Math.exp(value), 0)) - (logits[id] ?? 0);
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

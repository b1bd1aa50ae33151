/**
 * Writes everything that all.py builds, checks and times: `all.ts OUTPUT [PART..]`. Every part has a folder of its own; a part
 * that cannot be written is named, and the others are written all the same. Sources are compiled where the GPU is.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { compile } from '../../../compiler/compile.js';
import { standardPipeline } from '../../../passes/registry.js';

process.env.HEW_NVCC = '';

/** Another script of this folder, in a process like this one. */
const script =
  (name: string, ...names: string[]) =>
  (output: string): void => {
    const [program, ...rest] = [
      process.execPath,
      ...process.execArgv,
      join(import.meta.dirname, name),
      output,
      ...names,
    ];
    execFileSync(program, rest, { stdio: 'inherit' });
  };

interface Trained {
  readonly name: string;
  readonly spec: string;
  readonly golden: string;
}

/** The example models whose weights and golden outputs are on this machine. */
function trained(part: string): Trained[] {
  return readdirSync('examples').flatMap((name) => {
    const spec = join('examples', name, 'model.hew');
    if (!existsSync(spec)) return [];
    const [, own = ''] = /^weights "(.*)"/m.exec(readFileSync(spec, 'utf8')) ?? [];
    const weights = resolve(dirname(spec), own);
    const golden = join(dirname(weights), 'golden.safetensors');
    if (own !== '' && existsSync(weights) && existsSync(golden)) return [{ name, spec, golden }];
    console.log(`${part}: ${name} is left out, its weights are not on this machine`);
    return [];
  });
}

/** In f32 and bf16. */
async function goldens(output: string): Promise<void> {
  for (const { name, spec, golden } of trained('goldens')) {
    for (const dtype of ['f32', 'bf16'] as const)
      await writeModel(spec, join(output, `${name}-${dtype}`), dtype);
    if (existsSync(join(output, `${name}-f32`)))
      copyFileSync(golden, join(output, `${name}.golden.safetensors`));
  }
}

/** Language models and diffusion models, which are those that check.py knows how to ask. */
async function writeModel(spec: string, output: string, dtype: 'f32' | 'bf16'): Promise<void> {
  await compile({ spec, output, target: 'cuda', dtype });
  const { entries } = JSON.parse(readFileSync(join(output, 'manifest.json'), 'utf8')) as { entries: object };
  if (!('prefill' in entries) && !('denoise' in entries)) rmSync(output, { recursive: true });
}

const large = {
  spec: 'examples/pangu/pangu.hew',
  config: join(import.meta.dirname, 'pangu-7b.json'),
  weightsDtype: 'bf16',
  target: 'cuda',
  withWeights: false,
} as const;

async function prefill(output: string): Promise<void> {
  await compile({ ...large, output: join(output, 'prefill') });
}

/**
 * pangu-12m, or pangu-2m without it, and the 7B shape: on one GPU, and split over two; the latter also with the head on each.
 */
async function ranks(output: string): Promise<void> {
  const at = (name: string): string => join(output, name);
  const known = trained('ranks');
  const small = ['pangu-12m', 'pangu-2m'].flatMap((own) => known.find(({ name }) => name === own) ?? [])[0];
  if (small !== undefined) {
    const { name, spec, golden } = small;
    const own = { spec, target: 'cuda', dtype: 'f32' } as const;
    await compile({ ...own, output: at(name) });
    await compile({ ...own, output: at(`${name}-split`), tensorParallel: 2 });
    copyFileSync(golden, at(`${name}.golden.safetensors`));
  }
  await compile({ ...large, output: at('large') });
  await compile({ ...large, output: at('large-split'), tensorParallel: 2 });
  for (const rank of [0, 1]) {
    const pipeline = `${standardPipeline},shard{tp=2,rank=${rank},head=false}`;
    await compile({ ...large, output: at(`large-split-whole-head/rank-${rank}`), pipeline });
  }
}

const decoders = [
  ...['bf16-1', 'bf16-8', 'bf16-32', 'i8-1', 'i8-8', 'i4-1', 'i4-8'],
  ...['bf16-1-kv8', 'bf16-8-kv8', 'bf16-32-kv8', 'i8-1-kv8'],
  ...[1, 8, 32].flatMap((batch) => [`bf16-${batch}-long`, `bf16-${batch}-long-kv8`]),
];

const parts: Readonly<Record<string, (output: string) => void | Promise<void>>> = {
  cases: script('cases.ts'),
  goldens,
  caches: script('byte-caches.ts', 'pangu-2m', 'pangu-12m'),
  products: script('products.ts'),
  decode: script('bundles.ts', ...decoders),
  prefill,
  dit: script('bundles.ts', 'dit-bf16', 'dit-w8a8'),
  ranks,
};

const [, , output = 'out/cuda-all', ...wanted] = process.argv;
const unknown = wanted.filter((name) => !(name in parts));
if (unknown.length > 0)
  throw new Error(`no part ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}`);
for (const [name, write] of Object.entries(parts)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  const folder = join(output, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    await write(folder);
  } catch (error) {
    console.error(`${name} is not written: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}

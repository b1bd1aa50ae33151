/**
 * A bundle built by hand, so that the loader is proven without the compiler: a vector entry with two outputs,
 * a toy language model with a context of 12 and a vocabulary of 8, and a toy denoiser.
 */
import { createHash } from 'node:crypto';
import binaryen from 'binaryen';
import type { FetchFile } from '../../backends/wasm/runtime/load.js';
import type { Manifest } from '../../backends/wasm/runtime/manifest.js';

export const vocab = 8;
export const context = 12;
/** The toy model's logits are `table[(sum of ids so far + v) % 8]`. */
export const table = Float32Array.of(0.5, -1, 2, 0.25, 1.5, -0.5, 3, 1);

const wat = `(module
  (import "hew" "memory" (memory 1 1))
  (import "hew" "fail" (func $fail (param i32 i32 i32)))

  (func (export "vector_sum") (param $n i32) (param $mask i32)
    (local $at i32) (local $end i32)
    (local.set $end (i32.shl (local.get $n) (i32.const 2)))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (i32.and (local.get $mask) (i32.const 1)) (then
        (f32.store offset=2176 (local.get $at)
          (f32.add (f32.load offset=2048 (local.get $at)) (f32.load offset=2112 (local.get $at))))))
      (if (i32.and (local.get $mask) (i32.const 2)) (then
        (f32.store offset=2240 (local.get $at)
          (f32.mul (f32.load offset=2048 (local.get $at)) (f32.load offset=2112 (local.get $at))))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next))))

  (func $step (param $t i32)
    (local $i i32) (local $v i32) (local $sum i32) (local $id i32) (local $logit f32)
    (if (i32.gt_s (i32.add (i32.load (i32.const 64)) (local.get $t)) (i32.const ${context})) (then
      (call $fail (i32.const 1) (i32.load (i32.const 64)) (local.get $t))))
    (local.set $sum (i32.load (i32.const 68)))
    (block $done (loop $token
      (br_if $done (i32.ge_u (local.get $i) (local.get $t)))
      (local.set $id (i32.load offset=128 (i32.shl (local.get $i) (i32.const 2))))
      (if (i32.ge_u (local.get $id) (i32.const ${vocab})) (then
        (call $fail (i32.const 2) (local.get $id) (i32.const ${vocab}))))
      (local.set $sum (i32.add (local.get $sum) (local.get $id)))
      (local.set $v (i32.const 0))
      (loop $logits
        (local.set $logit (f32.load offset=1024 (i32.shl
          (i32.and (i32.add (local.get $sum) (local.get $v)) (i32.const 7)) (i32.const 2))))
        (f32.store offset=256
          (i32.shl (i32.add (i32.shl (local.get $i) (i32.const 3)) (local.get $v)) (i32.const 2))
          (local.get $logit))
        (f32.store offset=512 (i32.shl (local.get $v) (i32.const 2)) (local.get $logit))
        (local.set $v (i32.add (local.get $v) (i32.const 1)))
        (br_if $logits (i32.lt_u (local.get $v) (i32.const ${vocab}))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $token)))
    (i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (local.get $t)))
    (i32.store (i32.const 68) (local.get $sum)))

  (func (export "prefill") (param $t i32) (param $mask i32) (call $step (local.get $t)))
  (func (export "decode") (param $mask i32) (call $step (i32.const 1)))

  (func (export "denoise") (param $b i32) (param $mask i32)
    (local $i i32) (local $item i32)
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $i) (i32.shl (local.get $b) (i32.const 2))))
      (local.set $item (i32.shl (i32.shr_u (local.get $i) (i32.const 2)) (i32.const 2)))
      (f32.store offset=4224 (i32.shl (local.get $i) (i32.const 2))
        (f32.add
          (f32.mul (f32.const 0.5) (f32.load offset=4096 (i32.shl (local.get $i) (i32.const 2))))
          (f32.add
            (f32.mul (f32.const 0.25) (f32.convert_i32_s (i32.load offset=4192 (local.get $item))))
            (f32.mul (f32.const 0.0009765625) (f32.convert_i32_s (i32.load offset=4160 (local.get $item)))))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br $next))))

  (func (export "trap") (param $mask i32) unreachable)
)`;

export const nullClass = 4;
export const diffusionSteps = 100;

/** The toy denoiser: eps of one element of x. */
export function toyNoise(x: number, t: number, y: number): number {
  return 0.5 * Math.fround(x) + 0.25 * y + 0.0009765625 * t;
}

/** The toy language model's logits after `ids`. */
export function toyLogits(ids: readonly number[]): number[] {
  const sum = ids.reduce((total, id) => total + id, 0);
  return Array.from({ length: vocab }, (_, v) => table[(sum + v) % vocab] ?? 0);
}

type SamplerKind = 'text' | 'diffusion' | 'none';

const samplers: Record<SamplerKind, Manifest['sampler']> = {
  text: { kind: 'text', temperature: 0, top_k: 0, top_p: 1, bos: 7, stop: [] },
  diffusion: {
    kind: 'diffusion',
    steps: diffusionSteps,
    schedule: 'linear',
    beta_start: 1e-3,
    beta_end: 0.05,
    predict: 'epsilon',
    clip: 1,
    null_class: nullClass,
  },
  none: null,
};

const T = [[1, 'T']] as const;
const N = [[1, 'N']] as const;
const B = [[1, 'B']] as const;

export interface Bundle {
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
}

let compiled: Uint8Array<ArrayBuffer> | undefined;

function toyWasm(): Uint8Array<ArrayBuffer> {
  if (compiled === undefined) {
    const module = binaryen.parseText(wat);
    if (!module.validate()) throw new Error('the fixture is not valid');
    compiled = Uint8Array.from(module.emitBinary());
    module.dispose();
  }
  return compiled;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function toyFiles(): Map<string, Uint8Array<ArrayBuffer>> {
  return new Map([
    ['module.wasm', toyWasm().slice()],
    // Eight bytes of padding, so that the offset of the segment matters.
    ['weights-00001.bin', Uint8Array.from([...new Uint8Array(8), ...new Uint8Array(table.buffer)])],
    ['tokenizer.json', new TextEncoder().encode('{"toy":true}')],
  ]);
}

export function toyBundle(sampler: SamplerKind = 'text'): Bundle {
  const files = toyFiles();
  const records = [...files].map(([name, bytes]) => [name, { bytes: bytes.length, sha256: sha256(bytes) }]);
  return { manifest: { ...toyManifest(sampler), files: Object.fromEntries(records) }, files };
}

export function toyManifest(sampler: SamplerKind = 'text'): Omit<Manifest, 'files'> {
  return {
    format: 'hew-bundle',
    version: 1,
    target: 'wasm',
    name: 'toy',
    hew: '0.1.0',
    wasm: { module: 'module.wasm', memory_pages: 1, features: ['simd128'], variants: [] },
    weights: [{ file: 'weights-00001.bin', offset: 8, bytes: 32, address: 1024 }],
    symbols: { T: { min: 1, max: 4 }, N: { min: 1, max: 16 }, B: { min: 1, max: 3 } },
    entries: {
      vector: {
        export: 'vector_sum',
        symbols: ['N'],
        inputs: [
          { name: 'a', dtype: 'f32', shape: [N], address: 2048 },
          { name: 'b', dtype: 'f32', shape: [N], address: 2112 },
        ],
        outputs: [
          { name: 'sum', dtype: 'f32', shape: [N], address: 2176 },
          { name: 'product', dtype: 'f32', shape: [N], address: 2240 },
        ],
      },
      prefill: {
        export: 'prefill',
        symbols: ['T'],
        inputs: [{ name: 'ids', dtype: 'i32', shape: [T], address: 128 }],
        outputs: [
          { name: 'logits', dtype: 'f32', shape: [T, vocab], address: 256 },
          { name: 'last', dtype: 'f32', shape: [vocab], address: 512 },
        ],
      },
      decode: {
        export: 'decode',
        symbols: [],
        inputs: [{ name: 'ids', dtype: 'i32', shape: [1], address: 128 }],
        outputs: [{ name: 'logits', dtype: 'f32', shape: [vocab], address: 256 }],
      },
      denoise: {
        export: 'denoise',
        symbols: ['B'],
        inputs: [
          { name: 'x', dtype: 'f32', shape: [B, 1, 2, 2], address: 4096 },
          { name: 't', dtype: 'i32', shape: [B], address: 4160 },
          { name: 'y', dtype: 'i32', shape: [B], address: 4192 },
        ],
        outputs: [{ name: 'eps', dtype: 'f32', shape: [B, 1, 2, 2], address: 4224 }],
      },
      trap: { export: 'trap', symbols: [], inputs: [], outputs: [] },
    },
    states: [
      { name: 'pos', dtype: 'i32', shape: [], address: 64, bytes: 4 },
      { name: 'sum', dtype: 'i32', shape: [], address: 68, bytes: 4 },
    ],
    tokenizer: { file: 'tokenizer.json' },
    sampler: samplers[sampler],
  };
}

/** Serves a bundle from memory; `manifest` replaces its manifest. */
export function serve(bundle: Bundle, manifest: unknown = bundle.manifest): FetchFile {
  return async (name) => {
    if (name === 'manifest.json') return new TextEncoder().encode(JSON.stringify(manifest));
    const bytes = bundle.files.get(name);
    if (bytes === undefined) throw new Error('no such file');
    return bytes;
  };
}

export async function codeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code);
    throw error;
  }
  return 'no error';
}

/**
 * Writing of bundles. A bundle directory is either whole or not there: it is written under a temporary name
 * beside its target, every file synced, and renamed. Same contents give the same bytes.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, mkdir, readdir, readFile, realpath, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import type { PackagedAscend } from '../backends/ascendc/package.js';
import type { PackagedCuda } from '../backends/cuda/package.js';
import {
  bundleFormat,
  bundleVersion,
  type FileRecord,
  isPlainFileName,
  type Manifest,
  manifestName,
  parseManifest,
} from '../backends/wasm/runtime/manifest.js';
import { fail } from '../ir/diagnostics.js';
import {
  type ByteSource,
  claimTemporary,
  removeTemporary,
  syncDirectory,
  withTemporary,
  writeSynced,
} from './atomic-write.js';

/** A manifest before its files are written, hashed and listed. */
export type ManifestWithoutFiles = Omit<Manifest, 'files'> | PackagedCuda | PackagedAscend;

/** Contents of a file; a function is called when the file's turn comes. */
export type BundleSource = ByteSource | (() => ByteSource);

export type BundleFiles = ReadonlyMap<string, BundleSource>;

/**
 * Writes a bundle, replacing the bundle or empty directory that is there. A process killed at any moment
 * leaves the old bundle, the new one, or (between two renames) none.
 * Fails with HEW8003 when the target is something else or cannot be written; a manifest that the loader would
 * refuse is an internal error (HEW9001).
 */
export async function writeBundle(
  directory: string,
  manifest: ManifestWithoutFiles,
  files: BundleFiles,
): Promise<void> {
  const target = await resolveTarget(directory);
  await withTemporary(target, async (temporary) => {
    await mkdir(temporary);
    const records = await writeFiles(temporary, files);
    const bytes = manifestBytes(manifest, records);
    await writeSynced(join(temporary, manifestName), bytes);
    await syncDirectory(temporary);
    await replaceDirectory(target, temporary);
  });
}

/** Creates the parent, follows links, and makes sure that nothing but a bundle would be replaced. */
async function resolveTarget(directory: string): Promise<string> {
  const path = resolve(directory);
  try {
    await mkdir(dirname(path), { recursive: true });
    const target = (await exists(path)) ? await realpath(path) : path;
    await checkReplaceable(target);
    return target;
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    return fail('HEW8003', `${path} cannot be written: ${error.message}`);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}

async function checkReplaceable(target: string): Promise<void> {
  if (!(await exists(target))) return;
  const help = 'choose another output directory, or remove this one yourself';
  if (!(await lstat(target)).isDirectory())
    fail('HEW8003', `${target} exists and is not a directory`, { help });
  const names = await readdir(target);
  if (names.length === 0) return;
  const own = await filesOfBundle(target);
  if (own === undefined) fail('HEW8003', `${target} exists and is not a bundle`, { help });
  const foreign = names.find((name) => !own.has(name));
  if (foreign !== undefined) {
    fail('HEW8003', `${target} holds '${foreign}', which is not part of the bundle there`, { help });
  }
}

/** Names of the files of a bundle, the manifest included; undefined when the directory holds no bundle. */
async function filesOfBundle(directory: string): Promise<Set<string> | undefined> {
  const shape = z.object({ format: z.literal(bundleFormat), files: z.record(z.string(), z.unknown()) });
  try {
    const path = join(directory, manifestName);
    if (!(await lstat(path)).isFile()) return undefined;
    const parsed = shape.safeParse(JSON.parse(await readFile(path, 'utf8')));
    // Of files in folders, the folders.
    const names = parsed.success
      ? Object.keys(parsed.data.files).map((path) => path.split('/')[0] as string)
      : [];
    return parsed.success ? new Set([manifestName, ...names]) : undefined;
  } catch {
    return undefined;
  }
}

/** A plain file name, or several with a slash between: files of a bundle may lie in folders of it. */
const isBundlePath = (path: string): boolean => path.split('/').every(isPlainFileName);

async function writeFiles(directory: string, files: BundleFiles): Promise<Record<string, FileRecord>> {
  const records: [string, FileRecord][] = [];
  for (const [name, source] of files) {
    if (!isBundlePath(name) || name === manifestName)
      fail('HEW9001', `'${name}' is no name of a bundle file`);
    await mkdir(dirname(join(directory, name)), { recursive: true });
    const hash = createHash('sha256');
    let bytes = 0;
    await writeSynced(join(directory, name), typeof source === 'function' ? source() : source, (chunk) => {
      hash.update(chunk);
      bytes += chunk.byteLength;
    });
    records.push([name, { bytes, sha256: hash.digest('hex') }]);
  }
  return Object.fromEntries(records.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** The manifest of a bundle whose files are read once more, in pieces. Fails with HEW9001 where one is not what the manifest says. */
export async function checkFiles(directory: string): Promise<Manifest> {
  const manifest = parseManifest(await readFile(join(directory, manifestName)));
  for (const [name, { bytes, sha256 }] of Object.entries(manifest.files)) {
    const hash = createHash('sha256');
    for await (const chunk of createReadStream(join(directory, name))) hash.update(chunk as Uint8Array);
    if (hash.digest('hex') !== sha256)
      fail('HEW9001', `the ${bytes} bytes of ${name} are not those that were written`);
  }
  return manifest;
}

async function replaceDirectory(target: string, temporary: string): Promise<void> {
  // Looked at again: compiling takes time, and somebody may have put files there.
  await checkReplaceable(target);
  const parent = dirname(target);
  if (!(await exists(target)) || (await readdir(target)).length === 0) {
    await rename(temporary, target);
    await syncDirectory(parent);
    return;
  }
  const old = claimTemporary(target, 'old');
  await rename(target, old);
  try {
    await rename(temporary, target);
  } catch (error) {
    await rename(old, target);
    throw error;
  }
  await syncDirectory(parent);
  await removeTemporary(old);
}

// --- The manifest ---

const count = z.int().nonnegative();
const fileName = z.string().refine(isPlainFileName, 'not a plain file name');
const dtype = z.enum(['f32', 'f16', 'bf16', 'i64', 'i32', 'i8', 'u8', 'bool']);
/** Weights alone come two to a byte. */
const paramDType = z.enum([...dtype.options, 'i4', 'u4']);
const term = z.tuple([z.int()], z.string());
const dimension = z.union([count, z.array(term)]);
const slot = z.strictObject({ name: z.string(), dtype, shape: z.array(dimension), address: count });
const number = z.number();

const sampler = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('text'),
    temperature: number.nonnegative().optional(),
    top_k: count.optional(),
    top_p: number.positive().max(1).optional(),
    bos: count.nullable().optional(),
    stop: z.array(count).optional(),
  }),
  z.strictObject({
    kind: z.literal('diffusion'),
    steps: count.optional(),
    schedule: z.string().optional(),
    beta_start: number.optional(),
    beta_end: number.optional(),
    predict: z.string().optional(),
    clip: number.positive().nullable().optional(),
    null_class: count.nullable().optional(),
  }),
]);

const fileRecord = z.strictObject({ bytes: count, sha256: z.hex().length(64) });

const wasmCode = { module: fileName, features: z.array(z.string()) };

/** The compiler's side of the format: strict, so that a misspelt key does not go unnoticed. */
export const manifestSchema = z.strictObject({
  format: z.literal(bundleFormat),
  version: z.literal(bundleVersion),
  target: z.literal('wasm'),
  name: z.string(),
  hew: z.string(),
  files: z.record(fileName, fileRecord),
  wasm: z.strictObject({
    ...wasmCode,
    memory_pages: count,
    variants: z.array(z.strictObject(wasmCode)).default([]),
  }),
  weights: z.array(z.strictObject({ file: fileName, offset: count, bytes: count, address: count })),
  symbols: z.record(z.string(), z.strictObject({ min: count, max: count })),
  entries: z.record(
    z.string(),
    z.strictObject({
      export: z.string(),
      symbols: z.array(z.string()),
      inputs: z.array(slot),
      outputs: z.array(slot),
    }),
  ),
  states: z.array(
    z.strictObject({ name: z.string(), dtype, shape: z.array(count), address: count, bytes: count }),
  ),
  tokenizer: z.strictObject({ file: fileName }).nullable(),
  sampler: sampler.nullable(),
});

/** A size over run-time symbols, as plans of GPU bundles have it. */
const planTerms = z.array(z.tuple([z.int()], z.string()));
const planSize = z.union([count, planTerms, z.strictObject({ sum: planTerms, divisor: z.int().positive() })]);
const gpuSlot = z.strictObject({ name: z.string(), dtype, shape: z.array(planSize), address: count });
const mask = z.int().optional();
const pointer: z.ZodType = z.union([
  count,
  z.strictObject({ base: z.lazy(() => pointer), stride: count, depth: count }),
  z.strictObject({ even: z.lazy(() => pointer), odd: z.lazy(() => pointer), depth: count }),
]);
const grid = z.array(z.tuple([planSize, count.positive()]));
const variant = z.strictObject({
  kernel: z.string(),
  grid,
  threads: count.positive(),
  shared: count,
  cost: count.positive(),
  preferred: z.array(z.tuple([count, count])).optional(),
  least: count.optional(),
  maps: z.array(
    z.strictObject({
      pointer: count,
      dtype,
      rows: planSize,
      columns: count.positive(),
      box: count.positive(),
    }),
  ),
});
const step: z.ZodType = z.union([
  z.strictObject({
    kernel: z.string(),
    grid,
    pointers: z.array(pointer),
    symbols: z.array(z.string()),
    variants: z.array(variant).optional(),
    mask,
  }),
  z.strictObject({ copy: z.tuple([pointer, pointer]), bytes: planSize, mask }),
  z.strictObject({ all_reduce: z.tuple([pointer, pointer]), elements: planSize, mask }),
  z.strictObject({ turns: count, body: z.array(z.lazy(() => step)), mask }),
]);

/** The same for bundles that the native runtime reads (runtime-native/src/manifest.cpp). */
const nativeShape = {
  ...manifestSchema.omit({ wasm: true, target: true, entries: true }).shape,
  ranks: count.positive(),
  memory: z.strictObject({ weights: count, total: count }),
  params: z.array(
    z.strictObject({
      dtype: paramDType,
      address: count,
      stride: count,
      turns: count,
      elements: count,
      fan_in: count,
    }),
  ),
  entries: z.record(
    z.string(),
    z.strictObject({
      symbols: z.array(z.string()),
      inputs: z.array(gpuSlot),
      outputs: z.array(gpuSlot),
      plan: z.array(step),
    }),
  ),
};

export const cudaManifestSchema = z.strictObject({
  ...nativeShape,
  target: z.literal('cuda'),
  cuda: z.strictObject({
    source: fileName,
    binary: fileName.nullable(),
    threads: count,
    compute: z.string(),
  }),
});

export const ascendManifestSchema = z.strictObject({
  ...nativeShape,
  files: z.record(z.string().refine(isBundlePath), fileRecord),
  target: z.literal('ascendc'),
  ascendc: z.strictObject({
    chip: z.string(),
    compute: z.string(),
    kernels: z.record(
      z.string(),
      z.strictObject({
        type: z.string(),
        cores: count.positive(),
        memory: z.record(z.string(), count),
      }),
    ),
  }),
});

const schemas = { wasm: manifestSchema, cuda: cudaManifestSchema, ascendc: ascendManifestSchema };

/** Reads back what it writes with the loader's own checks, so that the compiler cannot emit a bad bundle. */
function manifestBytes(manifest: ManifestWithoutFiles, files: Record<string, FileRecord>): Uint8Array {
  const checked = schemas[manifest.target].safeParse({ ...manifest, files });
  if (!checked.success)
    return fail('HEW9001', `the manifest is not valid: ${z.prettifyError(checked.error)}`);
  const bytes = new TextEncoder().encode(`${JSON.stringify(checked.data, undefined, 1)}\n`);
  if (manifest.target !== 'wasm') return bytes;
  try {
    parseManifest(bytes);
  } catch (error) {
    return fail('HEW9001', `the manifest is not valid: ${error instanceof Error ? error.message : error}`);
  }
  return bytes;
}

/**
 * The manifest of a bundle: its type, and its validation when it is read. A manifest is hostile data until
 * `parseManifest` has returned: after that, names are plain, shapes are sane, every address lies inside the
 * memory, regions that must not share bytes do not, and every weight segment lies inside a listed file.
 */
import { type DType, dtypes, isDType } from './dtype.js';
import { LoadError, listNames, reasonOf, refuse } from './errors.js';
import { checkLayout } from './layout.js';
import type { Dimension, Shape, ShapeTerm, SymbolTable } from './shape.js';

export const bundleFormat = 'hew-bundle';
export const bundleVersion = 1;
export const manifestName = 'manifest.json';

export interface FileRecord {
  readonly bytes: number;
  /** Lower-case hexadecimal. */
  readonly sha256: string;
}

/** `file[offset, offset + bytes)` is copied to the memory at `address`. */
export interface WeightSegment {
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
  readonly address: number;
}

export interface TensorSlot {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  /** Byte address in the memory. */
  readonly address: number;
}

export interface EntryInfo {
  /** The run-time symbols of its shapes. */
  readonly symbols: readonly string[];
  readonly inputs: readonly TensorSlot[];
  readonly outputs: readonly TensorSlot[];
}

/** `export(...symbol values, mask)`; bit i of the mask asks for output i. */
export interface EntrySpec extends EntryInfo {
  readonly export: string;
}

export interface StateInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly address: number;
  readonly bytes: number;
}

/** Defaults of text generation. `top_k` 0 and `top_p` 1 mean no restriction. */
export interface TextSampler {
  readonly kind: 'text';
  readonly temperature?: number;
  readonly top_k?: number;
  readonly top_p?: number;
  /** Token put before a prompt. */
  readonly bos?: number | null;
  /** Tokens that end a text. */
  readonly stop?: readonly number[];
}

/** The diffusion process a model was trained on, and defaults of sampling. */
export interface DiffusionSampler {
  readonly kind: 'diffusion';
  /** Number of timesteps of the training schedule. */
  readonly steps?: number;
  readonly schedule?: string;
  readonly beta_start?: number;
  readonly beta_end?: number;
  /** What the model predicts. */
  readonly predict?: string;
  /** Predicted images are clamped to -clip..clip; null means not clamped. */
  readonly clip?: number | null;
  /** Class that stands for "no class" in classifier-free guidance. */
  readonly null_class?: number | null;
}

export type Sampler = TextSampler | DiffusionSampler;

/** A WebAssembly module, and what an engine needs for it. */
export interface WasmCode {
  readonly module: string;
  readonly features: readonly string[];
}

export interface WasmPart extends WasmCode {
  /** Size of the memory in pages of 64 KiB. */
  readonly memory_pages: number;
  /** Modules that compute the same with more features: the first that the engine can run is taken. */
  readonly variants: readonly WasmCode[];
}

/** What the manifests of all targets say about the model. */
export interface ModelInfo {
  readonly name: string;
  /** Version of the compiler that wrote the bundle. */
  readonly hew: string;
  readonly symbols: SymbolTable;
  readonly entries: Readonly<Record<string, EntryInfo>>;
  readonly states: readonly StateInfo[];
  readonly tokenizer: { readonly file: string } | null;
  readonly sampler: Sampler | null;
}

export interface Manifest extends ModelInfo {
  readonly format: typeof bundleFormat;
  readonly version: typeof bundleVersion;
  readonly target: 'wasm';
  readonly files: Readonly<Record<string, FileRecord>>;
  readonly wasm: WasmPart;
  readonly weights: readonly WeightSegment[];
  readonly entries: Readonly<Record<string, EntrySpec>>;
}

const maxManifestBytes = 64 * 2 ** 20;
const maxPages = 65536;
/** Bits of the output mask. */
export const maxOutputs = 32;
const maxRank = 16;
const maxSymbolValue = 2 ** 31 - 1;

/**
 * @throws LoadError HEW7001 when the bytes are no manifest, HEW7002 when version or target are not
 * supported, HEW7003 when what it says makes no sense.
 */
export function parseManifest(bytes: Uint8Array): Manifest {
  const json = parseJson(bytes);
  checkVersion(json);
  const manifest: Manifest = {
    format: bundleFormat,
    version: bundleVersion,
    target: 'wasm',
    name: string(json.name, 'name'),
    hew: string(json.hew, 'hew'),
    files: mapRecord(json.files, 'files', fileRecord, checkFileName),
    wasm: wasmPart(json.wasm, 'wasm'),
    weights: list(json.weights, 'weights', weightSegment),
    symbols: mapRecord(json.symbols, 'symbols', symbolBounds, checkIdentifier),
    entries: mapRecord(json.entries, 'entries', entrySpec, checkIdentifier),
    states: list(json.states, 'states', stateSpec),
    tokenizer: json.tokenizer == null ? null : tokenizerPart(json.tokenizer, 'tokenizer'),
    sampler: json.sampler == null ? null : sampler(json.sampler, 'sampler'),
  };
  checkReferences(manifest);
  checkLayout(manifest);
  return manifest;
}

/** Whether `name` may be the name of a file of a bundle: plain, and in the bundle's own folder. */
export function isPlainFileName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/.test(name);
}

function parseJson(bytes: Uint8Array): Fields {
  if (bytes.byteLength > maxManifestBytes) refuse('HEW7001', `${manifestName} has ${bytes.byteLength} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new LoadError('HEW7001', `${manifestName} is not valid JSON: ${reasonOf(error)}`, { cause: error });
  }
  if (!isRecord(value) || value.format !== bundleFormat) {
    refuse('HEW7001', `${manifestName} does not say "format": "${bundleFormat}"`);
  }
  return value;
}

function checkVersion({ version, target }: Fields): void {
  if (version !== bundleVersion) {
    refuse(
      'HEW7002',
      `the bundle has format version ${JSON.stringify(version)}, and this loader reads version ${bundleVersion}`,
      'compile the model again with the version of Hew that this loader belongs to',
    );
  }
  if (target !== 'wasm') {
    refuse(
      'HEW7002',
      `the bundle is for target ${JSON.stringify(target)}, and this loader runs target "wasm"`,
      'compile the model with --target wasm',
    );
  }
}

// --- Reading of one part each. `where` is the path inside the manifest, for messages. ---

type Fields = Readonly<Record<string, unknown>>;

function damaged(where: string, problem: string): never {
  refuse('HEW7003', `${manifestName}: ${where} ${problem}`);
}

function isRecord(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fields(value: unknown, where: string): Fields {
  return isRecord(value) ? value : damaged(where, 'is not an object');
}

function string(value: unknown, where: string): string {
  if (typeof value !== 'string' || value.length > 1000) damaged(where, 'is not a string of sane length');
  return value;
}

function integer(value: unknown, where: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
    damaged(where, `is not an integer in ${min}..${max}`);
  }
  return value;
}

function finite(value: unknown, where: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) damaged(where, 'is not a finite number');
  return value;
}

type Reader<T> = (value: unknown, where: string) => T;

function list<T>(value: unknown, where: string, read: Reader<T>): T[] {
  if (!Array.isArray(value)) damaged(where, 'is not a list');
  return value.map((item: unknown, index) => read(item, `${where}[${index}]`));
}

function mapRecord<T>(
  value: unknown,
  where: string,
  read: Reader<T>,
  checkKey: CheckName,
): Record<string, T> {
  const pairs = Object.entries(fields(value, where)).map(([key, item]): [string, T] => {
    checkKey(key, where);
    return [key, read(item, `${where}.${key}`)];
  });
  return Object.fromEntries(pairs);
}

type CheckName = (name: string, where: string) => void;

function checkFileName(name: string, where: string): void {
  if (!isPlainFileName(name))
    damaged(where, `names the file ${JSON.stringify(name)}, which is not a plain name`);
}

function checkIdentifier(name: string, where: string): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,199}$/.test(name) || name === '__proto__') {
    damaged(where, `has the name ${JSON.stringify(name)}, which is not an identifier`);
  }
}

function identifier(value: unknown, where: string): string {
  const name = string(value, where);
  checkIdentifier(name, where);
  return name;
}

function fileName(value: unknown, where: string): string {
  const name = string(value, where);
  checkFileName(name, where);
  return name;
}

function fileRecord(value: unknown, where: string): FileRecord {
  const { bytes, sha256 } = fields(value, where);
  const digest = string(sha256, `${where}.sha256`);
  if (!/^[0-9a-f]{64}$/.test(digest)) damaged(`${where}.sha256`, 'is not a SHA-256 in hexadecimal');
  return { bytes: integer(bytes, `${where}.bytes`), sha256: digest };
}

function wasmPart(value: unknown, where: string): WasmPart {
  const { memory_pages, variants } = fields(value, where);
  return {
    ...wasmCode(value, where),
    memory_pages: integer(memory_pages, `${where}.memory_pages`, 0, maxPages),
    variants: list(variants ?? [], `${where}.variants`, wasmCode),
  };
}

function wasmCode(value: unknown, where: string): WasmCode {
  const { module, features } = fields(value, where);
  return {
    module: fileName(module, `${where}.module`),
    features: list(features, `${where}.features`, string),
  };
}

function weightSegment(value: unknown, where: string): WeightSegment {
  const { file, offset, bytes, address } = fields(value, where);
  return {
    file: fileName(file, `${where}.file`),
    offset: integer(offset, `${where}.offset`),
    bytes: integer(bytes, `${where}.bytes`),
    address: integer(address, `${where}.address`),
  };
}

function symbolBounds(value: unknown, where: string): { min: number; max: number } {
  const { min, max } = fields(value, where);
  const least = integer(min, `${where}.min`, 0, maxSymbolValue);
  return { min: least, max: integer(max, `${where}.max`, least, maxSymbolValue) };
}

function entrySpec(value: unknown, where: string): EntrySpec {
  const entry = fields(value, where);
  const outputs = list(entry.outputs, `${where}.outputs`, tensorSlot);
  if (outputs.length > maxOutputs) damaged(`${where}.outputs`, `has more than ${maxOutputs} outputs`);
  return {
    export: string(entry.export, `${where}.export`),
    symbols: list(entry.symbols, `${where}.symbols`, identifier),
    inputs: list(entry.inputs, `${where}.inputs`, tensorSlot),
    outputs,
  };
}

function tensorSlot(value: unknown, where: string): TensorSlot {
  const { name, dtype, shape, address } = fields(value, where);
  const type = readDType(dtype, `${where}.dtype`);
  return {
    name: identifier(name, `${where}.name`),
    dtype: type,
    shape: readShape(shape, `${where}.shape`),
    address: alignedAddress(address, type, `${where}.address`),
  };
}

function stateSpec(value: unknown, where: string): StateInfo {
  const { name, dtype, shape, address, bytes } = fields(value, where);
  const type = readDType(dtype, `${where}.dtype`);
  return {
    name: string(name, `${where}.name`),
    dtype: type,
    shape: list(shape, `${where}.shape`, integer),
    address: alignedAddress(address, type, `${where}.address`),
    bytes: integer(bytes, `${where}.bytes`),
  };
}

function readDType(value: unknown, where: string): DType {
  return isDType(value)
    ? value
    : damaged(where, `is ${JSON.stringify(value)}, not one of ${Object.keys(dtypes).join(', ')}`);
}

function alignedAddress(value: unknown, dtype: DType, where: string): number {
  const address = integer(value, where);
  if (address % dtypes[dtype].bytes !== 0) damaged(where, `is not a multiple of the size of ${dtype}`);
  return address;
}

function readShape(value: unknown, where: string): Dimension[] {
  const shape = list(value, where, readDimension);
  if (shape.length > maxRank) damaged(where, `has more than ${maxRank} dimensions`);
  return shape;
}

function readDimension(value: unknown, where: string): Dimension {
  return typeof value === 'number' ? integer(value, where) : list(value, where, readTerm);
}

function readTerm(value: unknown, where: string): ShapeTerm {
  if (!Array.isArray(value) || value.length > maxRank) damaged(where, 'is not a term of a polynomial');
  const [coefficient, ...symbols]: unknown[] = value;
  return [
    integer(coefficient, `${where}[0]`, Number.MIN_SAFE_INTEGER),
    ...symbols.map((symbol, index) => identifier(symbol, `${where}[${index + 1}]`)),
  ];
}

function tokenizerPart(value: unknown, where: string): { file: string } {
  return { file: fileName(fields(value, where).file, `${where}.file`) };
}

const samplerFields: Record<Sampler['kind'], Readonly<Record<string, Reader<unknown>>>> = {
  text: {
    temperature: finite,
    top_k: integer,
    top_p: finite,
    bos: orNull(integer),
    stop: (value, where) => list(value, where, integer),
  },
  diffusion: {
    steps: integer,
    schedule: string,
    beta_start: finite,
    beta_end: finite,
    predict: string,
    clip: orNull(finite),
    null_class: orNull(integer),
  },
};

function orNull<T>(read: Reader<T>): Reader<T | null> {
  return (value, where) => (value === null ? null : read(value, where));
}

/** Settings that this version does not know are dropped. */
function sampler(value: unknown, where: string): Sampler {
  const settings = fields(value, where);
  const { kind } = settings;
  if (kind !== 'text' && kind !== 'diffusion') damaged(`${where}.kind`, 'is neither "text" nor "diffusion"');
  const known = Object.entries(samplerFields[kind])
    .filter(([key]) => settings[key] !== undefined)
    .map(([key, read]) => [key, read(settings[key], `${where}.${key}`)]);
  return { kind, ...Object.fromEntries(known) } as Sampler;
}

// --- References between the parts. ---

function checkReferences(manifest: Manifest): void {
  const { files, wasm, weights, tokenizer, symbols, entries, states } = manifest;
  const listed = (name: string, where: string): FileRecord => {
    const record = Object.hasOwn(files, name) ? files[name] : undefined;
    return record ?? damaged(where, `refers to '${name}', which is not among the files`);
  };
  listed(wasm.module, 'wasm.module');
  for (const { module } of wasm.variants) listed(module, 'wasm.variants');
  if (tokenizer !== null) listed(tokenizer.file, 'tokenizer.file');
  weights.forEach(({ file, offset, bytes }, index) => {
    const where = `weights[${index}]`;
    if (offset + bytes > listed(file, `${where}.file`).bytes)
      damaged(where, `goes past the end of '${file}'`);
  });
  checkUnique(
    states.map(({ name }) => name),
    'states',
  );
  for (const [name, entry] of Object.entries(entries)) checkEntry(entry, `entries.${name}`, symbols);
}

function checkEntry(entry: EntrySpec, where: string, symbols: SymbolTable): void {
  checkUnique(entry.symbols, `${where}.symbols`);
  for (const symbol of entry.symbols) {
    if (!Object.hasOwn(symbols, symbol)) {
      damaged(`${where}.symbols`, `has '${symbol}'; the symbols are ${listNames(Object.keys(symbols))}`);
    }
  }
  for (const side of ['inputs', 'outputs'] as const) {
    checkUnique(
      entry[side].map(({ name }) => name),
      `${where}.${side}`,
    );
    for (const { name, shape } of entry[side])
      checkShapeSymbols(shape, `${where}.${side}.${name}`, entry.symbols);
  }
}

function checkShapeSymbols(shape: Shape, where: string, symbols: readonly string[]): void {
  for (const dimension of shape) {
    for (const [, ...names] of typeof dimension === 'number' ? [] : dimension) {
      const unknown = names.find((name) => !symbols.includes(name));
      if (unknown !== undefined) damaged(where, `uses '${unknown}', which is not a symbol of the entry`);
    }
  }
}

function checkUnique(names: readonly string[], where: string): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) damaged(where, `has '${name}' twice`);
    seen.add(name);
  }
}

/** Options that several commands share, and parsers of option values. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type CachedCompileOptions,
  type ComputeDType,
  computeDTypes,
  type ModelOptions,
  readPipeline,
} from '../api.js';

// ---- values

function invalid(message: string): never {
  throw new InvalidArgumentError(message);
}

/** Option parsers get the text, and for repeated options what earlier ones gave. */
export function integer(text: string): number {
  return /^[-+]?\d+$/.test(text) && Number.isSafeInteger(Number(text))
    ? Number(text)
    : invalid('It must be a whole number.');
}

export function number(text: string): number {
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : invalid('It must be a number.');
}

const byteUnits: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** `4G`, `512M` or `0` in bytes. */
function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMG]?)$/i.exec(text.trim());
  if (match === null) return invalid('Write a number of bytes, such as 512M or 4G.');
  return Math.round(Number(match[1]) * (byteUnits[(match[2] ?? '').toUpperCase()] ?? 1));
}

export function assignment(
  text: string,
  earlier: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) invalid('Write it as name=value.');
  return { ...earlier, [text.slice(0, at).trim()]: text.slice(at + 1).trim() };
}

export function limit(text: string, earlier: Readonly<Record<string, number>> = {}): Record<string, number> {
  const entries = Object.entries(assignment(text)).map(([name, value]) => [name, number(value)]);
  return { ...earlier, ...Object.fromEntries(entries) };
}

const maxRange = 100_000;

/** `1,2,5-8` as [1, 2, 5, 6, 7, 8]. */
export function integerList(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const match = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
    if (match === null) return invalid('Write whole numbers and ranges, such as 1,2,5-8.');
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (last < first || last - first > maxRange) return invalid(`${first}-${last} is no range.`);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

export function nameList(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/** How much memory a model may take as a whole in commands that run it. */
export const residentMemoryOption = (): Option =>
  new Option(
    '--resident-memory <size>',
    'models that need more memory than this are run layer by layer (default: 512M)',
  ).argParser(bytes);

// ---- shared options

export interface ModelFlags {
  readonly config?: string;
  readonly set?: Readonly<Record<string, string>>;
  readonly weights?: string;
  readonly weightsDtype?: 'f32' | 'f16' | 'bf16';
}

export function addModelOptions(command: Command): Command {
  return command
    .option('--config <file>', 'JSON configuration, instead of the one the spec names')
    .option('--set <name=value>', 'a configuration value; may be repeated', assignment)
    .option('--weights <path>', 'safetensors file, index or directory, instead of what the spec names')
    .addOption(
      new Option('--weights-dtype <dtype>', 'store floating-point weights in this type').choices([
        'f32',
        'f16',
        'bf16',
      ]),
    );
}

export function modelOptions(spec: string, flags: ModelFlags): ModelOptions {
  const { config, set, weights, weightsDtype } = flags;
  return { spec, config, set, weights, weightsDtype };
}

export interface CompileFlags extends ModelFlags, TargetFlags {
  readonly pipeline?: string;
  readonly relaxedSimd?: boolean;
}

export function addCompileOptions(command: Command): Command {
  return addTargetOptions(addModelOptions(command))
    .option(
      '--pipeline <text>',
      'passes to run, such as canonicalize,cse,dce, or a .yaml file (see hew passes)',
    )
    .option('--relaxed-simd', 'use relaxed SIMD: faster, but last bits may differ between machines');
}

export interface TargetFlags {
  readonly target?: string;
  readonly dtype?: ComputeDType;
  readonly chip?: string;
  readonly tuning?: string;
}

export const dtypeOption = (): Option =>
  new Option(
    '--dtype <dtype>',
    'what kernels of native targets compute in (default: bf16, for Ascend f16)',
  ).choices([...computeDTypes]);

export function addTargetOptions(command: Command): Command {
  return command
    .option('--target <name>', 'what to compile for', 'wasm')
    .addOption(dtypeOption())
    .option('--chip <name>', 'Ascend chip to compile for: 910b3, 910b1, 910_9391, 310p3, … (default: 910b3)')
    .option('--tuning <file>', 'choices for GPU kernels that hew tune has measured');
}

/** Where a model runs that is not to run as WebAssembly. */
export interface Device {
  readonly target: 'cuda' | 'ascendc';
  /** Number of the GPU. */
  readonly index: number;
}

export interface RunFlags extends CompileFlags {
  readonly device?: Device | undefined;
}

/** Options of commands that run a model, compiling it first where it is a spec. */
export function addRunOptions(command: Command): Command {
  return addCompileOptions(command).option(
    '--device <name>',
    'run on the native runtime: cuda, cuda:1, … for a GPU, ascend-host for kernels for Ascend on a model of the chip',
    device,
  );
}

/** As `device`, where it must be a GPU. */
export function gpuDevice(text: string): Device {
  const found = device(text);
  return found.target === 'cuda' ? found : invalid('Write cuda or cuda:N.');
}

function device(text: string): Device {
  if (text === 'ascend-host') return { target: 'ascendc', index: 0 };
  const match = /^cuda(?::(\d+))?$/.exec(text);
  return match === null
    ? invalid('Write cuda, cuda:N or ascend-host.')
    : { target: 'cuda', index: Number(match[1] ?? 0) };
}

export function compileOptions(spec: string, flags: CompileFlags): CachedCompileOptions {
  const { target, relaxedSimd, dtype, chip, tuning } = flags;
  const pipeline = flags.pipeline === undefined ? undefined : readPipeline(flags.pipeline);
  return { ...modelOptions(spec, flags), target, pipeline, relaxedSimd, dtype, chip, tuning };
}

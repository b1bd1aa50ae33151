/** Compiles emitted kernels with g++ against the model of the chip, and runs them. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { architectureOf, type Chip } from '../../backends/ascendc/chips.js';
import { prelude, preludeName } from '../../backends/ascendc/device/prelude.js';
import type { EmittedKernel } from '../../backends/ascendc/emit/kernel.js';
import { decodeBytes, encodeBytes } from '../../ir/numeric.js';
import { type Tensor, tensor } from '../../ir/tensor.js';
import { type DType, elementCount, storedBytes } from '../../ir/type.js';

const host = 'runtime-native/ascendc-host';

export const hasCompiler = spawnSync('g++', ['--version']).status === 0;

export interface KernelCall {
  readonly kernel: EmittedKernel;
  readonly blocks: number;
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly { readonly dtype: DType; readonly shape: readonly number[] }[];
  readonly symbols: readonly number[];
}

export type KernelOutcome = { readonly fault: string } | { readonly outputs: readonly Tensor[] };

/** Order of hew_ascend::KernelType. */
const kernelTypes = [
  'AICORE',
  'MIX_VECTOR_CORE',
  'AIV_ONLY',
  'AIC_ONLY',
  'MIX_AIV_1_0',
  'MIX_AIC_1_0',
  'MIX_AIC_1_1',
  'MIX_AIC_1_2',
];

/** `before` is code that the kernels may use beside the prelude. */
export function runKernels(chip: Chip, calls: readonly KernelCall[], before = ''): KernelOutcome[] {
  const directory = mkdtempSync(join(tmpdir(), 'hew-ascend-'));
  try {
    const program = compileKernels(
      directory,
      calls.map(({ kernel }) => kernel),
      before,
      chip,
    );
    writeFileSync(join(directory, 'calls'), encodeCalls(calls));
    execFileSync(program, [chip.name, join(directory, 'calls'), join(directory, 'results')]);
    return decodeResults(readFileSync(join(directory, 'results')), calls);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One program with all kernels, each in a namespace of its own, since their classes and constants share names. */
function compileKernels(
  directory: string,
  kernels: readonly EmittedKernel[],
  before: string,
  chip: Chip,
): string {
  const parts = kernels.map(({ name, code }, i) => {
    const unique = code.replace(`void ${name}(`, `void call_${i}_${name}(`);
    return `namespace call_${i} {\n${unique}\n}\n`;
  });
  const table = kernels.map(({ name }, i) => `(void*)call_${i}::call_${i}_${name}`).join(',\n    ');
  writeFileSync(
    join(directory, 'kernels.inc'),
    `#include "${preludeName}"\n${before}\n${parts.join('\n')}\nvoid* const kernels[] = {\n    ${table},\n};\n`,
  );
  writeFileSync(join(directory, preludeName), prelude);
  const program = join(directory, 'kernels');
  execFileSync('g++', [
    ...[...flags, `-D__NPU_ARCH__=${architectureOf(chip)}`, '-I', `${host}/include`, '-I', directory],
    ...['tests/ascendc/harness.cpp', modelLibrary(), '-o', program],
  ]);
  return program;
}

const flags = [
  ...['-std=c++17', '-O1', '-Wall', '-Wextra', '-Werror'],
  ...['-Wno-unused', '-Wno-type-limits', '-Wno-clobbered'],
];

/** The model as an object file, compiled once for each state of its sources. */
function modelLibrary(): string {
  const sources = readdirSync(`${host}/src`).map((name) => `${host}/src/${name}`);
  const headers = readdirSync(`${host}/include/hew_ascend`).map(
    (name) => `${host}/include/hew_ascend/${name}`,
  );
  const hash = createHash('sha256').update(flags.join(' '));
  for (const file of [...sources, ...headers]) hash.update(readFileSync(file));
  const library = join(tmpdir(), `hew-ascend-host-${hash.digest('hex').slice(0, 16)}.o`);
  if (existsSync(library)) return library;
  const own = mkdtempSync(join(tmpdir(), 'hew-ascend-'));
  try {
    writeFileSync(join(own, 'all.cpp'), sources.map((name) => `#include "${resolve(name)}"\n`).join(''));
    const object = join(own, 'all.o');
    execFileSync('g++', [...flags, '-I', `${host}/include`, '-c', join(own, 'all.cpp'), '-o', object]);
    renameSync(object, library);
  } finally {
    rmSync(own, { recursive: true });
  }
  return library;
}

function encodeCalls(calls: readonly KernelCall[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const u32 = (...values: number[]): void => {
    parts.push(new Uint8Array(Uint32Array.from(values).buffer));
  };
  const u64 = (value: number): void => {
    parts.push(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  };
  u32(calls.length);
  calls.forEach(({ kernel, blocks, inputs, outputs, symbols }, i) => {
    u32(i, kernelTypes.indexOf(kernel.type), blocks, inputs.length + outputs.length, symbols.length);
    for (const input of inputs) {
      const bytes = encodeBytes(input.dtype, input.data);
      u32(0);
      u64(bytes.length);
      parts.push(bytes);
    }
    for (const { dtype, shape } of outputs) {
      u32(1);
      u64(storedBytes(dtype, elementCount(shape)));
    }
    u32(...symbols);
  });
  return Buffer.concat(parts);
}

function decodeResults(bytes: Uint8Array, calls: readonly KernelCall[]): KernelOutcome[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (length: number): Uint8Array => {
    at += length;
    return bytes.slice(at - length, at);
  };
  return calls.map(({ outputs }) => {
    const length = view.getUint32(at, true);
    at += 4;
    const fault = new TextDecoder().decode(take(length));
    const tensors = outputs.map(({ dtype, shape }) =>
      tensor(dtype, [...shape], decodeBytes(dtype, take(storedBytes(dtype, elementCount(shape))))),
    );
    return fault === '' ? { outputs: tensors } : { fault };
  });
}

/**
 * Writes the conformance suite for a GPU: `cases.ts OUTPUT`, or those cases whose names match: `cases.ts OUTPUT PATTERN`. Each case is a bundle without code of its own; their kernels
 * stand together in a few sources, which nvcc compiles here or on the machine with the GPU (see check.py). The inputs,
 * and what the interpreter makes of them, go to one file of data. Cases whose kernels have parameters are there twice: with the
 * defaults, and with another of the choices that `hew tune` has, all of which are taken in turn; attention of one token also
 * by one block for a head.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { requestsOf } from '../../../backends/cuda/candidates.js';
import { supports } from '../../../backends/cuda/capabilities.js';
import { emitCuda, lower } from '../../../backends/cuda/compile.js';
import { packageCuda } from '../../../backends/cuda/package.js';
import {
  choicesOf,
  type DecodeShape,
  type KindName,
  recordText,
  requestKey,
  type Tuning,
  tuningOf,
  untuned,
} from '../../../backends/cuda/tuning.js';
import { type ComputeDType, computeDTypes } from '../../../backends/narrow.js';
import { weightFiles } from '../../../backends/native/package.js';
import { bindSymbols, interpretEntry } from '../../../ir/interpret.js';
import type { Func, Module } from '../../../ir/module.js';
import { encodeBytes } from '../../../ir/numeric.js';
import type { Tensor } from '../../../ir/tensor.js';
import { dtypes } from '../../../ir/type.js';
import { symbolsOf } from '../../../ir/verify.js';
import { caseModule, caseTitle, type OpCase, type Tolerance } from '../../conformance/case.js';
import { moduleCases } from '../../conformance/cases/structure.js';
import { opCases } from '../../conformance/cases.js';
import { appendCases, attentionCases, byteLayerCases } from '../../cuda/byte-caches.js';
import { layerCases, productCases } from '../../cuda/decoding.js';
import { quantizedCases } from '../../cuda/quantized.js';
import { streamingCases } from '../../cuda/streaming.js';

interface Call {
  readonly entry: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly wanted: Readonly<Record<string, Tensor>>;
}

interface DeviceCase {
  readonly name: string;
  readonly compute: ComputeDType;
  readonly module: Module;
  readonly calls: readonly Call[];
  readonly tolerance: Readonly<Partial<Record<string, Tolerance>>>;
}

const casesPerSource = 16;

/** Ops with kernels of their own for 16-bit floats; their cases run once more with 16-bit compute. */
const narrowOps: ReadonlySet<string> = new Set(['linear', 'grouped_linear', 'attention']);

function* suite(pattern: RegExp): Generator<DeviceCase> {
  const wanted = <C extends { readonly name: string }>(cases: readonly C[]): C[] =>
    cases.filter(({ name }) => pattern.test(name));
  for (const c of opCases.filter((c) => pattern.test(caseTitle(c)) && isSupported(c))) {
    const computes: ComputeDType[] = narrowOps.has(c.op) ? ['f32', 'bf16', 'f16'] : ['f32'];
    for (const weights of ['parameters', 'arguments'] as const) {
      if (weights === 'arguments' && !c.operands.some((operand) => operand.weight)) continue;
      const { module, inputs } = caseModule(c, { weights });
      // Bundles have no inputs of four bits.
      if (Object.values(inputs).some(({ dtype }) => dtypes[dtype].bits < 8)) continue;
      const wanted = interpretEntry(module, 'main', inputs);
      for (const compute of computes) {
        const name = `${caseTitle(c)}, weights as ${weights}, ${compute}`;
        yield { name, compute, module, calls: [{ entry: 'main', inputs, wanted }], tolerance: c.tolerance };
      }
    }
  }
  for (const { name, module, calls } of wanted(moduleCases))
    yield { name, compute: 'f32', module, calls: interpreted(module, calls), tolerance: {} };
  for (const { name, module, calls } of wanted(quantizedCases)) {
    const made = interpreted(module, calls);
    const tolerance = { f32: { absolute: 0, relative: 0 } };
    for (const compute of ['f32', 'bf16'] as const)
      yield { name: `${name}, ${compute}`, compute, module, calls: made, tolerance };
  }
  const plain = [
    ...[...layerCases, ...productCases, ...streamingCases],
    ...[...attentionCases, ...byteLayerCases, ...appendCases],
  ];
  for (const { name, module, calls } of wanted(plain)) {
    const made = interpreted(module, calls);
    for (const compute of computeDTypes)
      yield { name: `${name}, ${compute}`, compute, module, calls: made, tolerance: longSums };
  }
}

/** Sums of hundreds of products round more often than the usual cases. */
const longSums = { f32: { absolute: 2e-5, relative: 1e-4 } };

/** Calls with what the interpreter makes of them, one after the other. */
function interpreted(module: Module, calls: readonly Omit<Call, 'wanted'>[]): Call[] {
  const states = new Map<string, Tensor>();
  return calls.map(({ entry, inputs }) => ({
    entry,
    inputs,
    wanted: interpretEntry(module, entry, inputs, { states }),
  }));
}

function isSupported(c: OpCase): boolean {
  const { module } = caseModule(c, { weights: 'arguments' });
  return [...module.functions.values()].every(({ body }) => body.every((op) => supports(op) === true));
}

interface Place {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly bytes: number;
}

/** One file of tensors, each at a multiple of eight bytes. */
class Data {
  private readonly chunks: Uint8Array[] = [];
  private readonly places = new Map<Tensor, Place>();
  private bytes = 0;

  add(value: Tensor): Place {
    const place = this.places.get(value) ?? this.append(value);
    this.places.set(value, place);
    return place;
  }

  private append({ dtype, shape, data }: Tensor): Place {
    const encoded = encodeBytes(dtype, data);
    const offset = this.bytes;
    const padding = new Uint8Array((8 - (encoded.length % 8)) % 8);
    this.chunks.push(encoded, padding);
    this.bytes += encoded.length + padding.length;
    return { dtype, shape, offset, bytes: encoded.length };
  }

  whole(): Uint8Array {
    return Buffer.concat(this.chunks);
  }
}

/** How often a choice of a kind has been taken, so that all have their turn. */
const turns = new Map<KindName, number>();

/** For every shape that kernels of a module ask parameters for another choice than the default; undefined where there is none. */
function otherChoices(module: Module): ReadonlyMap<string, object> | undefined {
  // The tiles of products are variants of one launch, all of which check.py runs.
  const requests = requestsOf(module).filter(({ kind }) => kind !== 'tile');
  if (requests.length === 0) return undefined;
  return new Map(
    requests.map(({ kind, shape }) => {
      const others = choicesOf(kind, shape).slice(1);
      const turn = turns.get(kind) ?? 0;
      turns.set(kind, turn + 1);
      return [requestKey(kind, shape), others[turn % others.length] as object];
    }),
  );
}

/** One block for all keys of a head: floats go to tensor cores where a block has many. Undefined where nothing is to choose. */
function unsplit(module: Module): ReadonlyMap<string, object> | undefined {
  const requests = requestsOf(module).filter(
    (own) => own.kind === 'decode' && choicesOf('decode', own.shape as DecodeShape)[0]?.splits !== 1,
  );
  const choice = { splits: 1, resident: 2 };
  return requests.length === 0
    ? undefined
    : new Map(requests.map(({ kind, shape }) => [requestKey(kind, shape), choice]));
}

/** The cases as they are, and with other choices. */
function* ways(
  pattern: RegExp,
): Generator<DeviceCase & { readonly lowered: Module; readonly tuning: Tuning }> {
  for (const own of suite(pattern)) {
    const lowered = lower(own.module, own.compute).module;
    yield { ...own, lowered, tuning: untuned };
    for (const choices of [otherChoices(lowered), own.compute === 'f32' ? undefined : unsplit(lowered)]) {
      if (choices === undefined) continue;
      const said = [...choices.values()].map(recordText).join('; ');
      yield { ...own, name: `${own.name}, with ${said}`, lowered, tuning: tuningOf(choices) };
    }
  }
}

function main(output: string, pattern: RegExp): void {
  const data = new Data();
  const sources: string[][] = [];
  const index: unknown[] = [];
  let number = 0;
  for (const { name, compute, module, calls, tolerance, lowered, tuning } of ways(pattern)) {
    const source = Math.floor(number / casesPerSource);
    const cuda = emitCuda(lowered, { prefix: `c${number}_`, tuning });
    const directory = join(output, 'cases', String(number));
    mkdirSync(directory, { recursive: true });
    const files: Record<string, number> = {};
    for (const [file, chunks] of weightFiles(cuda, undefined, true, () => {})) {
      const bytes = Buffer.concat([...chunks()]);
      writeFileSync(join(directory, file), bytes);
      files[file] = bytes.length;
    }
    const packaged = packageCuda(cuda, compute, 'kernels.cubin', {
      compilerVersion: 'conformance',
      tokenizerFile: undefined,
      weights: true,
    });
    // The size of the code is filled in by who compiles it.
    const listed = Object.fromEntries(Object.entries(files).map(([file, bytes]) => [file, { bytes }]));
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ ...packaged, files: listed }));
    const { shared, own } = splitSource(cuda.source);
    sources[source] ??= [];
    sources[source]?.push(own);
    for (const part of shared) if (!libraryParts.includes(part)) libraryParts.push(part);
    index.push({
      name,
      source,
      compute,
      tolerance,
      calls: calls.map(({ entry, inputs, wanted }) => ({
        entry,
        symbols: symbolValues(module, entry, inputs),
        inputs: Object.fromEntries(Object.entries(inputs).map(([key, value]) => [key, data.add(value)])),
        wanted: Object.fromEntries(Object.entries(wanted).map(([key, value]) => [key, data.add(value)])),
      })),
    });
    number++;
  }
  sources.forEach((kernels, i) => {
    writeFileSync(join(output, `cases-${i}.cu`), [...libraryParts, ...kernels].join('\n'));
  });
  writeFileSync(join(output, 'cases.json'), JSON.stringify(index));
  writeFileSync(join(output, 'cases.bin'), data.whole());
  console.log(
    `${number} cases in ${sources.length} sources; choices taken: ${[...turns].map(([kind, count]) => `${kind} ${count}`).join(', ')}`,
  );
}

/** Parts of the device library that any case uses, in the order they stand in a source. */
const libraryParts: string[] = [];
const partStart = /^(?=\/\/ ---- )/m;
const kernelsStart = '// ---- kernels of the model ----';

function splitSource(source: string): { shared: string[]; own: string } {
  const at = source.indexOf(kernelsStart);
  return {
    shared: source.slice(source.indexOf('\n'), at).split(partStart),
    own: source.slice(at + kernelsStart.length),
  };
}

function symbolValues(module: Module, entry: string, inputs: Call['inputs']): Record<string, number> {
  const func = module.functions.get(entry) as Func;
  const args = func.args.map((arg) => inputs[arg.name as string] as Tensor);
  const values = bindSymbols(module, func, args);
  return Object.fromEntries([...symbolsOf(module, func)].map((name) => [name, values.get(name) as number]));
}

main(process.argv[2] ?? 'out/cuda', new RegExp(process.argv[3] ?? ''));

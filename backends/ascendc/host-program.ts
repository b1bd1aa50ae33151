/**
 * The program that runs a bundle on a machine with an NPU: the plan of each entry as C++, a launcher for each kernel, and
 * projects for both styles of toolkit. What is the same for all bundles is in device/host.ts.
 */
import type { NativeEntry, NativeSlot, PlanSize, PlanStep, Pointer } from '../native/manifest.js';
import { chips } from './chips.js';
import { hostFiles } from './device/host.js';
import type { EmittedKernel } from './emit/kernel.js';
import type { PackagedAscend } from './package.js';

/** Files of the program by their path in the bundle. */
export function hostProgram(
  manifest: PackagedAscend,
  chip: keyof typeof chips,
  kernels: readonly EmittedKernel[],
): Map<string, string> {
  return new Map([
    ...hostFiles({
      model: manifest.name,
      architecture: chips[chip].layout === 'split' ? 'dav-2201' : 'dav-2002',
      soc: `Ascend${chip.toUpperCase()}`,
      entry: Object.keys(manifest.entries)[0] ?? '',
      ranks: manifest.ranks,
    }),
    ['host/launch.h', launchHeader(kernels)],
    ['host/plan.cpp', planSource(manifest)],
    ...kernels.map((kernel) => [`host/launch_${kernel.name}.asc`, launcher(kernel)] as const),
  ]);
}

/** Parameters of a kernel's entry, read from its source: addresses, then symbols. */
function parametersOf({ name, code }: EmittedKernel): {
  readonly addresses: number;
  readonly symbols: number;
} {
  const [, list = ''] = new RegExp(`void ${name}\\(([^)]*)\\)`).exec(code) ?? [];
  const parts = list.split(',');
  const addresses = parts.filter((part) => part.includes('GM_ADDR')).length;
  return { addresses, symbols: parts.length - addresses };
}

function parameterList(kernel: EmittedKernel, address: string): string {
  const { addresses, symbols } = parametersOf(kernel);
  return [
    ...Array.from({ length: addresses }, (_, i) => `${address} a${i}`),
    ...Array.from({ length: symbols }, (_, i) => `uint32_t s${i}`),
  ].join(', ');
}

function launchHeader(kernels: readonly EmittedKernel[]): string {
  return `// Launching a kernel, in the style of the toolkit: with 8.x through the headers that it generates, later through the
// launchers in launch_*.asc.
#pragma once
#include <cstdint>

#include "acl/acl.h"

#ifdef HEW_GENERATED_LAUNCHERS
${kernels.map(({ name }) => `#include "aclrtlaunch_${name}.h"`).join('\n')}
#define HEW_LAUNCH(kernel, blocks, stream, ...) ACLRT_LAUNCH_KERNEL(kernel)(blocks, stream, __VA_ARGS__)
#else
${kernels.map((kernel) => `void launch_${kernel.name}(uint32_t blocks, aclrtStream stream, ${parameterList(kernel, 'uint8_t*')});`).join('\n')}
#define HEW_LAUNCH(kernel, blocks, stream, ...) launch_##kernel(blocks, stream, __VA_ARGS__)
#endif
`;
}

function launcher(kernel: EmittedKernel): string {
  const { addresses, symbols } = parametersOf(kernel);
  const values = [
    ...Array.from({ length: addresses }, (_, i) => `a${i}`),
    ...Array.from({ length: symbols }, (_, i) => `s${i}`),
  ];
  return `#include "../kernels/${kernel.name}.cpp"
#include "acl/acl.h"

void launch_${kernel.name}(uint32_t blocks, aclrtStream stream, ${parameterList(kernel, 'uint8_t*')}) {
    ${kernel.name}<<<blocks, nullptr, stream>>>(${values.join(', ')});
}
`;
}

function planSource(manifest: PackagedAscend): string {
  const { kernels } = manifest.ascendc;
  const entries = Object.entries(manifest.entries);
  return `// The entries of ${manifest.name}: launches and copies over one image of device memory.
#include "plan.h"

#include "launch.h"
${manifest.ranks === 1 ? '' : '#include "ranks.h"\n'}
namespace {

${entries.map(([name, entry]) => entryFunction(name, entry, kernels)).join('\n')}
}  // namespace

const Image kImage = {${manifest.memory.weights}u, ${manifest.memory.total}u};

const std::vector<Segment> kWeights = {
${manifest.weights.map(({ file, offset, bytes, address }) => `    {"${file}", ${offset}u, ${bytes}u, ${address}u},`).join('\n')}
};

const std::vector<State> kStates = {
${manifest.states.map(({ name, address, bytes }) => `    {"${name}", ${address}u, ${bytes}u},`).join('\n')}
};

const std::vector<Entry> kEntries = {
${entries.map(([name, entry]) => entryRecord(name, entry)).join('\n')}
};

${manifest.ranks === 1 ? loneRank : ranksSource(manifest.ranks)}`;
}

const loneRank = `void JoinRanks(const std::string&) {}
void LeaveRanks() {}
`;

const ranksSource = (ranks: number): string => `void JoinRanks(const std::string& bundle) {
    const char* path = std::getenv("HEW_ROOT_INFO");
    const int rank = RankVariable("RANK", "OMPI_COMM_WORLD_RANK");
    if (path == nullptr || rank < 0 || rank >= ${ranks} || RankVariable("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE") != ${ranks}) {
        std::fprintf(stderr, "%s is one of ${ranks} ranks: HEW_ROOT_INFO, RANK and WORLD_SIZE=${ranks} are needed\\n", bundle.c_str());
        std::exit(1);
    }
    Meet(path, ${ranks}, static_cast<uint32_t>(rank));
}
void LeaveRanks() { CheckHccl(HcclCommDestroy(Communicator()), "HcclCommDestroy"); }
`;

const functionName = (entry: string): string => `Run_${entry.replaceAll(/\W/g, '_')}`;
const symbolNames = ({ symbols }: NativeEntry): string[] =>
  symbols.map((name, i) => `    const uint64_t ${name} = symbols[${i}];`);

function entryFunction(
  name: string,
  entry: NativeEntry,
  kernels: PackagedAscend['ascendc']['kernels'],
): string {
  return [
    `void ${functionName(name)}(uint8_t* image, const uint64_t* symbols, uint32_t mask, aclrtStream stream) {`,
    ...symbolNames(entry),
    '    (void)symbols;',
    ...entry.plan.flatMap((step) => stepLines(step, kernels, 0)).map((line) => `    ${line}`),
    '}',
    '',
  ].join('\n');
}

function stepLines(step: PlanStep, kernels: PackagedAscend['ascendc']['kernels'], depth: number): string[] {
  const lines = plainStepLines(step, kernels, depth);
  if (step.mask === undefined) return lines;
  return [`if (mask & ${step.mask >>> 0}u) {`, ...lines.map((line) => `    ${line}`), '}'];
}

function plainStepLines(
  step: PlanStep,
  kernels: PackagedAscend['ascendc']['kernels'],
  depth: number,
): string[] {
  if ('kernel' in step) {
    const { kernel, grid, pointers, symbols } = step;
    const blocks = grid.map(([count, per]) =>
      per === 1 ? sizeText(count) : `CeilDiv(${sizeText(count)}, ${per})`,
    );
    const values = [
      ...pointers.map((pointer) => `image + ${addressText(pointer)}`),
      ...symbols.map((name) => `static_cast<uint32_t>(${name})`),
    ];
    const count = `Blocks(${blocks.join(' * ') || '1'}, ${kernels[kernel]?.cores ?? 1})`;
    return [`HEW_LAUNCH(${kernel}, ${count}, stream, ${values.join(', ')});`];
  }
  if ('copy' in step) {
    const [to, from] = step.copy;
    return [
      `Copy(image + ${addressText(to)}, image + ${addressText(from)}, ${sizeText(step.bytes)}, stream);`,
    ];
  }
  if ('all_reduce' in step) {
    const [to, from] = step.all_reduce;
    return [
      `AllReduce(image + ${addressText(to)}, image + ${addressText(from)}, ${sizeText(step.elements)}, stream);`,
    ];
  }
  return [
    `for (uint64_t turn${depth} = 0; turn${depth} < ${step.turns}; ++turn${depth}) {`,
    ...step.body.flatMap((inner) => stepLines(inner, kernels, depth + 1)).map((line) => `    ${line}`),
    '}',
  ];
}

function addressText(pointer: Pointer): string {
  if (typeof pointer === 'number') return String(pointer);
  if ('even' in pointer)
    return `(turn${pointer.depth} % 2 == 0 ? ${addressText(pointer.even)} : ${addressText(pointer.odd)})`;
  return `(${addressText(pointer.base)} + ${pointer.stride} * turn${pointer.depth})`;
}

function sizeText(size: PlanSize): string {
  if (typeof size === 'number') return `${size}u`;
  if ('sum' in size) return `(${sizeText(size.sum)} / ${size.divisor})`;
  const terms = size.map(([coefficient, ...names]) =>
    [`int64_t{${coefficient}}`, ...names.map(signed)].join(' * '),
  );
  return `static_cast<uint64_t>(${terms.join(' + ')})`;
}

const signed = (name: string): string => `static_cast<int64_t>(${name})`;

function entryRecord(name: string, entry: NativeEntry): string {
  const slots = (list: readonly NativeSlot[]): string =>
    list.map((slot) => `{"${slot.name}", ${slot.address}u, ${bytesFunction(entry, slot)}}`).join(',\n      ');
  const symbols = entry.symbols.map((symbol) => `"${symbol}"`).join(', ');
  return [
    `    {"${name}", {${symbols}},`,
    `     {${slots(entry.inputs)}},`,
    `     {${slots(entry.outputs)}},`,
    `     ${functionName(name)}},`,
  ].join('\n');
}

const dtypeBytes: Readonly<Record<string, number>> = {
  f32: 4,
  i32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i8: 1,
  u8: 1,
  bool: 1,
};

function bytesFunction(entry: NativeEntry, { dtype, shape }: NativeSlot): string {
  const used = entry.symbols.flatMap((name, i) => `const uint64_t ${name} = symbols[${i}]; (void)${name};`);
  const sizes = [`${dtypeBytes[dtype]}u`, ...shape.map(sizeText)].join(' * ');
  return `[](const uint64_t* symbols) -> uint64_t { (void)symbols; ${used.join(' ')} return uint64_t{1} * ${sizes}; }`;
}

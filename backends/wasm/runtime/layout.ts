/**
 * Where the parts of a bundle lie in its memory. Weights, states and the inputs of an entry are written by
 * the loader: they must not share bytes, except that entries may use the same bytes as each other. Outputs
 * are only read, so an output may lie on an input, or be a part of a weight or of a state; two outputs of
 * one entry share bytes only if they are the same tensor.
 */
import { dtypes } from './dtype.js';
import { refuse } from './errors.js';
import type { EntrySpec, Manifest, TensorSlot } from './manifest.js';
import { elementCount, evaluateShape, type SymbolTable } from './shape.js';

/** Bytes of one page of WebAssembly memory. */
export const pageBytes = 65536;

interface Region {
  readonly label: string;
  readonly start: number;
  readonly end: number;
}

/** @throws LoadError HEW7003 when a region lies outside the memory or on another. */
export function checkLayout(manifest: Manifest): void {
  const memoryBytes = manifest.wasm.memory_pages * pageBytes;
  const fixed = [...weightRegions(manifest), ...stateRegions(manifest)];
  for (const region of fixed) checkInside(region, memoryBytes);
  const sorted = checkDisjoint(fixed);
  for (const [name, entry] of Object.entries(manifest.entries)) {
    checkEntryLayout(name, entry, manifest.symbols, sorted, memoryBytes);
  }
}

function weightRegions({ weights }: Manifest): Region[] {
  return weights.map(({ address, bytes }, index) => ({
    label: `weights[${index}]`,
    start: address,
    end: address + bytes,
  }));
}

function stateRegions({ states }: Manifest): Region[] {
  return states.map(({ name, dtype, shape, address, bytes }) => {
    const needed = elementCount(shape) * dtypes[dtype].bytes;
    // Written so that NaN (an absurd shape) is refused too.
    if (!(needed <= bytes)) damagedLayout(`state '${name}' has ${bytes} bytes, too few for its shape`);
    return { label: `state '${name}'`, start: address, end: address + bytes };
  });
}

function checkEntryLayout(
  name: string,
  entry: EntrySpec,
  symbols: SymbolTable,
  fixed: readonly Region[],
  memoryBytes: number,
): void {
  const largest = new Map(entry.symbols.map((symbol) => [symbol, symbols[symbol]?.max ?? 0]));
  const regionOf = (slot: TensorSlot): Region => {
    const label = `'${slot.name}' of entry '${name}'`;
    const bytes = elementCount(evaluateShape(slot.shape, largest)) * dtypes[slot.dtype].bytes;
    if (Number.isNaN(bytes)) damagedLayout(`${label} has an absurd shape`);
    return { label, start: slot.address, end: slot.address + bytes };
  };
  const inputs = entry.inputs.map(regionOf);
  const outputs = entry.outputs.map(regionOf);
  for (const region of [...inputs, ...outputs]) checkInside(region, memoryBytes);
  checkDisjoint(inputs);
  checkDisjoint(withoutRepeats(outputs));
  for (const input of inputs) for (const other of touching(input, fixed)) overlap(input, other);
  for (const output of outputs) {
    for (const other of touching(output, fixed)) {
      if (output.start < other.start || output.end > other.end) overlap(output, other);
    }
  }
}

function checkInside({ label, end }: Region, memoryBytes: number): void {
  if (!(end <= memoryBytes)) damagedLayout(`${label} lies outside the memory of ${memoryBytes} bytes`);
}

/** The non-empty regions in order of address, after checking that none shares bytes with the next. */
function checkDisjoint(regions: readonly Region[]): Region[] {
  const sorted = regions.filter(({ start, end }) => end > start).sort((a, b) => a.start - b.start);
  sorted.reduce<Region | undefined>((previous, region) => {
    if (previous !== undefined && region.start < previous.end) overlap(previous, region);
    return region;
  }, undefined);
  return sorted;
}

function withoutRepeats(regions: readonly Region[]): Region[] {
  return [...new Map(regions.map((region) => [`${region.start}-${region.end}`, region])).values()];
}

/** The regions of `sorted` (disjoint, ascending) that share bytes with `region`. */
function touching(region: Region, sorted: readonly Region[]): Region[] {
  if (region.start === region.end) return [];
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle]?.end ?? 0) <= region.start) low = middle + 1;
    else high = middle;
  }
  const found: Region[] = [];
  for (let i = low; i < sorted.length; i++) {
    const other = sorted[i];
    if (other === undefined || other.start >= region.end) break;
    found.push(other);
  }
  return found;
}

function overlap(a: Region, b: Region): never {
  damagedLayout(`${a.label} and ${b.label} share bytes of the memory`);
}

function damagedLayout(problem: string): never {
  refuse('HEW7003', `manifest.json: ${problem}`);
}

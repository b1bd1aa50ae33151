/** What a name of a kernel stands for while it is checked. */
import type { DType } from '../../../ir/type.js';
import { elementType } from '../emit/size.js';
import { anything, type Range } from './range.js';

/** Local memories by what capacities and alignments they have. */
export type Space = 'UB' | 'L1' | 'L0A' | 'L0B' | 'L0C' | 'bias table' | 'fixpipe buffer';

/** A tensor in local memory. */
export interface LocalValue {
  readonly kind: 'local';
  readonly space: Space;
  /** Of C++, such as `half`. */
  readonly type: string;
  /** From here to the end of what it is a part of. */
  readonly bytes: number;
  /** From the beginning of its buffer. */
  readonly offset: Range;
  /** The queue that it came out of. */
  readonly queue?: string;
}

export interface GlobalValue {
  readonly kind: 'global';
  readonly type: string;
}

/** Parameters of an instruction; a field that was not set is absent. */
export interface ParameterValue {
  readonly kind: 'parameters';
  readonly type: string;
  readonly items: readonly Range[];
  readonly fields: Map<string, Range | string>;
}

export type Value =
  | LocalValue
  | GlobalValue
  | ParameterValue
  | { readonly kind: 'number'; readonly range: Range }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'buffer'; readonly name: string };

export const numberValue = (range: Range): Value => ({ kind: 'number', range });
export const unknown: Value = numberValue(anything);

export const rangeOf = (value: Value | undefined): Range =>
  value?.kind === 'number' ? value.range : anything;

const bytesOfType = new Map<string, number>([
  ['float', 4],
  ['half', 2],
  ['bfloat16_t', 2],
  ['int32_t', 4],
  ['uint32_t', 4],
  ['int64_t', 8],
  ['uint64_t', 8],
  ['int16_t', 2],
  ['uint16_t', 2],
  ['int8_t', 1],
  ['uint8_t', 1],
]);

export function sizeOf(type: string): number {
  const bytes = bytesOfType.get(type);
  if (bytes === undefined) throw new Error(`the verifier does not know the type ${type}`);
  return bytes;
}

/** Of `TPosition::VECIN`. */
export function spaceOf(position: string): Space {
  switch (position.replace(/^TPosition::/, '')) {
    case 'A1':
    case 'B1':
    case 'C1':
      return 'L1';
    case 'A2':
      return 'L0A';
    case 'B2':
      return 'L0B';
    case 'CO1':
      return 'L0C';
    case 'C2':
      return 'bias table';
    case 'C2PIPE2GM':
      return 'fixpipe buffer';
    default:
      return 'UB';
  }
}

/** What buffers of a memory begin at multiples of. */
export const alignmentOf: Readonly<Record<Space, number>> = {
  UB: 32,
  L1: 32,
  L0A: 512,
  L0B: 512,
  L0C: 1024,
  'bias table': 64,
  'fixpipe buffer': 128,
};

/** The name of a type of C++ in the tables of instructions. */
export const dtypeNamed: ReadonlyMap<string, string> = new Map([
  ...(Object.entries(elementType) as [DType, string][])
    .filter(([dtype]) => dtype !== 'bool' && dtype !== 'u4')
    .map(([dtype, name]) => [name, dtype] as const),
  ['int16_t', 'i16'],
  ['uint16_t', 'u16'],
  ['uint32_t', 'u32'],
  ['uint64_t', 'u64'],
]);

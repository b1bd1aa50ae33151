/**
 * What Ascend chips have, as far as schedules and rules depend on it. Sizes in bytes. Sources: platform data and API
 * documentation of CANN 8.1 and asc-devkit 2026; bandwidths are those of first-party documents.
 */

/** `split`: cube (AIC) and vector (AIV) cores are separate, 1 to 2. `fused`: one core has both. */
export type CoreLayout = 'split' | 'fused';

export interface Chip {
  readonly name: string;
  readonly layout: CoreLayout;
  readonly cubeCores: number;
  readonly vectorCores: number;
  /** What a kernel may use: without the parts that the toolkit keeps for itself. */
  readonly unifiedBuffer: number;
  readonly l1: number;
  readonly l0a: number;
  readonly l0b: number;
  readonly l0c: number;
  readonly l2: number;
  readonly cubeMegahertz: number;
  /** Bytes per second of global memory and, as first-party documents give it, of the second-level cache. */
  readonly memoryBandwidth: number;
  readonly l2Bandwidth: number;
  /** From L1 to L0B, the slower of the two ways. */
  readonly l1BytesPerCycle: number;
  readonly hasBf16: boolean;
  readonly hasFixpipe: boolean;
  readonly hasDataCopyPad: boolean;
}

const KiB = 1024;
const MiB = 1024 * KiB;

const splitChip = (name: string, cubeCores: number, cubeMegahertz: number, l2: number): Chip => ({
  name,
  layout: 'split',
  cubeCores,
  vectorCores: 2 * cubeCores,
  unifiedBuffer: 188_160,
  l1: 524_032,
  l0a: 64 * KiB,
  l0b: 64 * KiB,
  l0c: 128 * KiB,
  l2: l2 * MiB,
  cubeMegahertz,
  memoryBandwidth: 1.6e12,
  l2Bandwidth: 7e12,
  l1BytesPerCycle: 128,
  hasBf16: true,
  hasFixpipe: true,
  hasDataCopyPad: true,
});

export const chips = {
  '910b1': splitChip('910b1', 24, 1850, 192),
  '910b2': splitChip('910b2', 24, 1800, 192),
  '910b3': splitChip('910b3', 20, 1800, 192),
  '910b4': splitChip('910b4', 20, 1500, 96),
  '910_9391': splitChip('910_9391', 24, 1850, 192),
  '910_9381': splitChip('910_9381', 24, 1800, 192),
  '910_9372': splitChip('910_9372', 20, 1800, 192),
  '910_9362': splitChip('910_9362', 20, 1500, 168),
  '310p3': {
    name: '310p3',
    layout: 'fused',
    cubeCores: 8,
    vectorCores: 8,
    // 8 KiB stay free for the emulated ND to NZ copy.
    unifiedBuffer: 248 * KiB,
    l1: 1024 * KiB,
    l0a: 64 * KiB,
    l0b: 64 * KiB,
    l0c: 256 * KiB,
    l2: 16 * MiB,
    cubeMegahertz: 1060,
    memoryBandwidth: 204e9,
    // No figure of the cache is published: it is left out of predictions.
    l2Bandwidth: Number.POSITIVE_INFINITY,
    l1BytesPerCycle: 128,
    hasBf16: false,
    hasFixpipe: false,
    hasDataCopyPad: false,
  },
} as const satisfies Readonly<Record<string, Chip>>;

export type ChipName = keyof typeof chips;

/** What the toolkit calls the architecture of a chip, in the macro __NPU_ARCH__. */
export const architectureOf = ({ layout }: Chip): number => (layout === 'fused' ? 2002 : 2201);

/**
 * What running an entry costs on a chip: bytes by level, work of the cube and of the vector unit, and the time that a
 * roofline over them predicts. The counts are measured: the emitted kernels run on the host's model of the chip.
 *
 * The time of a kernel is that of its slowest resource; all others are taken to be hidden behind it. Starting a kernel
 * costs nothing here, because no figure for it is published.
 */
import type { AscendManifest } from '../native/manifest.js';
import type { Chip } from './chips.js';

/** Counters of the model of the chip, as runtime-native/src/ascend_host.cpp writes them. */
export interface Counters {
  readonly gm_to_ub: number;
  readonly ub_to_gm: number;
  readonly gm_to_l1: number;
  readonly l1_to_l0: number;
  readonly l0c_out: number;
  readonly vector_cycles: number;
  readonly cube_cycles: number;
}

/** `runs` launches of a kernel with the same number of blocks. All other numbers are of one launch. */
export interface KernelWork {
  readonly kernel: string;
  readonly blocks: number;
  readonly runs: number;
  /** Bytes of global memory, each counted once; `weights_read` is the part of `gm_read` that are weights. */
  readonly gm_read: number;
  readonly gm_written: number;
  readonly weights_read: number;
  /** Of all cores, and of the busiest one. */
  readonly total: Counters;
  readonly busiest: Counters;
}

/** What can hold a kernel up. */
export const resources = ['memory', 'L2', 'L1', 'cube', 'vector'] as const;
export type Resource = (typeof resources)[number];

export interface KernelReport extends KernelWork {
  readonly seconds: Readonly<Record<Resource, number>>;
  /** Of one launch. */
  readonly predicted: number;
  readonly bound: Resource;
  /** Part of each local memory that the kernel's buffers take, by its name. */
  readonly occupancy: Readonly<Record<string, number>>;
}

export interface AscendReport {
  readonly chip: string;
  readonly entry: string;
  readonly kernels: readonly KernelReport[];
  readonly totals: {
    readonly launches: number;
    readonly weightBytes: number;
    readonly memoryBytes: number;
    /** Bytes that cores exchange with global memory, most of them through L2. */
    readonly coreBytes: number;
    readonly l1ToL0Bytes: number;
    readonly predicted: number;
    /** The weights that the entry reads over the bandwidth of memory: no schedule is faster. */
    readonly byteBound: number;
  };
}

export function secondsOf(
  { gm_read, gm_written, total, busiest }: KernelWork,
  chip: Chip,
): KernelReport['seconds'] {
  const hertz = chip.cubeMegahertz * 1e6;
  return {
    memory: (gm_read + gm_written) / chip.memoryBandwidth,
    L2: coreBytes(total) / chip.l2Bandwidth,
    L1: busiest.l1_to_l0 / chip.l1BytesPerCycle / hertz,
    cube: busiest.cube_cycles / hertz,
    vector: busiest.vector_cycles / hertz,
  };
}

function coreBytes({ gm_to_ub, ub_to_gm, gm_to_l1, l0c_out }: Counters): number {
  return gm_to_ub + ub_to_gm + gm_to_l1 + l0c_out;
}

export function reportOf(
  chip: Chip,
  entry: string,
  work: readonly KernelWork[],
  kernels: AscendManifest['ascendc']['kernels'],
): AscendReport {
  const sizes: Readonly<Record<string, number>> = {
    UB: chip.unifiedBuffer,
    L1: chip.l1,
    L0A: chip.l0a,
    L0B: chip.l0b,
    L0C: chip.l0c,
  };
  const reports = work.map((record): KernelReport => {
    const seconds = secondsOf(record, chip);
    const bound = resources.reduce((worst, name) => (seconds[name] > seconds[worst] ? name : worst));
    const used = Object.entries(kernels[record.kernel]?.memory ?? {});
    const occupancy = Object.fromEntries(used.map(([name, bytes]) => [name, bytes / (sizes[name] ?? bytes)]));
    return { ...record, seconds, predicted: seconds[bound], bound, occupancy };
  });
  const sum = (of: (record: KernelReport) => number): number =>
    reports.reduce((total, record) => total + record.runs * of(record), 0);
  const weightBytes = sum((record) => record.weights_read);
  return {
    chip: chip.name,
    entry,
    kernels: reports.toSorted((a, b) => b.runs * b.predicted - a.runs * a.predicted),
    totals: {
      launches: sum(() => 1),
      weightBytes,
      memoryBytes: sum((record) => record.gm_read + record.gm_written),
      coreBytes: sum((record) => coreBytes(record.total)),
      l1ToL0Bytes: sum((record) => record.total.l1_to_l0),
      predicted: sum((record) => record.predicted),
      byteBound: weightBytes / chip.memoryBandwidth,
    },
  };
}

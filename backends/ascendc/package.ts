/** Packages an emitted module: one source per kernel, and what the manifest says of them. */

import type { ComputeDType } from '../narrow.js';
import type { AscendManifest } from '../native/manifest.js';
import { type PackageInput, packageNative } from '../native/package.js';
import { type Chip, chips } from './chips.js';
import type { AscendModule } from './compile.js';
import { prelude, preludeName } from './device/prelude.js';
import type { EmittedKernel, KernelType } from './emit/kernel.js';

export type PackagedAscend = Omit<AscendManifest, 'files'>;

export const kernelFile = (name: string): string => `kernels/${name}.cpp`;

export function packageAscend(
  ascend: AscendModule,
  compute: ComputeDType,
  input: PackageInput,
): PackagedAscend {
  const chip = chips[ascend.chip];
  return {
    ...packageNative(ascend, input),
    target: 'ascendc',
    ascendc: {
      chip: ascend.chip,
      compute,
      kernels: Object.fromEntries(
        ascend.kernels.map((kernel) => [
          kernel.name,
          { type: kernel.type, cores: coresOf(kernel, chip), memory: kernel.occupancy },
        ]),
      ),
    },
  };
}

/** Blocks that run at the same time: cube cores where a kernel has a part for them, else vector cores. */
export function coresOf({ type }: { readonly type: KernelType }, chip: Chip): number {
  const vectorOnly = type === 'AIV_ONLY' || type === 'MIX_AIV_1_0';
  return chip.layout === 'split' && vectorOnly ? chip.vectorCores : chip.cubeCores;
}

/** Sources by their path in the bundle. */
export function kernelFiles(kernels: readonly EmittedKernel[]): Map<string, string> {
  return new Map([
    [`kernels/${preludeName}`, prelude],
    ...kernels.map(({ name, code }) => [kernelFile(name), code] as const),
  ]);
}

/** Packages an emitted module: what its manifest says of the code. */

import type { ComputeDType } from '../narrow.js';
import type { CudaManifest } from '../native/manifest.js';
import { type PackageInput, packageNative } from '../native/package.js';
import type { CudaModule } from './compile.js';
import { threads } from './emit/kernel.js';

export type PackagedCuda = Omit<CudaManifest, 'files'>;

export const sourceFile = 'kernels.cu';

export function packageCuda(
  cuda: CudaModule,
  compute: ComputeDType,
  /** File of compiled code, or null. */
  binary: string | null,
  input: PackageInput,
): PackagedCuda {
  return {
    ...packageNative(cuda, input),
    target: 'cuda',
    cuda: { source: sourceFile, binary, threads, compute },
  };
}

/** Samples of a diffusion model as image files. */
import type { Samples } from '../backends/wasm/runtime/load.js';
import { fail } from '../ir/diagnostics.js';
import { writeFileAtomically } from './atomic-write.js';
import { encodePng, type GridOptions, type Image, imageGrid } from './png.js';

/**
 * Writes samples [n, 1 or 3, height, width] with values in -1..1 as one PNG file, laid out in a grid; returns its
 * size in pixels. Fails with HEW7008 for samples of another shape, HEW8003 when the file cannot be written.
 */
export async function writeImages(
  path: string,
  samples: Samples,
  options: GridOptions = {},
): Promise<{ readonly width: number; readonly height: number }> {
  const image = gridOf(samples, options);
  await writeFileAtomically(path, encodePng(image));
  return { width: image.width, height: image.height };
}

function gridOf({ data, shape }: Samples, options: GridOptions): Image {
  try {
    return imageGrid(data, shape, options);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return fail('HEW7008', `the samples are no images: ${error.message}`);
  }
}

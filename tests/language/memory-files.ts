/** Specs held in memory, with the standard library at hand, and a checkpoint made of shapes alone. */
import { nodeFiles, type SpecFiles } from '../../compiler/frontend/files.js';
import type { CheckpointTensors } from '../../compiler/frontend/session.js';
import { fail } from '../../ir/diagnostics.js';

export function memoryFiles(files: Readonly<Record<string, string>>): SpecFiles {
  return {
    read: (file) => {
      if (file.startsWith('hew:')) return nodeFiles.read(file);
      return files[file] ?? fail('HEW3001', `there is no file '${file}'`);
    },
  };
}

export function checkpoint(
  shapes: Readonly<Record<string, readonly number[]>>,
  dtype = 'bf16',
): CheckpointTensors {
  return {
    tensor: (name) => {
      const shape = shapes[name];
      return shape && { dtype, shape };
    },
    names: () => Object.keys(shapes),
  };
}

/** `hew export`: a model in the format of other tools. */
import { fail } from '../ir/diagnostics.js';
import { type ModelOptions, type OpenedModel, openModel } from './compile.js';
import type { WritableType } from './gguf/blocks.js';
import { exportGguf } from './gguf/export.js';
import { exportHuggingFace, refusedByTransformers } from './huggingface/export.js';
import { exportOnnx } from './onnx/export/export.js';

export interface ExportOptions extends ModelOptions {
  readonly format: string;
  /** A file or a directory, as the format has it. */
  readonly output: string;
  /** GGUF: what matrices are stored as; default F16. */
  readonly type?: WritableType | undefined;
  /** ONNX: the entry to write; may be left out when there is one. */
  readonly entry?: string | undefined;
  readonly onProgress?: ((stage: string, done: number, total: number) => void) | undefined;
}

export interface ExportReport {
  readonly format: string;
  readonly output: string;
  /** Paths below `output`; empty when it is a file. */
  readonly files: readonly string[];
  /** What is worth knowing of the result, a line each. */
  readonly notes: readonly string[];
}

type Exporter = (
  model: OpenedModel,
  options: ExportOptions,
) => Promise<Pick<ExportReport, 'files' | 'notes'>>;

const exporters: Readonly<Record<string, Exporter>> = {
  hf: async (model, options) => {
    const exported = await exportHuggingFace(model, options, options.output);
    const refused = refusedByTransformers(exported);
    const notes = [`${exported.architecture}; read back, every tensor is the same`];
    return { files: exported.files, notes: refused === undefined ? notes : [...notes, refused] };
  },
  gguf: async (model, options) => {
    const { notes } = await exportGguf(model, options, options.output);
    return { files: [], notes };
  },
  onnx: async (model, { output, entry }) => {
    const report = await exportOnnx(model, { output, entry });
    const states = report.states.length === 0 ? '' : `, ${report.states.length} states as inputs and outputs`;
    return { files: [], notes: [`entry ${report.entry}, ${report.nodes} nodes${states}`] };
  },
};

export const exportFormats: readonly string[] = Object.keys(exporters);

/** Fails with HEW8001 for an unknown format, HEW4006 without weights, and as the format's exporter does. */
export async function exportModel(options: ExportOptions): Promise<ExportReport> {
  const { format, output } = options;
  const exporter = Object.hasOwn(exporters, format) ? exporters[format] : undefined;
  if (exporter === undefined)
    return fail('HEW8001', `there is no format '${format}'`, {
      help: `formats: ${exportFormats.join(', ')}`,
    });
  const model = openModel(options);
  try {
    if (model.source === undefined) {
      return fail('HEW4006', 'the model has weights, but no checkpoint is given', {
        help: 'give one with --weights, or name it in the spec: weights "model.safetensors"',
      });
    }
    return { format, output, ...(await exporter(model, options)) };
  } finally {
    model.close();
  }
}

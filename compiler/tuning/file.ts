/** Files of measured choices: what `hew tune` writes, and `hew compile --tuning` reads. */
import { z } from 'zod';
import {
  choicesOf,
  type KindName,
  kinds,
  type ParametersOf,
  recordText,
  requestKey,
  type ShapeOf,
  type Tuning,
  tuningOf,
} from '../../backends/cuda/tuning.js';
import { didYouMean, fail } from '../../ir/diagnostics.js';
import { type DType, dtypes } from '../../ir/type.js';
import { nodeFiles } from '../frontend/files.js';

const record = z.record(z.string(), z.union([z.int(), z.string()]));

const measurement = z.strictObject({
  parameters: record,
  /** Of a launch, the median. */
  microseconds: z.number().positive().optional(),
  /** Why it may not be chosen. */
  refused: z.string().optional(),
});

const gpu = z.strictObject({
  name: z.string(),
  architecture: z.string().regex(/^sm_\d{2,3}a?$/, 'is no architecture, such as sm_90a'),
  multiprocessors: z.int().positive(),
});

const entry = z.strictObject({
  kind: z.string(),
  shape: record,
  choice: record,
  measured: z.array(measurement),
  /** How many times as fast the model was with the fastest of them and no other choice; a choice that lost is taken back. */
  whole: z.number().positive().optional(),
});

const file = z.strictObject({
  format: z.literal('hew-tuning'),
  version: z.literal(1),
  gpu,
  entries: z.array(entry),
});

export type Gpu = Readonly<z.infer<typeof gpu>>;
export type TuningEntry = Readonly<z.infer<typeof entry>>;
export type TuningFile = Readonly<z.infer<typeof file>>;

const count = z.int().nonnegative();
const size = z.int().positive();
const dtype = z.enum(Object.keys(dtypes) as [DType, ...DType[]]);
const name = z.string().min(1);
const cache = z.literal('bytes').exactOptional();
const fewRows = {
  columns: size,
  inner: size,
  all: size,
  weights: size,
  x: z.enum(['read', 'made']),
  dtype,
};

const shapes: { readonly [K in KindName]: z.ZodType<ShapeOf<K>> } = {
  vector: z.strictObject({ ...fewRows, rows: size }),
  packed: z.strictObject({ ...fewRows, group: count }),
  batch: z.strictObject({ ...fewRows, rows: size, group: count, words: size }),
  decode: z.strictObject({ rows: size, width: size, keyHeads: size, length: size, cache }),
  tile: z.strictObject({
    rows: size,
    columns: size,
    inner: size,
    weights: size,
    dtype,
    result: dtype,
    reads: count,
  }),
  flash: z.strictObject({
    width: size,
    heads: count,
    queries: count,
    keys: count,
    mask: z.enum(['causal', 'none']),
    cache,
  }),
  grouped: z.strictObject({ slots: size, experts: size, columns: size, inner: size, dtype }),
  row: z.strictObject({ op: name, width: size, rows: count, reads: count, dtype, result: dtype }),
  reduce: z.strictObject({ op: name, inner: count, outputs: count, reads: count, dtype }),
  pointwise: z.strictObject({ ops: name, columns: size, elements: count, reads: count, result: dtype }),
};

/** Fails with HEW3001, and as `parseTuning` does. */
export function readTuning(path: string): TuningFile {
  return parseTuning(nodeFiles.read(path), path);
}

/**
 * Fails with HEW6240 for what is no such file, with HEW6241 for kernels and parameters that this compiler does not have, and
 * with HEW6242 for a GPU that bundles have no code for.
 */
export function parseTuning(text: string, path: string): TuningFile {
  const parsed = file.safeParse(jsonOf(text, path));
  if (!parsed.success)
    fail('HEW6240', `'${path}' is not a tuning file`, {
      notes: parsed.error.issues.slice(0, 5).map(({ path: at, message }) => `${at.join('.')}: ${message}`),
      help: 'hew tune writes one',
    });
  const { entries, gpu } = parsed.data;
  if (Number.parseInt(gpu.architecture.slice(3), 10) < oldest)
    fail('HEW6242', `'${path}' was measured on ${gpu.architecture}, which no bundle has code for`);
  const keys = new Set<string>();
  for (const own of entries) {
    checkEntry(own, path);
    const key = requestKey(own.kind as KindName, own.shape);
    if (keys.has(key)) fail('HEW6240', `'${path}' has two entries for ${key}`);
    keys.add(key);
  }
  return parsed.data;
}

/** Compute capability, times ten. */
const oldest = 80;

function jsonOf(text: string, path: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    return fail('HEW6240', `'${path}' is not valid JSON: ${(error as Error).message}`);
  }
}

function checkEntry({ kind, shape, choice }: TuningEntry, path: string): void {
  const help = `measure again: hew tune MODEL -o ${path}`;
  if (!(kind in kinds))
    fail('HEW6241', `'${path}': there are no kernels of kind '${kind}'`, {
      help: didYouMean(kind, Object.keys(kinds)) ?? help,
    });
  const known = kind as KindName;
  const parsed = shapes[known].safeParse(shape);
  if (!parsed.success) {
    const notes = parsed.error.issues.map(({ path: at, message }) => `${at.join('.')}: ${message}`);
    fail('HEW6241', `'${path}': ${recordText(shape)} is no shape of kind '${kind}'`, { notes, help });
  }
  const choices = choicesOf(known, parsed.data);
  const [standard] = choices as [ParametersOf<KindName>];
  const foreign = Object.keys(choice).find((name) => !(name in standard));
  if (foreign !== undefined)
    fail('HEW6241', `'${path}': kernels of kind '${kind}' have no parameter '${foreign}'`, {
      help: didYouMean(foreign, Object.keys(standard)) ?? help,
    });
  if (!choices.some((other) => recordText(other) === recordText(choice)))
    fail(
      'HEW6241',
      `'${path}': ${recordText(choice)} is none of the choices for ${requestKey(known, shape)}`,
      {
        help,
      },
    );
}

/** Fails with HEW6242 where choices were measured on another architecture. */
export function checkArchitecture({ gpu: measured }: TuningFile, path: string, here: Gpu): void {
  if (measured.architecture === here.architecture) return;
  fail(
    'HEW6242',
    `'${path}' was measured on ${measured.name} (${measured.architecture}), this GPU is ${here.name} (${here.architecture})`,
    { help: 'give another file with -o, or none with --tuning' },
  );
}

export function choicesIn({ entries }: TuningFile): Tuning {
  return tuningOf(
    new Map(entries.map(({ kind, shape, choice }) => [requestKey(kind as KindName, shape), choice])),
  );
}

/** The text of a file: entries of `known` that were not measured again stay. */
export function tuningText(gpu: Gpu, entries: readonly TuningEntry[], known: readonly TuningEntry[]): string {
  const keyOf = ({ kind, shape }: TuningEntry): string => requestKey(kind as KindName, shape);
  const all = new Map([...known, ...entries].map((own) => [keyOf(own), own]));
  const sorted = [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, own]) => own);
  const made: TuningFile = { format: 'hew-tuning', version: 1, gpu, entries: sorted };
  return `${JSON.stringify(made, undefined, 1)}\n`;
}

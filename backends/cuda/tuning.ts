/**
 * What the kernels of this target leave open, as one table: by kind of kernel, the shapes it is asked for, the parameters it
 * takes, what is taken where nothing was measured, and the candidates that `hew tune` measures. Emitters ask by
 * `KernelContext.parameters`; a choice that was measured wins over the default.
 *
 * Every candidate of a shape compiles and computes the same function; only the order of sums may differ.
 */
import type { Dim } from '../../ir/dim.js';
import type { Func } from '../../ir/module.js';
import { type DType, dtypes } from '../../ir/type.js';
import { type FlashTile, flashTilesOf } from './device/flash-wgmma.js';
import {
  type PointwiseShape,
  pointwiseCandidates,
  type ReduceShape,
  type RowShape,
  reduceCandidates,
  rowCandidates,
  type Sharing,
  standardRow,
} from './row-tuning.js';
import { tiles } from './tiles.js';

/** Blocks of a multiprocessor at once, which bounds the registers of a thread; 0 leaves both to the compiler. */
interface Residence {
  readonly resident: number;
}

/** One weight, or several that are read together, of a launch of products of few rows. */
interface FewRowsShape {
  readonly columns: number;
  readonly inner: number;
  /** Columns of all products of the launch. */
  readonly all: number;
  /** Sums of a column, each with a weight of its own. */
  readonly weights: number;
  /** Whether blocks read x, or make it for themselves. */
  readonly x: 'read' | 'made';
  /** Of the weights. */
  readonly dtype: DType;
}

export interface VectorShape extends FewRowsShape {
  readonly rows: number;
}

export interface PackedShape extends FewRowsShape {
  /** Weights along the inner axis that share a scale; 0 is all. */
  readonly group: number;
}

export interface BatchShape extends FewRowsShape {
  readonly rows: number;
  readonly group: number;
  /** Words of 32 bits that a thread reads of a row at a time. */
  readonly words: number;
}

export interface DecodeShape {
  /** Query rows of one key head. */
  readonly rows: number;
  readonly width: number;
  readonly keyHeads: number;
  readonly length: number;
  /** Keys or values are bytes. */
  readonly cache?: 'bytes';
}

export interface TileShape {
  /** The power of two that rows of x reach up to, from half of it on: see `rowBucket`. */
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  readonly weights: number;
  readonly dtype: DType;
  readonly result: DType;
  /** Tensors of the result's size that the epilogue reads. */
  readonly reads: number;
}

/** Attention of many queries; sizes are 0 where run-time symbols decide. */
export interface FlashShape {
  /** Channels of a head. */
  readonly width: number;
  readonly heads: number;
  readonly queries: number;
  readonly keys: number;
  readonly mask: 'causal' | 'none';
  /** Keys or values are bytes. */
  readonly cache?: 'bytes';
}

/** Products of slots that have chosen a weight each. */
export interface GroupedShape {
  readonly slots: number;
  readonly experts: number;
  readonly columns: number;
  readonly inner: number;
  readonly dtype: DType;
}

interface Kinds {
  /** Products of few rows with floats, on the ordinary units. `perWarp`: columns of a warp. */
  readonly vector: {
    readonly shape: VectorShape;
    readonly parameters: Residence & { readonly perWarp: number };
  };
  /**
   * Products of one row with integers. `turns`: how often a block takes columns; `ahead`: vectors of a row of weights that a
   * thread requests before it uses the first, which are those of a turn where there are several.
   */
  readonly packed: {
    readonly shape: PackedShape;
    readonly parameters: Residence & {
      readonly perWarp: number;
      readonly turns: number;
      readonly ahead: number;
    };
  };
  /** Products of few rows on tensor cores. `tiles`: of 16 columns of a block; `ahead`: steps that a thread requests ahead. */
  readonly batch: {
    readonly shape: BatchShape;
    readonly parameters: Residence & { readonly tiles: number; readonly ahead: number };
  };
  /** Attention of one token. `splits`: blocks that share the keys of a head, at most. */
  readonly decode: {
    readonly shape: DecodeShape;
    readonly parameters: Residence & { readonly splits: number };
  };
  /** Products of many rows on Hopper. `tile`: a name of tiles.ts; `auto` leaves the choice to the runtime. */
  readonly tile: { readonly shape: TileShape; readonly parameters: { readonly tile: string } };
  /** Attention of many queries on tensor cores. `keys`: of a tile; `hopper`: of device/flash-wgmma.ts, `auto` leaves it to the runtime. */
  readonly flash: {
    readonly shape: FlashShape;
    readonly parameters: Residence & { readonly keys: number; readonly hopper: FlashTile | 'auto' | 'none' };
  };
  /** Products of few slots with the experts they chose. `perWarp`: columns of a warp. */
  readonly grouped: {
    readonly shape: GroupedShape;
    readonly parameters: Residence & { readonly perWarp: number };
  };
  /** Norms and softmax. */
  readonly row: { readonly shape: RowShape; readonly parameters: Sharing };
  readonly reduce: { readonly shape: ReduceShape; readonly parameters: Sharing };
  /** `turns`: how often a thread takes four elements. */
  readonly pointwise: { readonly shape: PointwiseShape; readonly parameters: { readonly turns: number } };
}

export type KindName = keyof Kinds;
export type ShapeOf<K extends KindName> = Kinds[K]['shape'];
export type ParametersOf<K extends KindName> = Kinds[K]['parameters'];

interface Kind<K extends KindName> {
  /** GPUs that have it run such kernels. */
  readonly needs: 'any' | 'hopper';
  readonly standard: (shape: ShapeOf<K>) => ParametersOf<K>;
  readonly candidates: (shape: ShapeOf<K>) => readonly ParametersOf<K>[];
}

// ---- products of few rows

const warps = 8;
/** Columns of a warp on the ordinary units: two share what is read of x, where there are enough to fill a GPU all the same. */
export const columnsPerWarp = (columns: number): number => (columns > 16384 ? 2 : 1);

/** Bytes of weights that a thread requests ahead on tensor cores, and of integers on the ordinary units. */
const bytesAhead = 128;
/** The same where a block takes several turns and keeps one ahead, so that what it makes of x is made less often. */
const bytesOfTurn = 256;
/** What a thread reads of rows of integers that are short, and of those that are long. */
const bytesOfShort = 64;
const bytesOfLong = 192;
/** Blocks of one row that fill a GPU, two or three on a multiprocessor. */
const enoughBlocks = 264;
const enoughSmallBlocks = 396;
/** Shared memory that a block has without asking. */
const sharedBytes = 48 * 1024;
/** The most registers for weights on their way that leave a thread any for its sums. */
const mostBytesAhead = 384;

const residences = [0, 2, 3] as const;

/** Elements in 16 bytes; of quantized weights they have one scale. */
export const vectorElements = (dtype: DType): number => 128 / dtypes[dtype].bits;

/** Bytes that a thread reads of `rows` rows of weights, each of so many vectors. */
const turnBytes = (vectors: number, rows: number): number => 16 * rows * Math.ceil(vectors / 32);

const vector: Kind<'vector'> = {
  needs: 'any',
  standard: ({ columns, weights }) => ({ perWarp: weights > 1 ? 1 : columnsPerWarp(columns), resident: 0 }),
  candidates: ({ weights }) =>
    [1, 2, 4]
      .filter((perWarp) => perWarp * weights <= 4)
      .flatMap((perWarp) => residences.map((resident) => ({ perWarp, resident }))),
};

/**
 * Of one weight, short rows are taken by many small blocks, which find room beside those of the kernel before, and long ones
 * two at a time, which share what is read of x.
 */
function standardPacked({ all, inner, weights, dtype }: PackedShape): ParametersOf<'packed'> {
  const vectors = inner / vectorElements(dtype);
  const steps = Math.ceil(vectors / 32);
  const turnsOf = (perWarp: number, blocks: number): number =>
    Math.max(1, Math.ceil(all / (warps * perWarp * blocks)));
  if (weights === 1 && turnBytes(vectors, 1) <= bytesOfShort) {
    const turns = turnsOf(1, enoughSmallBlocks);
    // Registers of a third block cost where two on each multiprocessor are all there are.
    const resident = Math.ceil(all / (warps * turns)) <= enoughBlocks ? 2 : 3;
    return { perWarp: 1, turns, ahead: steps, resident };
  }
  if (weights === 1 && turnBytes(vectors, 1) > bytesOfLong)
    return { perWarp: 2, turns: 1, ahead: bytesOfLong / 16 / 2, resident: 2 };
  const isNarrow = vectorElements(dtype) > 16;
  const perWarp = weights === 1 && isNarrow && turnBytes(vectors, 2) <= bytesOfTurn ? 2 : 1;
  const rows = perWarp * weights;
  if (turnBytes(vectors, rows) > bytesOfTurn)
    return { perWarp, turns: 1, ahead: Math.max(1, Math.floor(bytesAhead / 16 / rows)), resident: 0 };
  return { perWarp, turns: turnsOf(perWarp, enoughBlocks), ahead: steps, resident: 0 };
}

const packed: Kind<'packed'> = {
  needs: 'any',
  standard: standardPacked,
  candidates: (shape) => {
    const { all, inner, weights, dtype } = shape;
    const bounded = [2, 3].map((resident) => ({ ...standardPacked(shape), resident }));
    const steps = Math.ceil(inner / vectorElements(dtype) / 32);
    const free = [1, 2, 4].flatMap((perWarp) => {
      const most = Math.floor(mostBytesAhead / 16 / (perWarp * weights));
      const once = [2, 4, 8, steps].filter((ahead) => ahead <= Math.min(most, steps));
      const several = [2, 3, 4, 6, 8, 16, 32].filter(
        (turns) => steps <= most && 2 * turns * warps * perWarp * enoughBlocks <= 4 * all,
      );
      return [
        ...[...new Set(once)].map((ahead) => ({ perWarp, turns: 1, ahead, resident: 0 })),
        ...several.map((turns) => ({ perWarp, turns, ahead: steps, resident: 0 })),
      ];
    });
    return [...free, ...bounded];
  },
};

/** Registers that the weights of a step take, as words. */
const stepWords = ({ weights, words }: BatchShape, tiles: number): number => 2 * tiles * weights * words;

/** Shared memory in which the warps of a block add what they have summed. */
export const batchBytes = (rows: number, weights: number, tiles: number): number =>
  4 * warps * rows * (weights * tiles * 16 + 4);

const batch: Kind<'batch'> = {
  needs: 'any',
  standard: (shape) => {
    // More than one tile shares what many rows of x cost to read.
    const tiles = shape.rows > 8 && shape.weights === 1 ? 2 : 1;
    return { tiles, ahead: Math.max(2, Math.floor(bytesAhead / 4 / stepWords(shape, tiles))), resident: 0 };
  },
  candidates: (shape) =>
    [1, 2, 4]
      .filter(
        (tiles) => tiles * shape.weights <= 4 && batchBytes(shape.rows, shape.weights, tiles) <= sharedBytes,
      )
      .flatMap((tiles) =>
        [1, 2, 4, 8]
          .filter((ahead) => 4 * ahead * stepWords(shape, tiles) <= mostBytesAhead)
          .flatMap((ahead) => residences.map((resident) => ({ tiles, ahead, resident }))),
      ),
};

// ---- attention of one token

/** Most blocks that share the keys of a head: a lane weighs one of them. */
const mostSplits = 32;
/** Keys that are worth a block. */
const leastKeys = 32;

const usefulSplits = ({ length }: DecodeShape): number => Math.min(mostSplits, Math.ceil(length / leastKeys));

const decode: Kind<'decode'> = {
  needs: 'any',
  standard: (shape) => {
    const filling = Math.max(1, Math.floor(enoughBlocks / shape.keyHeads));
    return { splits: Math.min(filling, usefulSplits(shape)), resident: 2 };
  },
  candidates: (shape) =>
    [1, 2, 4, 8, 16, 24, 32]
      .filter((splits) => splits <= usefulSplits(shape))
      .flatMap((splits) => [1, 2, 3].map((resident) => ({ splits, resident }))),
};

// ---- products of many rows

const tile: Kind<'tile'> = {
  needs: 'hopper',
  standard: () => ({ tile: 'auto' }),
  candidates: () => tiles.map(({ name }) => ({ tile: name })),
};

// ---- attention of many queries

/** Channels of a head for whose sums half of the registers are enough. */
const narrowHead = 80;

/** Bytes that a tile of keys, or of values, takes: see device/flash-attention.ts. */
const keyTileBytes = (width: number, keys: number): number => keys * (32 * Math.ceil(width / 16) + 16);

function standardFlash({ width }: FlashShape): ParametersOf<'flash'> {
  return { keys: 64, resident: width <= narrowHead ? 2 : 1, hopper: 'auto' };
}

const flash: Kind<'flash'> = {
  needs: 'any',
  standard: standardFlash,
  candidates: (shape) => {
    const tiles = flashTilesOf(shape);
    // Where there is nothing to choose on Hopper, `auto` says the same.
    const others = tiles.length > 1 ? tiles.map((hopper) => ({ ...standardFlash(shape), hopper })) : [];
    const hopper = tiles.length > 0 ? 'none' : 'auto';
    return [
      ...others,
      ...[32, 64, 128]
        .filter((keys) => 2 * keyTileBytes(shape.width, keys) <= sharedBytes)
        .flatMap((keys) => [1, 2].map((resident) => ({ keys, resident, hopper }) as const)),
    ];
  },
};

// ---- experts

const grouped: Kind<'grouped'> = {
  needs: 'any',
  standard: ({ columns }) => ({ perWarp: columnsPerWarp(columns), resident: 0 }),
  candidates: () => [1, 2, 4].flatMap((perWarp) => residences.map((resident) => ({ perWarp, resident }))),
};

// ---- the rest

const row: Kind<'row'> = { needs: 'any', standard: standardRow, candidates: rowCandidates };

const reduce: Kind<'reduce'> = {
  needs: 'any',
  standard: () => ({ warps: 1 }),
  candidates: reduceCandidates,
};

const pointwise: Kind<'pointwise'> = {
  needs: 'any',
  standard: () => ({ turns: 1 }),
  candidates: pointwiseCandidates,
};

export const kinds: { readonly [K in KindName]: Kind<K> } = {
  vector,
  packed,
  batch,
  decode,
  tile,
  flash,
  grouped,
  row,
  reduce,
  pointwise,
};

/** The least power of two that is not below the number of rows; choices for rows of one bucket are the same. */
export const rowBucket = (rows: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, rows)));

/** What an emitter asks for. */
export interface Request<K extends KindName = KindName> {
  readonly kind: K;
  readonly shape: ShapeOf<K>;
  /** The kernel function. */
  readonly func: Func;
  /** Where the shape has a bucket of rows: their number. */
  readonly rows?: Dim;
}

/** The parameters that were chosen for a shape; undefined where none were. */
export type Tuning = <K extends KindName>(request: Request<K>) => ParametersOf<K> | undefined;

export const untuned: Tuning = () => undefined;

/** All parameters that may be chosen for a shape, the default first. */
export function choicesOf<K extends KindName>(kind: K, shape: ShapeOf<K>): readonly ParametersOf<K>[] {
  const { standard, candidates } = kinds[kind];
  const first = standard(shape);
  return [first, ...candidates(shape).filter((other) => recordText(other) !== recordText(first))];
}

/** A record of numbers and words as text that does not depend on the order of its fields. */
export function recordText(record: Readonly<Record<string, unknown>> | object): string {
  const fields = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  return fields.map(([name, value]) => `${name}=${value}`).join(' ');
}

export const requestKey = (kind: KindName, shape: object): string => `${kind} ${recordText(shape)}`;

/** Choices by `requestKey`. */
export const tuningOf =
  (choices: ReadonlyMap<string, object>): Tuning =>
  <K extends KindName>({ kind, shape }: Request<K>) =>
    choices.get(requestKey(kind, shape)) as ParametersOf<K> | undefined;

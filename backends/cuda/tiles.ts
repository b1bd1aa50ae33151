/** Tiles of matrix products on Hopper, among which the runtime chooses by the size of a product (emit/wgmma.ts). */

export interface Tile {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Warpgroups that share the rows of a tile. */
  readonly share: 1 | 2;
  /** Of two, some multiply while others are in their epilogue. */
  readonly turns: 1 | 2;
  readonly stages: number;
  /** Whether the epilogue has room for 64 columns at a time, rather than 32 and a further stage; not where it reads. */
  readonly roomy: boolean;
  /** Of the best rate, that is reached in long sums. */
  readonly efficiency: number;
  /** What the epilogue costs that is not hidden, as columns of x; and more for each tensor that it reads. */
  readonly epilogue: number;
  readonly read: number;
}

/**
 * Figures are from an H200. One has 144 columns, of which widths such as 1152 are multiples: there its waves of tiles are
 * full where those of powers of two leave most multiprocessors idle in the last.
 */
export const tiles: readonly Tile[] = [
  {
    name: 'wide',
    rows: 128,
    columns: 256,
    share: 2,
    turns: 1,
    stages: 4,
    roomy: false,
    efficiency: 1,
    epilogue: 170,
    read: 700,
  },
  {
    name: 'tall',
    rows: 256,
    columns: 144,
    share: 2,
    turns: 1,
    stages: 4,
    roomy: false,
    efficiency: 1,
    epilogue: 310,
    read: 635,
  },
  {
    name: 'even',
    rows: 128,
    columns: 128,
    share: 1,
    turns: 2,
    stages: 6,
    roomy: true,
    efficiency: 0.9,
    epilogue: 20,
    read: 420,
  },
  {
    name: 'low',
    rows: 64,
    columns: 128,
    share: 1,
    turns: 2,
    stages: 8,
    roomy: true,
    efficiency: 0.74,
    epilogue: 20,
    read: 300,
  },
  {
    name: 'small',
    rows: 64,
    columns: 64,
    share: 1,
    turns: 2,
    stages: 8,
    roomy: false,
    efficiency: 0.49,
    epilogue: 20,
    read: 300,
  },
];

/**
 * Attention of many queries on Hopper (Shah et al. 2024, arXiv 2407.08608): tiles come by bulk tensor copies; a warpgroup asks
 * for the scores of the next keys before it sums the values of these, so that tensor cores are at work during its softmax.
 */
import { type WgmmaType, wgmmaTypes } from './wgmma.js';

/** Channels of heads that the kernel takes; of 96 the compiler finds no registers. */
export const hopperHeads: readonly number[] = [32, 64, 72, 80, 128];

/** How many warpgroups compute, each for 64 queries, and how many keys they take at a time. */
export const flashTiles = {
  two: { groups: 2, keys: 128, mostWidth: 128 },
  /** Softmax of some meets products of others. */
  four: { groups: 4, keys: 64, mostWidth: 72 },
} as const;
export type FlashTile = keyof typeof flashTiles;

/** Those whose sums have room in registers; keys and values have to be floats. */
export const flashTilesOf = ({ width, cache }: { readonly width: number; readonly cache?: 'bytes' }) =>
  (Object.keys(flashTiles) as FlashTile[]).filter(
    (name) => hopperHeads.includes(width) && width <= flashTiles[name].mostWidth && cache === undefined,
  );

/** `add_tile` of 64 rows in registers times so many columns, whose rows lie in shared memory as they do in the matrix. */
function instruction(type: WgmmaType, columns: number): string {
  const { element, instruction: name } = wgmmaTypes[type];
  const count = columns / 2;
  const list = (from: number, length: number): string =>
    Array.from({ length }, (_, i) => `%${from + i}`).join(', ');
  const values = Array.from({ length: count }, (_, i) => `"+f"(d[${i}])`).join(', ');
  return `__device__ __forceinline__ void add_tile(Operand<${element}>, float (&d)[${count}], const unsigned (&a)[4], unsigned long long b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, %${count + 5}, 0; wgmma.mma_async.sync.aligned.m64n${columns}${name} "
      "{${list(0, count)}}, {${list(count, 4)}}, %${count + 4}, p, 1, 1, 1; }"
      : ${values}
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));
}
`;
}

function instructions(type: WgmmaType): string {
  return `// ---- wgmma of ${type} with rows in registers: d = a b (+ d) for 64 rows of a

#if HEW_WGMMA
${hopperHeads.map((columns) => instruction(type, columns)).join('')}#endif
`;
}

export const flashBf16 = instructions('bf16');
export const flashF16 = instructions('f16');

export const flashWgmma = `// ---- attention of many queries by bulk copies and wgmma: a warpgroup takes 64 queries of a head ----
//
// The first warpgroup requests tiles, in boxes of 64 channels, the others compute. What boxes hold beyond the channels of the
// head belongs to the next, and meets zeros of queries. A block takes one tile of queries after the other.

#if HEW_WGMMA
// Where a head lies: the first row and column of its queries, keys and values in their matrices, and its result.
template <class T> struct HeadPlace {
  int query_row, query_column, key_row, key_column, value_row, value_column;
  Rows<T> out;
};

// Sums of wgmma are in their registers when it has been waited for: the compiler may not read them before.
template <int N> __device__ __forceinline__ void arrived(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

// Describes a tile whose rows of 128 bytes, swizzled by 128 bytes, lie along the axis that is summed; 'next' is between 64
// columns and the next 64.
__device__ __forceinline__ unsigned long long rows_descriptor(unsigned address, int next) {
  return (1ull << 62) | (64ull << 32) | (static_cast<unsigned long long>(next >> 4) << 16) | ((address & 0x3ffff) >> 4);
}

// What so many threads have written to shared memory, which meet at a barrier of this number.
template <int Count> __device__ __forceinline__ void shown_to_wgmma(int barrier) {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  asm volatile("barrier.cta.sync %0, %1;" ::"r"(barrier), "n"(Count) : "memory");
}

template <class T, int Width, int Groups, int Keys, int Stages, class Head>
__device__ __forceinline__ void attend_heads(int heads, int queries, const TensorMap* q, const TensorMap* k, const TensorMap* v, Head head_at, Visible visible, float scale) {
  constexpr int kQueries = Groups * 64, kComputing = Groups * 128;
  constexpr int kBoxes = (Width + 63) / 64, kDepth = (Width + 15) / 16, kQueryBox = kQueries * 128, kKeyBox = Keys * 128, kTileBytes = kBoxes * kKeyBox;
  extern __shared__ char dynamic[];
  __shared__ __align__(8) unsigned long long barriers[2 + 4 * Stages];
  const unsigned queries_at = (shared_address(dynamic) + 1023) / 1024 * 1024, keys_at = queries_at + kBoxes * kQueryBox, values_at = keys_at + Stages * kTileBytes;
  // Each is full or empty: the queries, and the stages of keys and of values.
  const unsigned query_full = shared_address(barriers), query_empty = query_full + 8;
  const unsigned key_full = query_full + 16, key_empty = key_full + 8 * Stages, value_full = key_empty + 8 * Stages, value_empty = value_full + 8 * Stages;
  const int warpgroup = threadIdx.x / 128;
  const int tiles = (queries + kQueries - 1) / kQueries;
  if (threadIdx.x == 0) {
    barrier_init(query_full, 1);
    barrier_init(query_empty, kComputing / 32);
    for (int s = 0; s < Stages; s++) {
      barrier_init(key_full + 8 * s, 1);
      barrier_init(value_full + 8 * s, 1);
      barrier_init(key_empty + 8 * s, kComputing / 32);
      barrier_init(value_empty + 8 * s, kComputing / 32);
    }
  }
  barriers_ready();

  // The last queries see the most keys, so they come first.
  const auto first_of = [&](int turn) { return (visible.causal ? tiles - 1 - turn / heads : turn % tiles) * kQueries; };
  const auto head_of = [&](int turn) { return head_at(visible.causal ? turn % heads : turn / tiles); };
  const auto begin_of = [&](int first) { return visible.start(first) / Keys * Keys; };
  const auto end_of = [&](int first) { return visible.end(min(first + kQueries, queries) - 1); };

  if (warpgroup == 0) {
    give_registers<Groups == 2 ? 40 : 24>();
    if (threadIdx.x == 0) {
      int n = 0, turns = 0;
      for (int turn = blockIdx.x; turn < heads * tiles; turn += gridDim.x, turns++) {
        const int first = first_of(turn), end = end_of(first);
        const HeadPlace<T> head = head_of(turn);
        barrier_wait(query_empty, turns % 2 ^ 1);
        barrier_expect(query_full, kBoxes * kQueryBox);
#pragma unroll
        for (int box = 0; box < kBoxes; box++)
          copy_box(queries_at + box * kQueryBox, q, head.query_column + box * 64, head.query_row + first, query_full);
        for (int key = begin_of(first); key < end; key += Keys, n++) {
          const int stage = n % Stages, parity = n / Stages % 2 ^ 1;
          const auto request = [&](unsigned to, const TensorMap* map, int row, int column, unsigned full, unsigned empty) {
            barrier_wait(empty + 8 * stage, parity);
            barrier_expect(full + 8 * stage, kTileBytes);
#pragma unroll
            for (int box = 0; box < kBoxes; box++)
              copy_box(to + stage * kTileBytes + box * kKeyBox, map, column + box * 64, row + key, full + 8 * stage);
          };
          request(keys_at, k, head.key_row, head.key_column, key_full, key_empty);
          request(values_at, v, head.value_row, head.value_column, value_full, value_empty);
        }
      }
    }
  } else {
    take_registers<Groups == 2 ? 232 : 112>();
    const int part = warpgroup - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    // Powers of two: their exponents are those of e times log2(e).
    const float factor = scale * 1.4426950408889634f;
    const auto release = [&](unsigned barrier) {
      if (lane == 0) barrier_arrive(barrier);
    };
    int n = 0, turns = 0;
    for (int turn = blockIdx.x; turn < heads * tiles; turn += gridDim.x, turns++) {
      const int first = first_of(turn), last = min(first + kQueries, queries) - 1, row = first + part * 64 + warp * 16 + lane / 4;
      const int begin = begin_of(first), end = end_of(first), count = begin < end ? (end - begin + Keys - 1) / Keys : 0;
      const int row_start[2] = {visible.start(row), visible.start(row + 8)}, row_end[2] = {visible.end(row), visible.end(row + 8)};
      float sums[Width / 2], scores[Keys / 2], greatest[2] = {-infinity(), -infinity()}, total[2] = {}, shrink[2];
      unsigned powers[Keys / 16][4];

      const auto ask_scores = [&](int tile) {
        const int stage = (n + tile) % Stages;
        barrier_wait(key_full + 8 * stage, (n + tile) / Stages % 2);
        wgmma_fence();
#pragma unroll
        for (int piece = 0; piece < kDepth; piece++)
          multiply_tile(Operand<T>{}, scores, tile_descriptor(queries_at + piece / 4 * kQueryBox + part * 64 * 128 + piece % 4 * 32),
                        tile_descriptor(keys_at + stage * kTileBytes + piece / 4 * kKeyBox + piece % 4 * 32), piece > 0);
        wgmma_commit();
      };
      const auto ask_sums = [&](int tile) {
        const int stage = (n + tile) % Stages, seen = end - begin - tile * Keys;
        const unsigned at = values_at + stage * kTileBytes;
        barrier_wait(value_full + 8 * stage, (n + tile) / Stages % 2);
        if (seen < Keys) {
          // What lies behind the last key may be anything, and its power of zero does not make a NaN vanish.
          for (int i = threadIdx.x - 128; i < (Keys - seen) * kBoxes * 8; i += kComputing)
            store_shared(at + i / 8 % kBoxes * kKeyBox + (seen + i / 8 / kBoxes) * 128 + i % 8 * 16, 0, 0, 0, 0);
          shown_to_wgmma<kComputing>(1);
        }
        wgmma_fence();
#pragma unroll
        for (int piece = 0; piece < Keys / 16; piece++)
          add_tile(Operand<T>{}, sums, powers[piece], rows_descriptor(at + piece * 16 * 128, kKeyBox), tile + piece > 0);
        wgmma_commit();
      };
      // Scores become powers of two; 'shrink' is what sums and totals before them are worth.
      const auto soften = [&](int tile) {
        const int key = begin + tile * Keys;
        // Tiles that all queries of the block see whole need no mask.
        if (key < visible.start(last) || key + Keys > visible.end(first)) {
#pragma unroll
          for (int i = 0; i < Keys / 2; i++) {
            const int at = key + i / 4 * 8 + lane % 4 * 2 + i % 2, high = i / 2 % 2;
            if (at < row_start[high] || at >= row_end[high]) scores[i] = -infinity();
          }
        }
#pragma unroll
        for (int high = 0; high < 2; high++) {
          float highest = greatest[high];
#pragma unroll
          for (int i = high * 2; i < Keys / 2; i += 4) highest = fmaxf(highest, fmaxf(scores[i], scores[i + 1]));
          highest = quad_max(highest);
          const float base = highest == -infinity() ? 0.0f : highest * factor;
          shrink[high] = power_of_two(greatest[high] * factor - base);
          greatest[high] = highest;
          float sum = 0.0f;
#pragma unroll
          for (int i = high * 2; i < Keys / 2; i += 4) {
            scores[i] = power_of_two(scores[i] * factor - base);
            scores[i + 1] = power_of_two(scores[i + 1] * factor - base);
            sum += scores[i] + scores[i + 1];
          }
          total[high] = total[high] * shrink[high] + sum;
        }
      };
      const auto pack_powers = [&] {
#pragma unroll
        for (int piece = 0; piece < Keys / 16; piece++)
#pragma unroll
          for (int i = 0; i < 4; i++) powers[piece][i] = pack(T{}, scores[piece * 8 + i * 2], scores[piece * 8 + i * 2 + 1]);
      };

      barrier_wait(query_full, turns % 2);
      if (Width % 16 != 0) {
        // A row's piece of 8 channels behind those of the head, where swizzling has put it.
        const int own = threadIdx.x % 64;
        store_shared(queries_at + Width / 64 * kQueryBox + (part * 64 + own) * 128 + (Width / 8 % 8 ^ own % 8) * 16, 0, 0, 0, 0);
        shown_to_wgmma<128>(2 + part);
      }
      if (count > 0) {
        ask_scores(0);
        wgmma_wait<0>();
        arrived(scores);
        release(key_empty + 8 * (n % Stages));
        soften(0);
        pack_powers();
        for (int tile = 1; tile < count; tile++) {
          ask_scores(tile);
          ask_sums(tile - 1);
          wgmma_wait<1>();
          arrived(scores);
          release(key_empty + 8 * ((n + tile) % Stages));
          soften(tile);
          wgmma_wait<0>();
          arrived(sums);
          release(value_empty + 8 * ((n + tile - 1) % Stages));
#pragma unroll
          for (int i = 0; i < Width / 2; i++) sums[i] *= shrink[i / 2 % 2];
          pack_powers();
        }
        ask_sums(count - 1);
        // The next queries are on their way while the last values are summed.
        release(query_empty);
        wgmma_wait<0>();
        arrived(sums);
        release(value_empty + 8 * ((n + count - 1) % Stages));
      } else {
        release(query_empty);
#pragma unroll
        for (int i = 0; i < Width / 2; i++) sums[i] = 0.0f;
      }
      n += count;
      store_attended<Width>(head_of(turn).out, lane, row, queries, total, [&](int c, int i) { return sums[c * 4 + i]; });
    }
  }
}
#endif
`;

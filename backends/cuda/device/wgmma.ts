/**
 * Matrix products on Hopper: tiles come by bulk tensor copies, which one thread requests and barriers in shared memory
 * announce; warpgroups multiply them from there (wgmma). Sums stay in registers, and cross shared memory once, so that
 * the epilogue reads and writes whole rows.
 */

/** Types of operands, and what names their instructions. */
export const wgmmaTypes = {
  bf16: { element: 'bf16', sum: 'float', instruction: 'k16.f32.bf16.bf16', tail: ', 1, 1, 0, 0' },
  f16: { element: 'f16', sum: 'float', instruction: 'k16.f32.f16.f16', tail: ', 1, 1, 0, 0' },
  i8: { element: 'signed char', sum: 'int', instruction: 'k32.s32.s8.s8', tail: '' },
} as const;

export type WgmmaType = keyof typeof wgmmaTypes;

/** `multiply_tile` of 64 rows by so many columns. */
function instruction(type: WgmmaType, columns: number): string {
  const { element, sum, instruction: name, tail } = wgmmaTypes[type];
  const count = columns / 2;
  const list = (text: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => text(i)).join(', ');
  const [a, b, accumulate] = [count, count + 1, count + 2].map((i) => `%${i}`);
  return `__device__ __forceinline__ void multiply_tile(Operand<${element}>, ${sum} (&d)[${count}], unsigned long long a, unsigned long long b, int accumulate) {
  asm volatile(
      "{ .reg .pred p; setp.ne.b32 p, ${accumulate}, 0; wgmma.mma_async.sync.aligned.m64n${columns}${name} "
      "{${list((i) => `%${i}`)}}, ${a}, ${b}, p${tail}; }"
      : ${list((i) => `"+${sum === 'int' ? 'r' : 'f'}"(d[${i}])`)}
      : "l"(a), "l"(b), "r"(accumulate));
}
`;
}

function instructions(type: WgmmaType): string {
  return `// ---- wgmma of ${type}: d = a b^T (+ d) for 64 rows of a, by descriptors of shared memory ----

#if HEW_WGMMA
${[64, 128, 144, 256].map((columns) => instruction(type, columns)).join('')}#endif
`;
}

export const wgmmaBf16 = instructions('bf16');
export const wgmmaF16 = instructions('f16');
export const wgmmaI8 = instructions('i8');

export const wgmma = `// ---- barriers, bulk tensor copies and warpgroups of sm_90a ----

#if HEW_WGMMA
// Says what is multiplied.
template <class T> struct Operand {};

__device__ __forceinline__ unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void barrier_init(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
// Makes initialised barriers visible to the copy engine and to all threads.
__device__ __forceinline__ void barriers_ready() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  __syncthreads();
}
__device__ __forceinline__ void barrier_expect(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void barrier_arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(unsigned barrier, unsigned parity) {
  asm volatile(
      "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @done bra over; bra again; over: }" ::"r"(barrier), "r"(parity)
      : "memory");
}

// A box of the mapped matrix, from [row, column] on, to shared memory.
__device__ __forceinline__ void copy_box(unsigned to, const TensorMap* map, int column, int row, unsigned barrier) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to), "l"(map), "r"(column), "r"(row), "r"(barrier) : "memory");
}

// Describes a tile of rows of 128 bytes, swizzled by 128 bytes, that starts at a multiple of 1024.
__device__ __forceinline__ unsigned long long tile_descriptor(unsigned address) {
  return (1ull << 62) | (64ull << 32) | (1ull << 16) | ((address & 0x3ffff) >> 4);
}
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending> __device__ __forceinline__ void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory"); }
template <int Registers> __device__ __forceinline__ void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers)); }
template <int Registers> __device__ __forceinline__ void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers)); }
#endif
`;

export const wgmmaProduct = `// ---- out[m, n..n+3] = four(m, n, sums_r) with sums_r = sum_k x[m, k] w_r[n.., k], by bulk copies and wgmma ----
//
// The first warpgroup requests tiles, the others multiply. 'Share' of them share the rows of a tile; where there are two
// 'Turns', others multiply the next tile while these are in their epilogue. A block takes tile after tile. The columns of a
// tile are split among the weights. In the epilogue a thread has four columns of four rows, of 'Pieces' of 32 columns at a
// time: 'terms' makes what the columns of a row have in common.

#if HEW_WGMMA
__device__ __forceinline__ void put_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }
__device__ __forceinline__ void put_pair(int* p, int a, int b) { *reinterpret_cast<int2*>(p) = make_int2(a, b); }

// Rows of tiles that are worked through column by column, so that what they read stays in the cache.
constexpr int kBandRows = 2048;

template <class T, int Rows, int Columns, int Share, int Turns, int Stages, int Pieces, int N, int K, int Weights, class Out, class Terms, class Four>
__device__ __forceinline__ void wgmma_product(int rows, const TensorMap* x, const TensorMap* const (&w)[Weights], Out* out, Terms terms, Four four) {
  using Sum = typename SumOf<T>::Type;
  // Per warp 16 rows of sums, so far apart that no two lanes meet in a bank.
  constexpr int kStagingRow = Pieces * 32 + 8;
  constexpr int kOwnColumns = Columns / Weights;
  constexpr int kStepDepth = 128 / sizeof(T);
  constexpr int kSteps = (K + kStepDepth - 1) / kStepDepth;
  constexpr int kRowBytes = Rows * 128, kHalfBytes = Columns / 2 * 128, kStageBytes = kRowBytes + 2 * kHalfBytes;
  constexpr int kParts = Rows / Share / 64;  // of 64 rows, per warpgroup
  constexpr int kColumnTiles = (N + kOwnColumns - 1) / kOwnColumns;
  // Whether all columns that the epilogue comes to are columns of the tile and of the result.
  constexpr bool kWhole = N % kOwnColumns == 0 && kOwnColumns % (32 * Pieces) == 0;
  extern __shared__ char dynamic[];
  __shared__ __align__(8) unsigned long long barriers[2 * Stages];
  const unsigned stages = (shared_address(dynamic) + 1023) / 1024 * 1024;
  const unsigned full = shared_address(barriers), empty = full + 8 * Stages;
  const int warpgroup = threadIdx.x / 128;
  const int row_tiles = (rows + Rows - 1) / Rows, tiles = row_tiles * kColumnTiles;
  if (threadIdx.x == 0)
    for (int s = 0; s < Stages; s++) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, 4 * Share);
    }
  barriers_ready();

  const auto place = [&](int tile, int& row, int& column) {
    constexpr int kBand = kBandRows / Rows;
    const int band = tile / (kBand * kColumnTiles), height = min(kBand, row_tiles - band * kBand);
    const int within = tile - band * kBand * kColumnTiles;
    row = (band * kBand + within % height) * Rows;
    column = within / height * kOwnColumns;
  };

  if (warpgroup == 0) {
    give_registers<40>();
    if (threadIdx.x == 0) {
      const auto request_weights = [&](int n, int step, int column) {
        const unsigned to = stages + n % Stages * kStageBytes + kRowBytes, barrier = full + n % Stages * 8;
        barrier_expect(barrier, kStageBytes);
#pragma unroll
        for (int h = 0; h < 2; h++)
          copy_box(to + h * kHalfBytes, w[Weights == 2 ? h : 0], step * kStepDepth, Weights == 2 ? column : column + h * (Columns / 2), barrier);
      };
      const auto request_rows = [&](int n, int step, int row) {
        copy_box(stages + n % Stages * kStageBytes, x, step * kStepDepth, row, full + n % Stages * 8);
      };
      constexpr int kAhead = kSteps < Stages ? kSteps : Stages;
      int row, column, n = kAhead;
      place(blockIdx.x, row, column);
      for (int s = 0; s < kAhead; s++) request_weights(s, s, column);
      await_predecessor();
      for (int s = 0; s < kAhead; s++) request_rows(s, s, row);
      for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        place(tile, row, column);
        for (int step = tile == blockIdx.x ? kAhead : 0; step < kSteps; step++, n++) {
          barrier_wait(empty + n % Stages * 8, n / Stages % 2 ^ 1);
          request_weights(n, step, column);
          request_rows(n, step, row);
        }
      }
    }
  } else {
    take_registers<232>();
    const int group = (warpgroup - 1) / Share, part_of_tile = (warpgroup - 1) % Share, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Sum* const staging = reinterpret_cast<Sum*>(dynamic + (stages - shared_address(dynamic)) + Stages * kStageBytes) + (threadIdx.x / 32 - 4) * 16 * kStagingRow;
    const auto release = [&](int n) {
      if (lane == 0) barrier_arrive(empty + n % Stages * 8);
    };
    // A barrier of this block for either turn: its warpgroups may multiply when the others have seen all of their tiles.
    // Parities of 'full' would be ambiguous for one that runs ahead.
    const auto hand_over = [&](int to) { asm volatile("barrier.cta.arrive %0, %1;" ::"r"(1 + to), "n"(256 * Share) : "memory"); };
    const auto take_over = [&] { asm volatile("barrier.cta.sync %0, %1;" ::"r"(1 + group), "n"(256 * Share) : "memory"); };
    const auto tile_of = [&](int turn) { return static_cast<int>(blockIdx.x + turn * gridDim.x); };
    await_predecessor();
    if (Turns == 2 && group == 1) hand_over(0);
    for (int turn = group; tile_of(turn) < tiles; turn += Turns) {
      Sum sums[kParts][Columns / 2];
      const int start = turn * kSteps;
      int first_row, first_column;
      place(tile_of(turn), first_row, first_column);
      first_row += part_of_tile * kParts * 64;
      if (Turns == 2) take_over();
      for (int step = 0; step < kSteps; step++) {
        const int n = start + step;
        const unsigned rows_at = stages + n % Stages * kStageBytes + part_of_tile * kParts * 64 * 128;
        const unsigned columns_at = stages + n % Stages * kStageBytes + kRowBytes;
        barrier_wait(full + n % Stages * 8, n / Stages % 2);
        wgmma_fence();
#pragma unroll
        for (int piece = 0; piece < 4; piece++)
#pragma unroll
          for (int part = 0; part < kParts; part++)
            multiply_tile(Operand<T>{}, sums[part], tile_descriptor(rows_at + part * 64 * 128 + piece * 32), tile_descriptor(columns_at + piece * 32), step + piece > 0);
        wgmma_commit();
        // What the step before has read is free once its products are done.
        wgmma_wait<1>();
        if (step > 0) release(n - 1);
      }
      if (Turns == 2 && tile_of(turn + 1) < tiles) hand_over(1 - group);
      wgmma_wait<0>();
      release(start + kSteps - 1);
#pragma unroll
      for (int part = 0; part < kParts; part++) {
        const int row = first_row + part * 64 + warp * 16 + lane / 8;
        decltype(terms(0)) of_row[4];
#pragma unroll
        for (int i = 0; i < 4; i++) of_row[i] = terms(min(row + 4 * i, rows - 1));
#pragma unroll
        for (int chunk = 0; chunk * 32 < kOwnColumns; chunk += Pieces) {
          Sum own[Pieces][4][Weights][4];
#pragma unroll
          for (int r = 0; r < Weights; r++) {
            __syncwarp();
#pragma unroll
            for (int j = 0; j < 4 * Pieces; j++)
#pragma unroll
              for (int high = 0; high < 2; high++) {
                if (chunk * 32 + j * 8 >= kOwnColumns) continue;
                const Sum* pair = &sums[part][(r * kOwnColumns / 8 + chunk * 4 + j) * 4 + high * 2];
                put_pair(staging + (lane / 4 + high * 8) * kStagingRow + j * 8 + lane % 4 * 2, pair[0], pair[1]);
              }
            __syncwarp();
#pragma unroll
            for (int p = 0; p < Pieces; p++)
#pragma unroll
              for (int i = 0; i < 4; i++) take_four(staging + (lane / 8 + 4 * i) * kStagingRow + p * 32 + lane % 8 * 4, own[p][i][r]);
          }
          // Values first, stores after them, so that all that the epilogue reads is requested at once.
          decltype(load(Out{})) values[Pieces][4][4];
#pragma unroll
          for (int p = 0; p < Pieces; p++) {
            const int column = first_column + (chunk + p) * 32 + lane % 8 * 4;
            const int within = kWhole ? column : min(column, N % 4 == 0 ? N - 4 : N - 1);
#pragma unroll
            for (int i = 0; i < 4; i++) four(of_row[i], min(row + 4 * i, rows - 1), within, own[p][i], values[p][i]);
          }
#pragma unroll
          for (int p = 0; p < Pieces; p++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
              const int column = first_column + (chunk + p) * 32 + lane % 8 * 4;
              if (row + 4 * i >= rows || (!kWhole && column >= min(N, first_column + kOwnColumns))) continue;
              Out* const to = out + (long long)(row + 4 * i) * N + column;
              if (N % 4 != 0) {
#pragma unroll
                for (int j = 0; j < 4; j++)
                  if (column + j < N) to[j] = convert<Out>(values[p][i][j]);
              } else {
                store_four(to, values[p][i]);
              }
            }
        }
      }
    }
  }
}
#endif
`;

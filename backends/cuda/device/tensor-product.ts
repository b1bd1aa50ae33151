/** Matrix products of 16-bit floats and of bytes on tensor cores, by the instructions that every GPU since Ampere has. */

export const tensorCores = `// ---- tensor cores of Ampere: asynchronous copies to shared memory, and products of fragments that a warp shares ----

__device__ __forceinline__ void copy_async(unsigned to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0));
}
__device__ __forceinline__ void load_matrices(unsigned address, unsigned (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ __forceinline__ void multiply(bf16, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply(f16, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void multiply(signed char, int (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <class T> struct SumOf { using Type = float; };
template <> struct SumOf<signed char> { using Type = int; };

template <class T, class V> __device__ __forceinline__ void store_pair(T* p, V a, V b) {
  p[0] = convert<T>(a);
  p[1] = convert<T>(b);
}
__device__ __forceinline__ void store_pair(float* p, float a, float b) { *reinterpret_cast<float2*>(p) = make_float2(a, b); }
template <class T> __device__ __forceinline__ void store_pair(T* p, float a, float b) { *reinterpret_cast<unsigned*>(p) = pack(T{}, a, b); }
`;

export const tensorProduct = `// ---- out[m, n] = element(m, n, sums_r) with sums_r = sum_k x[m, k] w_r[n, k], on tensor cores ----
//
// A block computes 128 rows; its 128 columns are split among the weights, so that a thread holds the sums of all weights
// at one place. Three tiles of 64 bytes of each row are in flight. Inside a tile, 16-byte pieces of a row are exchanged so that
// eight rows read together lie in different banks.

constexpr int kBlockRows = 128;
constexpr int kBlockColumns = 128;
constexpr int kStages = 3;
constexpr int kTileBytes = kBlockRows * 64;

__device__ __forceinline__ int tile_offset(int row, int piece) { return row * 64 + ((piece ^ (row >> 1)) & 3) * 16; }

template <int Columns, int K, int Weights, class T, class Out, class Element>
__device__ __forceinline__ void tensor_product(int block, int rows, const T* x, const T* const (&w)[Weights], Out* out, Element element) {
  using Sum = typename SumOf<T>::Type;
  constexpr int kPiece = 16 / sizeof(T), kDepth = 4 * kPiece;
  constexpr int kOwnColumns = kBlockColumns / Weights;
  constexpr int kColumnBlocks = (Columns + kOwnColumns - 1) / kOwnColumns;
  constexpr int kSteps = (K + kDepth - 1) / kDepth;
  constexpr int kPairs = 2 / Weights;  // pairs of 8-column tiles per weight and warp
  __shared__ __align__(128) char tiles[kStages][2][kTileBytes];
  const int first_row = block / kColumnBlocks * kBlockRows, first_column = block % kColumnBlocks * kOwnColumns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = warp / 4 * 64, warp_column = warp % 4 * (kOwnColumns / 4);
  const unsigned shared = static_cast<unsigned>(__cvta_generic_to_shared(tiles));

  const auto request_weights = [&](int step) {
    const unsigned stage = shared + step % kStages * 2 * kTileBytes + kTileBytes;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int at = threadIdx.x + i * kThreads, row = at / 4, piece = at % 4, k = step * kDepth + piece * kPiece;
      const int column = first_column + row % kOwnColumns;
      const bool valid = column < Columns && k < K;
      copy_async(stage + tile_offset(row, piece), w[row / kOwnColumns] + (valid ? (long long)column * K + k : 0), valid);
    }
  };
  const auto request_rows = [&](int step) {
    const unsigned stage = shared + step % kStages * 2 * kTileBytes;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int at = threadIdx.x + i * kThreads, row = at / 4, piece = at % 4, k = step * kDepth + piece * kPiece;
      const bool valid = first_row + row < rows && k < K;
      copy_async(stage + tile_offset(row, piece), x + (valid ? (long long)(first_row + row) * K + k : 0), valid);
    }
  };

  Sum sums[4][Weights][2 * kPairs][4] = {};
  for (int s = 0; s < kStages - 1 && s < kSteps; s++) request_weights(s);
  await_predecessor();
  for (int s = 0; s < kStages - 1; s++) {
    if (s < kSteps) request_rows(s);
    asm volatile("cp.async.commit_group;");
  }
  for (int step = 0; step < kSteps; step++) {
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2));
    __syncthreads();
    if (step + kStages - 1 < kSteps) {
      request_weights(step + kStages - 1);
      request_rows(step + kStages - 1);
    }
    asm volatile("cp.async.commit_group;");
    const unsigned rows_at = shared + step % kStages * 2 * kTileBytes, weights_at = rows_at + kTileBytes;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      unsigned a[4][4];
#pragma unroll
      for (int m = 0; m < 4; m++) load_matrices(rows_at + tile_offset(warp_row + m * 16 + lane % 16, half * 2 + lane / 16), a[m]);
#pragma unroll
      for (int r = 0; r < Weights; r++)
#pragma unroll
        for (int pair = 0; pair < kPairs; pair++) {
          unsigned b[4];
          const int row = r * kOwnColumns + warp_column + pair * 16 + lane % 8 + lane / 16 * 8;
          load_matrices(weights_at + tile_offset(row, half * 2 + lane / 8 % 2), b);
#pragma unroll
          for (int m = 0; m < 4; m++) {
            multiply(T{}, sums[m][r][2 * pair], a[m], b[0], b[1]);
            multiply(T{}, sums[m][r][2 * pair + 1], a[m], b[2], b[3]);
          }
        }
    }
  }
#pragma unroll
  for (int m = 0; m < 4; m++)
#pragma unroll
    for (int high = 0; high < 2; high++)
#pragma unroll
      for (int n = 0; n < 2 * kPairs; n++) {
        const int row = first_row + warp_row + m * 16 + lane / 4 + high * 8;
        const int column = first_column + warp_column + n * 8 + lane % 4 * 2;
        if (row >= rows || column >= Columns) continue;
        Sum left[Weights], right[Weights];
#pragma unroll
        for (int r = 0; r < Weights; r++) {
          left[r] = sums[m][r][n][high * 2];
          right[r] = sums[m][r][n][high * 2 + 1];
        }
        Out* at = out + (long long)row * Columns + column;
        const auto first = element(row, column, left);
        if (Columns % 2 == 0) {
          store_pair(at, first, element(row, column + 1, right));
        } else {
          at[0] = convert<Out>(first);
          if (column + 1 < Columns) at[1] = convert<Out>(element(row, column + 1, right));
        }
      }
}
`;

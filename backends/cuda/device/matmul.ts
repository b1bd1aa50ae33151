/**
 * Matrix products. All take an epilogue `element(row, column, sum)` that gives the value stored at [row, column] of a
 * row-major result, and sum in float.
 */

/** Products of few rows: bound by reading the weight once. A warp computes whole columns, for all rows. */
export const gemv = `// ---- out[m, n] = element(m, n, sum_k x[m, k] w[n, k]) for few rows m: each warp owns columns ----


template <class W> struct WeightVector { uint4 raw; };
template <> struct WeightVector<float> { float4 low, high; };

__device__ __forceinline__ uint4 load_streaming(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
template <class W> __device__ __forceinline__ WeightVector<W> load_weights(const W* p) { return {load_streaming(p)}; }
__device__ __forceinline__ WeightVector<float> load_weights(const float* p) {
  const uint4 a = load_streaming(p), b = load_streaming(p + 4);
  return {make_float4(__uint_as_float(a.x), __uint_as_float(a.y), __uint_as_float(a.z), __uint_as_float(a.w)),
          make_float4(__uint_as_float(b.x), __uint_as_float(b.y), __uint_as_float(b.z), __uint_as_float(b.w))};
}
template <class W> __device__ __forceinline__ void expand(const WeightVector<W>& v, float (&x)[8]) { unpack(v.raw, W{}, x); }
__device__ __forceinline__ void expand(const WeightVector<float>& v, float (&x)[8]) {
  x[0] = v.low.x; x[1] = v.low.y; x[2] = v.low.z; x[3] = v.low.w;
  x[4] = v.high.x; x[5] = v.high.y; x[6] = v.high.z; x[7] = v.high.w;
}

// Sums of 'Columns' rows of weights with 'Rows' rows of x; lanes hold partial sums. The first weights are requested
// before the kernel that computes x has ended.
template <int Rows, int Columns, int K, class X, class W>
__device__ __forceinline__ void dot_columns(const X* x, const W* (&w)[Columns], float (&sums)[Rows][Columns]) {
  const int lane = threadIdx.x % 32;
  if constexpr (K % 8 == 0) {
    constexpr int kVectors = K / 8;
    constexpr int kSteps = (kVectors + 31) / 32;
    // Weight vectors of a lane that are read ahead, per column.
    constexpr int kAhead = Columns == 1 ? 8 : 4;
    WeightVector<W> next[kAhead][Columns];
#pragma unroll
    for (int s = 0; s < kAhead; s++)
#pragma unroll
      for (int c = 0; c < Columns; c++)
        if (s * 32 + lane < kVectors) next[s][c] = load_weights(w[c] + (s * 32 + lane) * 8);
    await_predecessor();
    for (int s0 = 0; s0 < kSteps; s0 += kAhead) {
#pragma unroll
      for (int j = 0; j < kAhead; j++) {
        const int v = (s0 + j) * 32 + lane;
        if (v >= kVectors) continue;
        float weights[Columns][8];
#pragma unroll
        for (int c = 0; c < Columns; c++) {
          expand(next[j][c], weights[c]);
          if (v + kAhead * 32 < kVectors) next[j][c] = load_weights(w[c] + (v + kAhead * 32) * 8);
        }
#pragma unroll
        for (int m = 0; m < Rows; m++) {
          float values[8];
          load8(x + m * K + v * 8, values);
#pragma unroll
          for (int c = 0; c < Columns; c++)
#pragma unroll
            for (int i = 0; i < 8; i++) sums[m][c] += values[i] * weights[c][i];
        }
      }
    }
  } else {
    await_predecessor();
    for (int k = lane; k < K; k += 32)
      for (int c = 0; c < Columns; c++)
        for (int m = 0; m < Rows; m++) sums[m][c] += load(x[m * K + k]) * load(w[c][k]);
  }
#pragma unroll
  for (int m = 0; m < Rows; m++)
#pragma unroll
    for (int c = 0; c < Columns; c++) sums[m][c] = warp_sum(sums[m][c]);
}

// A block takes kWarps * PerWarp columns. Several weights give several sums per column.
template <int Rows, int N, int K, int PerWarp, int Weights, class X, class W, class Out, class Element>
__device__ __forceinline__ void vector_product(int block, const X* x, const W* const (&weights)[Weights], Out* out, Element element) {
  const int column = (block * kWarps + threadIdx.x / 32) * PerWarp, lane = threadIdx.x % 32;
  if (column >= N) return;
  const W* rows[PerWarp * Weights];
#pragma unroll
  for (int c = 0; c < PerWarp; c++)
#pragma unroll
    for (int r = 0; r < Weights; r++) rows[c * Weights + r] = weights[r] + (long long)min(column + c, N - 1) * K;
  float sums[Rows][PerWarp * Weights] = {};
  dot_columns<Rows, PerWarp * Weights, K>(x, rows, sums);
#pragma unroll
  for (int m = 0; m < Rows; m++)
#pragma unroll
    for (int c = 0; c < PerWarp; c++) {
      float own[Weights];
#pragma unroll
      for (int r = 0; r < Weights; r++) own[r] = sums[m][c * Weights + r];
      if (lane == (m * PerWarp + c) % 32 && column + c < N) out[m * N + column + c] = convert<Out>(element(m, column + c, own));
    }
}
`;

/** A product on the ordinary units, of operands behind accessors: any layout, any dtype. */
export const tiledProduct = `// ---- out[m, n] = store(m, n, sum_k a(m, k) b(k, n)) in tiles of 64 x 64, on the ordinary units ----

constexpr int kTile = 64;
constexpr int kTileDepth = 16;

template <class A, class B, class Store>
__device__ __forceinline__ void tiled_product(int block_row, int block_column, int rows, int columns, int inner, A a, B b, Store store) {
  __shared__ float tile_a[kTileDepth][kTile + 4];
  __shared__ float tile_b[kTileDepth][kTile + 4];
  const int first_row = block_row * kTile, first_column = block_column * kTile;
  const int thread_row = threadIdx.x / 16 * 4, thread_column = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int k0 = 0; k0 < inner; k0 += kTileDepth) {
    __syncthreads();
    for (int i = threadIdx.x; i < kTile * kTileDepth; i += kThreads) {
      const int k = k0 + i % kTileDepth, at = i / kTileDepth;
      tile_a[i % kTileDepth][at] = first_row + at < rows && k < inner ? a(first_row + at, k) : 0.0f;
      tile_b[i % kTileDepth][at] = first_column + at < columns && k < inner ? b(k, first_column + at) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTileDepth; k++) {
      const float4 left = *reinterpret_cast<const float4*>(&tile_a[k][thread_row]);
      const float4 right = *reinterpret_cast<const float4*>(&tile_b[k][thread_column]);
      const float l[4] = {left.x, left.y, left.z, left.w}, r[4] = {right.x, right.y, right.z, right.w};
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] += l[i] * r[j];
    }
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      const int row = first_row + thread_row + i, column = first_column + thread_column + j;
      if (row < rows && column < columns) store(row, column, sums[i][j]);
    }
}
`;

/** A product on the ordinary units, with an epilogue `store(row, column, sum)`; sums are floats. */

/** Operands are behind accessors: any layout, any dtype. */
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

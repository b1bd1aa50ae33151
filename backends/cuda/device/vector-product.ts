/**
 * Products of few rows on the ordinary units, bound by reading the weight once. `element(row, column, sums)` gives the value
 * stored at [row, column] of a row-major result. `prepare()` waits for the kernels before and gives the rows of x, which
 * it may make itself; the first weights are requested before it is called.
 */
export const vectorProduct = `// ---- out[m, n] = element(m, n, sum_k x[m, k] w[n, k]) for few rows m: each warp owns columns ----

template <class W> __device__ __forceinline__ Eight<W> load_weights(const W* p) { return {load_streaming(p)}; }
__device__ __forceinline__ Eight<float> load_weights(const float* p) { return {load_streaming(p), load_streaming(p + 4)}; }

// Sums of 'Columns' rows of weights with 'Rows' rows of x; lanes hold partial sums.
template <int Rows, int Columns, int K, class W, class Prepare>
__device__ __forceinline__ void dot_columns(const W* (&w)[Columns], Prepare prepare, float (&sums)[Rows][Columns]) {
  const int lane = threadIdx.x % 32;
  if constexpr (K % 8 == 0) {
    constexpr int kVectors = K / 8;
    constexpr int kSteps = (kVectors + 31) / 32;
    // Weight vectors of a lane that are read ahead, per column.
    constexpr int kAhead = Columns == 1 ? 8 : 4;
    Eight<W> next[kAhead][Columns];
#pragma unroll
    for (int s = 0; s < kAhead; s++)
#pragma unroll
      for (int c = 0; c < Columns; c++)
        if (s * 32 + lane < kVectors) next[s][c] = load_weights(w[c] + (s * 32 + lane) * 8);
    const auto* x = prepare();
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
    const auto* x = prepare();
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
template <int Rows, int N, int K, int PerWarp, int Weights, class W, class Out, class Prepare, class Element>
__device__ __forceinline__ void vector_product(int block, const W* const (&weights)[Weights], Out* out, Prepare prepare, Element element) {
  const int column = (block * kWarps + threadIdx.x / 32) * PerWarp, lane = threadIdx.x % 32;
  const W* rows[PerWarp * Weights];
#pragma unroll
  for (int c = 0; c < PerWarp; c++)
#pragma unroll
    for (int r = 0; r < Weights; r++) rows[c * Weights + r] = weights[r] + (long long)min(column + c, N - 1) * K;
  float sums[Rows][PerWarp * Weights] = {};
  dot_columns<Rows, PerWarp * Weights, K>(rows, prepare, sums);
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

/** Attention: softmax(q k^T * scale) v with an online softmax (Milakov and Gimelshein 2018), so that scores stay in registers. */

export const attentionRows = `// ---- attention, one warp per query and head; lanes take keys for the scores and channels for the values ----

// q, k and v point at this query's head, at its first key and at its first value; keys and values are 'stride' elements
// apart.
template <int Width, int ValueWidth, class T>
__device__ __forceinline__ void attend_row(const T* q, const T* k, const T* v, long long key_stride, long long value_stride, int visible, float scale, T* out) {
  constexpr int kOwn = ValueWidth == 0 ? 1 : (ValueWidth + 31) / 32;
  const int lane = threadIdx.x % 32;
  float greatest = -infinity(), total = 0.0f, sums[kOwn] = {};
  for (int first = 0; first < visible; first += 32) {
    const int key = first + lane;
    float score = -infinity();
    if (key < visible) {
      const T* row = k + key * key_stride;
      float dot = 0.0f;
      if constexpr (Width % 8 == 0) {
        for (int i = 0; i < Width; i += 8) {
          float a[8], b[8];
          load8(q + i, a);
          load8(row + i, b);
#pragma unroll
          for (int e = 0; e < 8; e++) dot += a[e] * b[e];
        }
      } else {
        for (int i = 0; i < Width; i++) dot += load(q[i]) * load(row[i]);
      }
      score = dot * scale;
    }
    const float highest = fmaxf(greatest, warp_reduce(score, [](float a, float b) { return fmaxf(a, b); }));
    const float shrink = expf(greatest - highest);
    const float power = key < visible ? expf(score - highest) : 0.0f;
    total = total * shrink + warp_sum(power);
    greatest = highest;
#pragma unroll
    for (int c = 0; c < kOwn; c++) sums[c] *= shrink;
    const int count = min(32, visible - first);
    for (int j = 0; j < count; j++) {
      const float p = __shfl_sync(kFullWarp, power, j);
      const T* row = v + (first + j) * value_stride;
#pragma unroll
      for (int c = 0; c < kOwn; c++)
        if (c * 32 + lane < ValueWidth) sums[c] += p * load(row[c * 32 + lane]);
    }
  }
#pragma unroll
  for (int c = 0; c < kOwn; c++)
    if (c * 32 + lane < ValueWidth) out[c * 32 + lane] = convert<T>(visible > 0 ? sums[c] / total : 0.0f);
}
`;

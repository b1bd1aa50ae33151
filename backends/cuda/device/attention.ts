/** Attention: softmax(q k^T * scale) v with an online softmax (Milakov and Gimelshein 2018), so that scores stay in registers. */

export const attentionRows = `// ---- attention, one warp per query and head; lanes take keys for the scores and channels for the values ----

// q points at this query's head; k and v begin with the first key and value that it sees.
template <int Width, int ValueWidth, class T, class Keys, class Values>
__device__ __forceinline__ void attend_row(const T* q, Keys k, Values v, int visible, float scale, T* out) {
  constexpr int kOwn = ValueWidth == 0 ? 1 : (ValueWidth + 31) / 32;
  const int lane = threadIdx.x % 32;
  float greatest = -infinity(), total = 0.0f, sums[kOwn] = {};
  for (int first = 0; first < visible; first += 32) {
    const int key = first + lane;
    float score = -infinity();
    if (key < visible) {
      float dot = 0.0f;
      if constexpr (Width % 8 == 0) {
        for (int i = 0; i < Width; i += 8) {
          float a[8], b[8];
          load8(q + i, a);
          k.template piece<8>(key, i).expand(b);
#pragma unroll
          for (int e = 0; e < 8; e++) dot += a[e] * b[e];
        }
      } else {
        const int zero = k.zero(key);
        for (int i = 0; i < Width; i++) dot += load(q[i]) * k.element(key, i, zero);
      }
      score = dot * scale * k.scale(key);
    }
    const float highest = fmaxf(greatest, warp_reduce(score, [](float a, float b) { return fmaxf(a, b); }));
    const float shrink = expf(greatest - highest);
    const float power = key < visible ? expf(score - highest) : 0.0f;
    const float weight = key < visible ? power * v.scale(key) : 0.0f;
    total = total * shrink + warp_sum(power);
    greatest = highest;
#pragma unroll
    for (int c = 0; c < kOwn; c++) sums[c] *= shrink;
    const int count = min(32, visible - first);
    for (int j = 0; j < count; j++) {
      const float p = __shfl_sync(kFullWarp, weight, j);
      const int zero = v.zero(first + j);
#pragma unroll
      for (int c = 0; c < kOwn; c++)
        if (c * 32 + lane < ValueWidth) sums[c] += p * v.element(first + j, c * 32 + lane, zero);
    }
  }
#pragma unroll
  for (int c = 0; c < kOwn; c++)
    if (c * 32 + lane < ValueWidth) out[c * 32 + lane] = convert<T>(visible > 0 ? sums[c] / total : 0.0f);
}
`;

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

/** Few queries over a long cache: the keys are split among blocks, whose results a second launch combines. */
export const splitAttention = `// ---- attention of few queries: blocks take parts of the keys (split-KV), a second launch combines them ----

// Per query and split: the greatest score, the sum of the powers, and the weighted sum of the values.
template <int Width> struct PartialRow { float greatest, total, sums[Width]; };

// The queries of one key head; 'q' gives the first element of query row r. Lanes take 8 channels of a key each, so that a
// warp reads 32 * 8 / Width keys at once.
template <int Rows, int Width, int Splits, class T, class Query>
__device__ __forceinline__ void attend_split(Query q, const T* k, const T* v, long long key_stride, long long value_stride, int visible, int split, float scale, PartialRow<Width>* out) {
  constexpr int kLanes = Width / 8, kKeys = 32 / kLanes;
  __shared__ float shared_greatest[kWarps][Rows], shared_total[kWarps][Rows], shared_sums[kWarps][Rows][Width];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channel = lane % kLanes * 8;
  const int part = (visible + Splits - 1) / Splits, end = min(visible, (split + 1) * part);
  float queries[Rows][8], greatest[Rows], total[Rows], sums[Rows][8];
#pragma unroll
  for (int r = 0; r < Rows; r++) {
    load8(q(r) + channel, queries[r]);
    greatest[r] = -infinity();
    total[r] = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) sums[r][i] = 0.0f;
  }
  for (int first = split * part + warp * kKeys; first < end; first += kWarps * kKeys) {
    const int key = first + lane / kLanes;
    const bool valid = key < end;
    float keys[8], values[8];
    load8(k + (valid ? key : first) * key_stride + channel, keys);
    load8(v + (valid ? key : first) * value_stride + channel, values);
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      float score = 0.0f;
#pragma unroll
      for (int i = 0; i < 8; i++) score += queries[r][i] * keys[i];
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) score += __shfl_xor_sync(kFullWarp, score, offset);
      score = valid ? score * scale : -infinity();
      const float highest = fmaxf(greatest[r], score);
      const float shrink = highest == -infinity() ? 0.0f : expf(greatest[r] - highest);
      const float power = valid ? expf(score - highest) : 0.0f;
      greatest[r] = highest;
      total[r] = total[r] * shrink + power;
#pragma unroll
      for (int i = 0; i < 8; i++) sums[r][i] = sums[r][i] * shrink + power * values[i];
    }
  }
  // The keys that lanes of a warp took side by side.
#pragma unroll
  for (int r = 0; r < Rows; r++) {
#pragma unroll
    for (int offset = kLanes; offset < 32; offset *= 2) {
      const float other = __shfl_xor_sync(kFullWarp, greatest[r], offset), highest = fmaxf(greatest[r], other);
      const float own_scale = greatest[r] == -infinity() ? 0.0f : expf(greatest[r] - highest);
      const float other_scale = other == -infinity() ? 0.0f : expf(other - highest);
      total[r] = total[r] * own_scale + __shfl_xor_sync(kFullWarp, total[r], offset) * other_scale;
#pragma unroll
      for (int i = 0; i < 8; i++) sums[r][i] = sums[r][i] * own_scale + __shfl_xor_sync(kFullWarp, sums[r][i], offset) * other_scale;
      greatest[r] = highest;
    }
    if (lane < kLanes) {
#pragma unroll
      for (int i = 0; i < 8; i++) shared_sums[warp][r][channel + i] = sums[r][i];
    }
    if (lane == 0) {
      shared_greatest[warp][r] = greatest[r];
      shared_total[warp][r] = total[r];
    }
  }
  __syncthreads();
  for (int at = threadIdx.x; at < Rows * Width; at += kThreads) {
    const int r = at / Width, i = at % Width;
    float highest = -infinity(), sum = 0.0f, whole = 0.0f;
    for (int w = 0; w < kWarps; w++) highest = fmaxf(highest, shared_greatest[w][r]);
    for (int w = 0; w < kWarps; w++) {
      const float factor = shared_greatest[w][r] == -infinity() ? 0.0f : expf(shared_greatest[w][r] - highest);
      sum += factor * shared_sums[w][r][i];
      whole += factor * shared_total[w][r];
    }
    out[r].sums[i] = sum;
    if (i == 0) {
      out[r].greatest = highest;
      out[r].total = whole;
    }
  }
}

// One query by a warp: lanes weigh the splits, then take channels. 'parts' are the splits, 'stride' rows apart.
template <int Width, int Splits, class T> __device__ __forceinline__ void combine_splits(const PartialRow<Width>* parts, int stride, T* out) {
  static_assert(Splits <= 32, "a lane weighs one split");
  const int lane = threadIdx.x % 32;
  const bool own = lane < Splits;
  const float greatest = own ? parts[lane * stride].greatest : -infinity(), part = own ? parts[lane * stride].total : 0.0f;
  const float highest = warp_reduce(greatest, [](float a, float b) { return fmaxf(a, b); });
  const float factor = greatest == -infinity() ? 0.0f : expf(greatest - highest);
  const float total = warp_sum(factor * part);
  constexpr int kOwn = (Width + 31) / 32;
  float sums[kOwn] = {};
#pragma unroll
  for (int s = 0; s < Splits; s++) {
    const float weight = __shfl_sync(kFullWarp, factor, s);
#pragma unroll
    for (int c = 0; c < kOwn; c++)
      if (c * 32 + lane < Width) sums[c] += weight * parts[s * stride].sums[c * 32 + lane];
  }
#pragma unroll
  for (int c = 0; c < kOwn; c++)
    if (c * 32 + lane < Width) out[c * 32 + lane] = convert<T>(total > 0.0f ? sums[c] / total : 0.0f);
}
`;

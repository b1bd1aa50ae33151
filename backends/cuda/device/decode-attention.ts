/**
 * Attention of one token over a cache (split-KV, Dao et al. 2023): blocks take parts of the keys of a head, and the last of
 * them to finish combines their results. The newest key and value may come from registers instead of the cache.
 */

export const decodeAttention = `// ---- attention of one token: blocks take parts of the keys, the last block of a head combines them ----

// Per query and split: the greatest score, the sum of the powers, and the weighted sum of the values.
template <int Width> struct PartialRow { float greatest, total, sums[Width]; };

// A split is worth its block from so many keys on.
constexpr int kLeastKeys = 64;

// What lanes have seen of some keys: for each query the greatest score, the sum of powers, and eight channels of the sum of
// values.
template <int Rows> struct Seen {
  float greatest[Rows], total[Rows], sums[Rows][8];
  __device__ __forceinline__ Seen() {
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      greatest[r] = -infinity();
      total[r] = 0.0f;
#pragma unroll
      for (int i = 0; i < 8; i++) sums[r][i] = 0.0f;
    }
  }
  // Adds 'Count' keys per lane.
  template <int Width, int Count, class T>
  __device__ __forceinline__ void add(const T (&queries)[Rows][Width], int channel, const Eight<T> (&keys)[Count], const Eight<T> (&values)[Count], const bool (&valid)[Count], float scale) {
    constexpr int kLanes = Width / 8;
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      float query[8], scores[Count], highest = greatest[r];
      load8(&queries[r][channel], query);
#pragma unroll
      for (int c = 0; c < Count; c++) {
        float key[8];
        expand(keys[c], key);
        scores[c] = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; i++) scores[c] += query[i] * key[i];
#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2) scores[c] += __shfl_xor_sync(kFullWarp, scores[c], offset);
        scores[c] = valid[c] ? scores[c] * scale : -infinity();
        highest = fmaxf(highest, scores[c]);
      }
      const float shrink = highest == -infinity() ? 0.0f : expf(greatest[r] - highest);
      greatest[r] = highest;
      total[r] *= shrink;
#pragma unroll
      for (int i = 0; i < 8; i++) sums[r][i] *= shrink;
#pragma unroll
      for (int c = 0; c < Count; c++) {
        float value[8];
        expand(values[c], value);
        const float power = valid[c] ? expf(scores[c] - highest) : 0.0f;
        total[r] += power;
#pragma unroll
        for (int i = 0; i < 8; i++) sums[r][i] += power * value[i];
      }
    }
  }
  // Joins lanes that took different keys of the same channels.
  template <int Width> __device__ __forceinline__ void join_lanes() {
#pragma unroll
    for (int r = 0; r < Rows; r++)
#pragma unroll
      for (int offset = Width / 8; offset < 32; offset *= 2) {
        const float other = __shfl_xor_sync(kFullWarp, greatest[r], offset), highest = fmaxf(greatest[r], other);
        const float own_scale = greatest[r] == -infinity() ? 0.0f : expf(greatest[r] - highest);
        const float other_scale = other == -infinity() ? 0.0f : expf(other - highest);
        total[r] = total[r] * own_scale + __shfl_xor_sync(kFullWarp, total[r], offset) * other_scale;
#pragma unroll
        for (int i = 0; i < 8; i++) sums[r][i] = sums[r][i] * own_scale + __shfl_xor_sync(kFullWarp, sums[r][i], offset) * other_scale;
        greatest[r] = highest;
      }
  }
};

// One query by a warp: lanes weigh the splits, then take channels. 'parts' are the splits, 'stride' rows apart.
template <int Width, class T> __device__ __forceinline__ void combine_splits(const PartialRow<Width>* parts, int stride, int splits, T* out) {
  const int lane = threadIdx.x % 32;
  const bool own = lane < splits;
  const float greatest = own ? __ldcg(&parts[lane * stride].greatest) : -infinity(), part = own ? __ldcg(&parts[lane * stride].total) : 0.0f;
  const float highest = warp_reduce(greatest, [](float a, float b) { return fmaxf(a, b); });
  const float factor = greatest == -infinity() ? 0.0f : expf(greatest - highest);
  const float total = warp_sum(factor * part);
  constexpr int kOwn = (Width + 31) / 32;
  float sums[kOwn] = {};
#pragma unroll 8
  for (int s = 0; s < splits; s++) {
    const float weight = __shfl_sync(kFullWarp, factor, s);
#pragma unroll
    for (int c = 0; c < kOwn; c++)
      if (c * 32 + lane < Width) sums[c] += weight * __ldcg(&parts[s * stride].sums[c * 32 + lane]);
  }
#pragma unroll
  for (int c = 0; c < kOwn; c++)
    if (c * 32 + lane < Width) out[c * 32 + lane] = convert<T>(total > 0.0f ? sums[c] / total : 0.0f);
}

// The 'Rows' queries of one key head. k and v point at its first visible key and value in the cache, of which there are
// 'count', 'stride' elements apart. 'queries' are in shared memory, and so is the key and value that is not in the cache
// yet, if 'Fresh'. 'parts' has room for all splits of this head, 'arrivals' counts those that are done; it is 0 before and
// after.
template <int Rows, int Width, int Splits, bool Fresh, class T>
__device__ __forceinline__ void attend_cached(const T (&queries)[Rows][Width], const T* fresh_key, const T* fresh_value, const T* k, const T* v,
                                              long long stride, int count, int split, float scale, PartialRow<Width>* parts, unsigned* arrivals, T* out) {
  static_assert(Splits <= 32, "a lane weighs one split");
  constexpr int kLanes = Width / 8, kKeys = 32 / kLanes, kBatch = 4;
  __shared__ float shared_greatest[kWarps][Rows], shared_total[kWarps][Rows];
  __shared__ float shared_sums[kWarps][Rows][Width];
  __shared__ bool is_last;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channel = lane % kLanes * 8;
  const int splits = max(1, min(Splits, (count + kLeastKeys - 1) / kLeastKeys));
  if (split >= splits) return;
  const int part = (count + splits - 1) / splits, end = min(count, (split + 1) * part);
  Seen<Rows> seen;
  for (int first = split * part + warp * kKeys; first < end; first += kBatch * kWarps * kKeys) {
    Eight<T> keys[kBatch], values[kBatch];
    bool valid[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
      const int key = first + b * kWarps * kKeys + lane / kLanes;
      valid[b] = key < end;
      const long long at = (valid[b] ? key : first) * stride + channel;
      keys[b] = load_eight(k + at);
      values[b] = load_eight(v + at);
    }
    seen.template add<Width>(queries, channel, keys, values, valid, scale);
  }
  if (Fresh && split == 0 && warp == 0) {
    const Eight<T> keys[] = {load_eight(fresh_key + channel)}, values[] = {load_eight(fresh_value + channel)};
    const bool valid[] = {lane < kLanes};
    seen.template add<Width>(queries, channel, keys, values, valid, scale);
  }
  seen.template join_lanes<Width>();
#pragma unroll
  for (int r = 0; r < Rows; r++) {
    if (lane < kLanes) {
#pragma unroll
      for (int i = 0; i < 8; i++) shared_sums[warp][r][channel + i] = seen.sums[r][i];
    }
    if (lane == 0) {
      shared_greatest[warp][r] = seen.greatest[r];
      shared_total[warp][r] = seen.total[r];
    }
  }
  __syncthreads();
  for (int at = threadIdx.x; at < Rows * Width; at += kThreads) {
    const int r = at / Width, i = at % Width;
    float highest = -infinity(), sum = 0.0f, whole = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) highest = fmaxf(highest, shared_greatest[w][r]);
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const float factor = shared_greatest[w][r] == -infinity() ? 0.0f : expf(shared_greatest[w][r] - highest);
      sum += factor * shared_sums[w][r][i];
      whole += factor * shared_total[w][r];
    }
    if (splits == 1) {
      out[at] = convert<T>(whole > 0.0f ? sum / whole : 0.0f);
      continue;
    }
    PartialRow<Width>& own = parts[split * Rows + r];
    own.sums[i] = sum;
    if (i == 0) {
      own.greatest = highest;
      own.total = whole;
    }
  }
  if (splits == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(arrivals, 1u) == splits - 1u;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  if (threadIdx.x == 0) *arrivals = 0;
  for (int r = warp; r < Rows; r += kWarps) combine_splits<Width>(parts + r, Rows, splits, out + r * Width);
}
`;

/**
 * Attention of one token over a cache (split-KV, Dao et al. 2023): blocks take parts of the keys of a head, and the last of
 * them to finish combines their results. The newest key and value may come from registers instead of the cache.
 */

export const decodeAttention = `// ---- attention of one token: blocks take parts of the keys, the last block of a head combines them ----

// Per query and split: the greatest score, the sum of the powers, and the weighted sum of the values.
template <int Width> struct PartialRow { float greatest, total, sums[Width]; };

// A split is worth its block from so many keys on.
constexpr int kLeastKeys = 32;

// How the keys of a head are shared out: each of 'splits' blocks takes 'part' of them.
struct Shares { int splits, part; };
template <int Splits> __device__ __forceinline__ Shares share_keys(int total) {
  const int splits = max(1, min(Splits, (total + kLeastKeys - 1) / kLeastKeys));
  return {splits, max(1, (total + splits - 1) / splits)};
}

// Sums of each of the first 'Left' values over the lanes whose numbers differ in the bits from 'From' down to 'To'. Lanes exchange halves of what
// they have, so that each ends with a part of the sums: those from held_from() on, at least one.
template <int Left, int From, int To, int Count> __device__ __forceinline__ void scatter_sums(float (&values)[Count]) {
  if constexpr (From >= To && Left == 1) {
    values[0] += __shfl_xor_sync(kFullWarp, values[0], From);
    scatter_sums<1, From / 2, To>(values);
  } else if constexpr (From >= To) {
    constexpr int kHalf = Left / 2;
    const bool upper = (threadIdx.x & From) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; i++) {
      const float kept = upper ? values[kHalf + i] : values[i], given = upper ? values[i] : values[kHalf + i];
      values[i] = kept + __shfl_xor_sync(kFullWarp, given, From);
    }
    scatter_sums<kHalf, From / 2, To>(values);
  }
}
template <int Count, int From, int To> __device__ __forceinline__ int held_from() {
  constexpr int kGroups = From < To ? 1 : 2 * From / To;
  return static_cast<int>(threadIdx.x) / To % kGroups * Count / kGroups;
}

// All queries of a head by a block: lanes weigh the splits of a query, then threads take channels. 'parts' are the splits.
template <int Rows, int Width, int Splits, class T> __device__ __forceinline__ void combine_splits(const PartialRow<Width>* parts, int splits, T* out) {
  constexpr int kOwn = (Rows * Width + kThreads - 1) / kThreads, kAtOnce = Splits < 16 ? Splits : 16;
  __shared__ float weights[Rows][Splits];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float sums[kOwn] = {}, next[kOwn][kAtOnce];
  const auto request = [&](int first) {
#pragma unroll
    for (int j = 0; j < kOwn; j++)
#pragma unroll
      for (int s = 0; s < kAtOnce; s++) {
        const int at = j * kThreads + threadIdx.x;
        const bool valid = at < Rows * Width && first + s < splits;
        next[j][s] = valid ? __ldcg(&parts[(first + s) * Rows + at / Width].sums[at % Width]) : 0.0f;
      }
  };
  request(0);
  for (int r = warp; r < Rows; r += kWarps) {
    const PartialRow<Width>& part = parts[(lane < splits ? lane : 0) * Rows + r];
    const float greatest = lane < splits ? __ldcg(&part.greatest) : -infinity(), own = lane < splits ? __ldcg(&part.total) : 0.0f;
    const float highest = warp_reduce(greatest, [](float a, float b) { return fmaxf(a, b); });
    const float factor = greatest == -infinity() ? 0.0f : expf(greatest - highest);
    const float total = warp_sum(factor * own);
    if (lane < Splits) weights[r][lane] = total > 0.0f ? factor / total : 0.0f;
  }
  __syncthreads();
  for (int first = 0; first < splits; first += kAtOnce) {
    if (first > 0) request(first);
#pragma unroll
    for (int j = 0; j < kOwn; j++)
#pragma unroll
      for (int s = 0; s < kAtOnce; s++) {
        const int r = (j * kThreads + threadIdx.x) / Width;
        if (first + s < splits && r < Rows) sums[j] += weights[r][first + s] * next[j][s];
      }
  }
#pragma unroll
  for (int j = 0; j < kOwn; j++)
    if (j * kThreads + threadIdx.x < Rows * Width) out[j * kThreads + threadIdx.x] = convert<T>(sums[j]);
}

// What a block has of a head becomes the result, or a part of it, of which the last block to arrive makes the result. The weighted
// sum of a row and channel is 'sum(row, channel)', 'totals' are those of the powers.
template <int Rows, int Width, int Splits, class T, class Sum>
__device__ __forceinline__ void finish_part(const float (&totals)[Rows], int splits, int split, PartialRow<Width>* parts, unsigned* arrivals, T* out, Sum sum) {
  __shared__ bool is_last;
  for (int at = threadIdx.x; at < Rows * Width; at += kThreads) {
    const int r = at / Width, i = at % Width;
    const float whole = sum(r, i);
    if (splits == 1) {
      out[at] = convert<T>(totals[r] > 0.0f ? whole / totals[r] : 0.0f);
    } else {
      parts[split * Rows + r].sums[i] = whole;
    }
  }
  if (splits == 1) return;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = atomicAdd(arrivals, 1u) == splits - 1u;
    __threadfence();
  }
  __syncthreads();
  if (!is_last) return;
  if (threadIdx.x == 0) *arrivals = 0;
  combine_splits<Rows, Width, Splits>(parts, splits, out);
}

// The 'Rows' queries of one key head. k and v begin with its first visible key and value in the cache, of which there are
// 'count'. 'prepare()' puts the queries into shared memory, and, if 'Fresh', the key and value that
// follow those of the cache, in the block that takes them; the first of the cache are requested before it is called. 'parts' has
// room for all splits of this head, 'arrivals' counts those that are done; it is 0 before and after.
template <int Rows, int Width, int Splits, bool Fresh, class T, class Keys, class Values, class Prepare>
__device__ __forceinline__ void attend_cached(const T (&queries)[Rows][Width], Keys fresh_key, Values fresh_value, Keys k, Values v,
                                              int count, int split, float scale, PartialRow<Width>* parts, unsigned* arrivals, T* out, Prepare prepare) {
  static_assert(Splits <= 32 && Rows <= kWarps, "a lane weighs one split, a warp the scores of a query");
  // A warp takes kKeys keys at a time, of which kLanes lanes have kOwn channels each.
  constexpr int kOwn = Keys::kBytes && Values::kBytes && Rows <= 4 ? 16 : 8;
  constexpr int kLanes = Width / kOwn, kKeys = 32 / kLanes, kBatch = Width >= 128 ? 4 : Width == 64 ? 2 : 1;
  constexpr int kStep = kWarps * kKeys, kRound = kBatch * kStep;
  constexpr int kPadded = Rows <= 2 ? Rows : Rows <= 4 ? 4 : 8, kScores = kPadded * kBatch, kSums = kPadded * kOwn;
  __shared__ float scores[2][Rows][kRound], shrinks[2][Rows], totals[Rows];
  __shared__ __align__(16) float shared_sums[kWarps][Rows][Width];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, channel = lane % kLanes * kOwn;
  const int all = count + (Fresh ? 1 : 0);
  const auto [splits, part] = share_keys<Splits>(all);
  const int start = split * part, end = min(all, start + part), own_slot = warp * kKeys + lane / kLanes;
  typename Keys::template Piece<kOwn> keys[kBatch];
  typename Values::template Piece<kOwn> values[kBatch];
  const auto request = [&](auto from, auto& pieces, int first) {
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
      const int key = first + b * kStep + own_slot;
      pieces[b] = {};
      if (key < min(end, count)) pieces[b] = from.template piece<kOwn>(key, channel);
    }
  };
  if (split < splits) {
    request(k, keys, start);
    request(v, values, start);
  }
  prepare();
  __syncthreads();
  if (split >= splits) return;
  float sums[kSums] = {}, greatest = -infinity(), total = 0.0f;
  int turn = 0;
  for (int first = start; first < end; first += kRound, turn ^= 1) {
    float dots[kScores];
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
#pragma unroll
      for (int r = 0; r < kPadded; r++) dots[b * kPadded + r] = 0.0f;
      if (first + b * kStep + warp * kKeys >= end) continue;
      if (Fresh && count < end && first + b * kStep + own_slot == count) keys[b] = fresh_key.template piece<kOwn>(0, channel);
      float key[kOwn];
      keys[b].expand(key);
#pragma unroll
      for (int r = 0; r < kPadded; r++) {
        float dot = 0.0f;
#pragma unroll
        for (int part = 0; part < kOwn; part += 8) {
          float query[8];
          load8(&queries[min(r, Rows - 1)][channel + part], query);
#pragma unroll
          for (int i = 0; i < 8; i++) dot += query[i] * key[part + i];
        }
        dots[b * kPadded + r] = dot * keys[b].scale;
      }
    }
    const bool more = first + kRound < end;
    if (more) request(k, keys, first + kRound);
    scatter_sums<kScores, kLanes / 2, 1>(dots);
#pragma unroll
    for (int i = 0; i < (kScores + kLanes - 1) / kLanes; i++) {
      const int held = held_from<kScores, kLanes / 2, 1>() + i, slot = held / kPadded * kStep + own_slot;
      if (held % kPadded < Rows) scores[turn][held % kPadded][slot] = first + slot < end ? dots[i] * scale : -infinity();
    }
    __syncthreads();
    // A warp turns the scores of a query into powers.
    if (warp < Rows) {
      float own[kRound / 32], highest = greatest, part_total = 0.0f;
#pragma unroll
      for (int i = 0; i < kRound / 32; i++) {
        own[i] = scores[turn][warp][i * 32 + lane];
        highest = fmaxf(highest, own[i]);
      }
      highest = warp_reduce(highest, [](float a, float b) { return fmaxf(a, b); });
      const float shrink = greatest == -infinity() ? 0.0f : expf(greatest - highest);
#pragma unroll
      for (int i = 0; i < kRound / 32; i++) {
        const float power = own[i] == -infinity() ? 0.0f : expf(own[i] - highest);
        scores[turn][warp][i * 32 + lane] = power;
        part_total += power;
      }
      total = total * shrink + warp_sum(part_total);
      greatest = highest;
      if (lane == 0) shrinks[turn][warp] = shrink;
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < Rows; r++) {
      const float shrink = first > start ? shrinks[turn][r] : 0.0f;
#pragma unroll
      for (int i = 0; i < kOwn; i++) sums[r * kOwn + i] *= shrink;
    }
#pragma unroll
    for (int b = 0; b < kBatch; b++) {
      if (first + b * kStep + warp * kKeys >= end) continue;
      if (Fresh && count < end && first + b * kStep + own_slot == count) values[b] = fresh_value.template piece<kOwn>(0, channel);
      float value[kOwn];
      values[b].expand(value);
#pragma unroll
      for (int r = 0; r < Rows; r++) {
        const float power = scores[turn][r][b * kStep + own_slot] * values[b].scale;
#pragma unroll
        for (int i = 0; i < kOwn; i++) sums[r * kOwn + i] += power * value[i];
      }
    }
    if (more) request(v, values, first + kRound);
  }
  // What lanes and warps have of the same channels meets in shared memory.
  scatter_sums<kSums, 16, kLanes>(sums);
  constexpr int kHeld = kSums < kKeys ? 1 : kSums / kKeys, kAtOnce = kHeld % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < kHeld; i += kAtOnce) {
    const int held = held_from<kSums, 16, kLanes>() + i;
    float* at = &shared_sums[warp][min(held / kOwn, Rows - 1)][channel + held % kOwn];
    if (held / kOwn >= Rows) continue;
    if constexpr (kAtOnce == 4) {
      *reinterpret_cast<float4*>(at) = make_float4(sums[i], sums[i + 1], sums[i + 2], sums[i + 3]);
    } else {
      *at = sums[i];
    }
  }
  if (warp < Rows && lane == 0) {
    totals[warp] = total;
    if (splits > 1) {
      parts[split * Rows + warp].greatest = greatest;
      parts[split * Rows + warp].total = total;
    }
  }
  __syncthreads();
  finish_part<Rows, Width, Splits>(totals, splits, split, parts, arrivals, out, [&](int r, int i) {
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) sum += shared_sums[w][r][i];
    return sum;
  });
}
`;

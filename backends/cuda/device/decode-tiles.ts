/**
 * Attention of one token over caches of bytes on tensor cores: integers of 8 bits are exact in bf16, so that a byte costs few
 * instructions whatever the number of queries, and the kernel can read as fast as memory gives.
 */

export const decodeTiles = `// ---- attention of one token over bytes: warps take 16 keys at a time, all queries of a head at once ----

// Two signed bytes below 0x43 each, as bf16: 128 and the lower seven bits, less 128 or, where the sign is set, 256.
__device__ __forceinline__ unsigned signed_bytes(unsigned spread) {
  unsigned y;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(spread & 0xff7fff7fu), "r"(0x3f803f80u), "r"(spread & 0xff80ff80u | 0x80008000u));
  return y;
}
// The first, or the last, two bytes of a word as bf16, less zero points where there are any: 'offsets' are those, negated.
template <bool Zeros, bool Last> __device__ __forceinline__ unsigned two_bytes(unsigned word, unsigned offsets) {
  const unsigned pair = signed_bytes(__byte_perm(word, 0x43434343u, Last ? 0x4342 : 0x4140));
  if constexpr (!Zeros) return pair;
  unsigned y;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(pair), "r"(0x3f803f80u), "r"(offsets));
  return y;
}
// An 8 by 8 matrix of 16-bit numbers that a warp holds by rows, transposed.
__device__ __forceinline__ unsigned transposed(unsigned pair) {
  unsigned y;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(pair));
  return y;
}

// As attend_cached. Lane 4 g + t holds channels of the keys g and g + 8 of a tile, which are its rows, and of the values 2 t,
// 2 t + 1 and those eight behind them, whose channels are rows. In which order tensor cores meet channels, or keys, does not
// matter: each lane takes those that lie side by side.
template <int Rows, int Width, int Splits, bool Fresh, class Keys, class Values, class Prepare>
__device__ __forceinline__ void attend_tiles(const bf16 (&queries)[Rows][Width], Keys fresh_key, Values fresh_value, Keys k, Values v,
                                             int count, int split, float scale, PartialRow<Width>* parts, unsigned* arrivals, bf16* out, Prepare prepare) {
  static_assert(Splits <= 32 && Rows <= 8 && Width % 64 == 0 && Width <= 128, "a tile has eight queries");
  constexpr int kChunks = Width / 64, kOwn = Width / 8, kStep = kWarps * 16;
  constexpr float kLog2e = 1.4426950408889634f;
  __shared__ float warp_greatest[kWarps][8], warp_totals[kWarps][8], totals[Rows];
  __shared__ __align__(16) float shared_sums[kWarps][Rows][Width];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int all = count + (Fresh ? 1 : 0);
  const auto [splits, part] = share_keys<Splits>(all);
  const int start = split * part, end = min(all, start + part), cached = min(end, count);
  typename Keys::template Piece<16> keys[2][kChunks];
  typename Values::template Piece<kOwn> values[4];
  float value_scales[2];
  const auto key_of = [&](int first, int half) { return first + half * 8 + g; };
  const auto value_of = [&](int first, int j) { return first + j / 2 * 8 + 2 * t + j % 2; };
  const auto request_keys = [&](int first) {
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
      for (int c = 0; c < kChunks; c++) {
        keys[half][c] = {};
        if (key_of(first, half) < cached) keys[half][c] = k.template piece<16>(key_of(first, half), (4 * c + t) * 16);
      }
  };
  const auto request_values = [&](int first) {
#pragma unroll
    for (int j = 0; j < 4; j++) {
      values[j] = {};
      if (value_of(first, j) < cached) values[j] = v.template piece<kOwn>(value_of(first, j), g * kOwn);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) value_scales[half] = key_of(first, half) < cached ? v.scale(key_of(first, half)) : 0.0f;
  };
  if (split < splits) {
    request_keys(start + warp * 16);
    request_values(start + warp * 16);
  }
  prepare();
  __syncthreads();
  if (split >= splits) return;
  uint2 query[kChunks * 4];
#pragma unroll
  for (int i = 0; i < kChunks * 4; i++)
    query[i] = g < Rows ? *reinterpret_cast<const uint2*>(&queries[min(g, Rows - 1)][(i / 4 * 4 + t) * 16 + i % 4 * 4]) : make_uint2(0u, 0u);
  float sums[kOwn / 2][4] = {}, greatest[2] = {-infinity(), -infinity()}, total[2] = {};
  for (int first = start + warp * 16; first < end; first += kStep) {
    const bool newest = Fresh && count < end && count >= first && count < first + 16;
    if (newest) {
#pragma unroll
      for (int half = 0; half < 2; half++)
#pragma unroll
        for (int c = 0; c < kChunks; c++)
          if (key_of(first, half) == count) keys[half][c] = fresh_key.template piece<16>(0, (4 * c + t) * 16);
    }
    float scores[4] = {};
    const unsigned low_offset = keys[0][0].offsets(keys[0][0].zero), high_offset = keys[1][0].offsets(keys[1][0].zero);
#pragma unroll
    for (int i = 0; i < kChunks * 4; i++) {
      const unsigned low = keys[0][i / 4].two_complement(i % 4), high = keys[1][i / 4].two_complement(i % 4);
      const unsigned a[4] = {two_bytes<Keys::kZeros, false>(low, low_offset), two_bytes<Keys::kZeros, false>(high, high_offset),
                             two_bytes<Keys::kZeros, true>(low, low_offset), two_bytes<Keys::kZeros, true>(high, high_offset)};
      multiply(bf16{}, scores, a, query[i].x, query[i].y);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) scores[i] = key_of(first, i / 2) < end ? scores[i] * (scale * keys[i / 2][0].scale) : -infinity();
    const bool more = first + kStep < end;
    if (more) request_keys(first + kStep);
    float shrink[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float highest = fmaxf(greatest[r], fmaxf(scores[r], scores[2 + r]));
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) highest = fmaxf(highest, __shfl_xor_sync(kFullWarp, highest, offset));
      shrink[r] = power_of_two((greatest[r] - highest) * kLog2e);
      greatest[r] = highest;
#pragma unroll
      for (int i = r; i < 4; i += 2) scores[i] = power_of_two((scores[i] - highest) * kLog2e);
      total[r] = total[r] * shrink[r] + scores[r] + scores[2 + r];
    }
    if (newest) {
#pragma unroll
      for (int j = 0; j < 4; j++)
        if (value_of(first, j) == count) values[j] = fresh_value.template piece<kOwn>(0, g * kOwn);
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (key_of(first, half) == count) value_scales[half] = fresh_value.scale(0);
    }
    const unsigned low = transposed(pack(bf16{}, scores[0] * value_scales[0], scores[1] * value_scales[0]));
    const unsigned high = transposed(pack(bf16{}, scores[2] * value_scales[1], scores[3] * value_scales[1]));
    if (__any_sync(kFullWarp, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < kOwn / 2; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][e] *= shrink[e % 2];
    }
    const unsigned first_offsets = values[0].offsets(values[0].zero, values[1].zero), last_offsets = values[2].offsets(values[2].zero, values[3].zero);
#pragma unroll
    for (int i = 0; i < kOwn / 2; i++) {
      // Two channels of two values each, the values side by side.
      constexpr unsigned kFront = 0x5140, kBack = 0x7362;
      const unsigned x = __byte_perm(values[0].two_complement(i / 2), values[1].two_complement(i / 2), i % 2 == 0 ? kFront : kBack);
      const unsigned y = __byte_perm(values[2].two_complement(i / 2), values[3].two_complement(i / 2), i % 2 == 0 ? kFront : kBack);
      const unsigned a[4] = {two_bytes<Values::kZeros, false>(x, first_offsets), two_bytes<Values::kZeros, true>(x, first_offsets),
                             two_bytes<Values::kZeros, false>(y, last_offsets), two_bytes<Values::kZeros, true>(y, last_offsets)};
      multiply(bf16{}, sums[i], a, low, high);
    }
    if (more) request_values(first + kStep);
  }
#pragma unroll
  for (int r = 0; r < 2; r++) {
#pragma unroll
    for (int offset = 4; offset < 32; offset *= 2) total[r] += __shfl_xor_sync(kFullWarp, total[r], offset);
    const int row = 2 * t + r;
    if (g == 0) {
      warp_greatest[warp][row] = greatest[r];
      warp_totals[warp][row] = total[r];
    }
    if (row >= Rows) continue;
#pragma unroll
    for (int i = 0; i < kOwn / 2; i++) *reinterpret_cast<float2*>(&shared_sums[warp][row][g * kOwn + 2 * i]) = make_float2(sums[i][r], sums[i][2 + r]);
  }
  __syncthreads();
  // Warps have powers of their own: the greatest of the block makes them one, by a factor for each that takes the place of its
  // greatest score.
  if (threadIdx.x < Rows) {
    const int row = threadIdx.x;
    float highest = -infinity(), whole = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) highest = fmaxf(highest, warp_greatest[w][row]);
#pragma unroll
    for (int w = 0; w < kWarps; w++) {
      const float factor = warp_greatest[w][row] == -infinity() ? 0.0f : power_of_two((warp_greatest[w][row] - highest) * kLog2e);
      whole += factor * warp_totals[w][row];
      warp_greatest[w][row] = factor;
    }
    totals[row] = whole;
    if (splits > 1) {
      parts[split * Rows + row].greatest = highest;
      parts[split * Rows + row].total = whole;
    }
  }
  __syncthreads();
  finish_part<Rows, Width, Splits>(totals, splits, split, parts, arrivals, out, [&](int r, int i) {
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) sum += warp_greatest[w][r] * shared_sums[w][r][i];
    return sum;
  });
}
`;

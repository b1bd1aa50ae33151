/**
 * Attention of one token on tensor cores: what is read costs few instructions whatever the number of queries, so that the kernel
 * can read as fast as memory gives. Bytes are multiplied as bf16, which holds integers of 8 bits exactly.
 */

export const decodeTiles = `// ---- attention of one token on tensor cores: warps take 16 keys at a time, all queries of a head at once ----

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

// Lane 4 g + t has channels of the keys g and g + 8 of a tile, which are the rows of a product, and of the values 2 t, 2 t + 1 and
// those eight behind them, whose channels are rows. In which order tensor cores meet what they add does not matter: a lane takes
// channels that lie side by side. 'channel(i)' is the first that product i has of a lane.
template <class Source, int Width, bool Bytes = Source::kBytes> struct KeyTile {
  static constexpr int kChunks = Width / 32, kProducts = Width / 16;
  typename Source::template Piece<8> own[2][kChunks];
  __device__ static int channel(int i) { return (i / 2 * 4 + threadIdx.x % 4) * 8 + i % 2 * 4; }
  __device__ void take(int half, Source from, int row) {
#pragma unroll
    for (int c = 0; c < kChunks; c++) own[half][c] = from.template piece<8>(row, channel(2 * c));
  }
  __device__ float scale(int) const { return 1.0f; }
  __device__ void fragment(int i, unsigned (&a)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; e++) a[e] = own[e % 2][i / 2].word(i % 2 * 2 + e / 2);
  }
};
template <class Source, int Width> struct KeyTile<Source, Width, true> {
  static constexpr int kChunks = Width / 64, kProducts = Width / 16;
  typename Source::template Piece<16> own[2][kChunks];
  __device__ static int channel(int i) { return (i / 4 * 4 + threadIdx.x % 4) * 16 + i % 4 * 4; }
  __device__ void take(int half, Source from, int row) {
#pragma unroll
    for (int c = 0; c < kChunks; c++) own[half][c] = from.template piece<16>(row, channel(4 * c));
  }
  __device__ float scale(int half) const { return own[half][0].scale; }
  __device__ void fragment(int i, unsigned (&a)[4]) const {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const unsigned word = own[half][i / 4].two_complement(i % 4), offsets = own[half][0].offsets(own[half][0].zero);
      a[half] = two_bytes<Source::kZeros, false>(word, offsets);
      a[2 + half] = two_bytes<Source::kZeros, true>(word, offsets);
    }
  }
};
template <class Source, int Width, bool Bytes = Source::kBytes> struct ValueTile {
  typename Source::template Piece<8> own[4][Width / 64];
  __device__ static int channel(int i) { return (i / 4 * 8 + threadIdx.x % 32 / 4) * 8 + i % 4 * 2; }
  __device__ void take(int j, Source from, int row) {
#pragma unroll
    for (int c = 0; c < Width / 64; c++) own[j][c] = from.template piece<8>(row, channel(4 * c));
  }
  __device__ void fragment(int i, unsigned (&a)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; e++) a[e] = __byte_perm(own[e / 2 * 2][i / 4].word(i % 4), own[e / 2 * 2 + 1][i / 4].word(i % 4), e % 2 == 0 ? 0x5410 : 0x7632);
  }
};
template <class Source, int Width> struct ValueTile<Source, Width, true> {
  static constexpr int kOwn = Width / 8;
  typename Source::template Piece<kOwn> own[4];
  __device__ static int channel(int i) { return threadIdx.x % 32 / 4 * kOwn + 2 * i; }
  __device__ void take(int j, Source from, int row) { own[j] = from.template piece<kOwn>(row, channel(0)); }
  __device__ void fragment(int i, unsigned (&a)[4]) const {
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      // Two channels of two values each, the values side by side.
      const auto &first = own[2 * pair], &second = own[2 * pair + 1];
      const unsigned word = __byte_perm(first.two_complement(i / 2), second.two_complement(i / 2), i % 2 == 0 ? 0x5140 : 0x7362);
      const unsigned offsets = first.offsets(first.zero, second.zero);
      a[2 * pair] = two_bytes<Source::kZeros, false>(word, offsets);
      a[2 * pair + 1] = two_bytes<Source::kZeros, true>(word, offsets);
    }
  }
};

// As attend_cached.
template <int Rows, int Width, int Splits, bool Fresh, class T, class Keys, class Values, class Prepare>
__device__ __forceinline__ void attend_tiles(const T (&queries)[Rows][Width], Keys fresh_key, Values fresh_value, Keys k, Values v,
                                             int count, int split, float scale, PartialRow<Width>* parts, unsigned* arrivals, T* out, Prepare prepare) {
  static_assert(Splits <= 32 && Rows <= 8 && Width % 64 == 0 && Width <= 128, "a tile has eight queries");
  constexpr int kProducts = Width / 16, kStep = kWarps * 16;
  constexpr float kLog2e = 1.4426950408889634f;
  __shared__ float warp_greatest[kWarps][8], warp_totals[kWarps][8], totals[Rows];
  __shared__ __align__(16) float shared_sums[kWarps][Rows][Width];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int all = count + (Fresh ? 1 : 0);
  const auto [splits, part] = share_keys<Splits>(all);
  const int start = split * part, end = min(all, start + part), cached = min(end, count);
  KeyTile<Keys, Width> keys;
  ValueTile<Values, Width> values;
  float value_scales[2];
  const auto key_of = [&](int first, int half) { return first + half * 8 + g; };
  const auto value_of = [&](int first, int j) { return first + j / 2 * 8 + 2 * t + j % 2; };
  const auto request_keys = [&](int first) {
    keys = {};
#pragma unroll
    for (int half = 0; half < 2; half++)
      if (key_of(first, half) < cached) keys.take(half, k, key_of(first, half));
  };
  const auto request_values = [&](int first) {
    values = {};
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (value_of(first, j) < cached) values.take(j, v, value_of(first, j));
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
  uint2 query[kProducts];
#pragma unroll
  for (int i = 0; i < kProducts; i++)
    query[i] = g < Rows ? *reinterpret_cast<const uint2*>(&queries[min(g, Rows - 1)][keys.channel(i)]) : make_uint2(0u, 0u);
  float sums[kProducts][4] = {}, greatest[2] = {-infinity(), -infinity()}, total[2] = {};
  for (int first = start + warp * 16; first < end; first += kStep) {
    const bool newest = Fresh && count < end && count >= first && count < first + 16;
    if (newest) {
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (key_of(first, half) == count) keys.take(half, fresh_key, 0);
    }
    float scores[4] = {};
#pragma unroll
    for (int i = 0; i < kProducts; i++) {
      unsigned a[4];
      keys.fragment(i, a);
      multiply(T{}, scores, a, query[i].x, query[i].y);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) scores[i] = key_of(first, i / 2) < end ? scores[i] * (scale * keys.scale(i / 2)) : -infinity();
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
        if (value_of(first, j) == count) values.take(j, fresh_value, 0);
#pragma unroll
      for (int half = 0; half < 2; half++)
        if (key_of(first, half) == count) value_scales[half] = fresh_value.scale(0);
    }
    const unsigned low = transposed(pack(T{}, scores[0] * value_scales[0], scores[1] * value_scales[0]));
    const unsigned high = transposed(pack(T{}, scores[2] * value_scales[1], scores[3] * value_scales[1]));
    if (__any_sync(kFullWarp, shrink[0] != 1.0f || shrink[1] != 1.0f)) {
#pragma unroll
      for (int i = 0; i < kProducts; i++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][e] *= shrink[e % 2];
    }
#pragma unroll
    for (int i = 0; i < kProducts; i++) {
      unsigned a[4];
      values.fragment(i, a);
      multiply(T{}, sums[i], a, low, high);
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
    for (int i = 0; i < kProducts; i++) *reinterpret_cast<float2*>(&shared_sums[warp][row][values.channel(i)]) = make_float2(sums[i][r], sums[i][2 + r]);
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

/**
 * Attention of many queries on tensor cores: tiles of queries stay in registers while tiles of keys and values pass, with
 * an online softmax (Dao et al. 2022), so that no matrix of scores is ever in memory.
 */

export const flashAttention = `// ---- attention of many queries: a block takes 128 queries of a head, a warp 16 of them, so many keys at a time ----

constexpr int kQueryTile = 128;
constexpr int kMostStaticShared = 48 * 1024;

// Rows 'stride' elements apart, from the first token and the head in question on.
template <class T> struct Rows {
  T* data;
  long long stride;
};
// The query of row i sees the keys from max(0, first + i + 1 - window) (0 without a window) to min(length, first + i + 1),
// or all of them.
struct Visible {
  int length, first, window;
  bool causal;
  __device__ int end(int row) const { return causal ? max(0, min(length, first + row + 1)) : length; }
  __device__ int start(int row) const { return causal && window > 0 ? max(0, first + row + 1 - window) : 0; }
};

__device__ __forceinline__ void store_shared(unsigned address, unsigned a, unsigned b, unsigned c, unsigned d) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
__device__ __forceinline__ void load_transposed(unsigned address, unsigned (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address));
}
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(kFullWarp, x, 1);
  return x + __shfl_xor_sync(kFullWarp, x, 2);
}

// The end of a warp: rows 'row' and 'row + 8' of the result, whose sums the quads of lanes have; 'sum(c, i)' is element i of what
// a lane has of the eight channels from 8 c on.
template <int Width, class T, class Sum>
__device__ __forceinline__ void store_attended(Rows<T> out, int lane, int row, int queries, const float (&total)[2], Sum sum) {
#pragma unroll
  for (int high = 0; high < 2; high++) {
    const int r = row + high * 8;
    const float whole = quad_sum(total[high]);
    const float inverse = whole > 0.0f ? 1.0f / whole : 0.0f;
    if (r >= queries) continue;
#pragma unroll
    for (int c = 0; c < Width / 8; c++)
      store_pair(out.data + r * out.stride + c * 8 + lane % 4 * 2, sum(c, high * 2) * inverse, sum(c, high * 2 + 1) * inverse);
  }
}

// Tiles in shared memory: 16-bit floats, in pieces of 16 channels. Rows are half a piece longer than their channels, so that
// eight of them lie in different banks.
template <int Width> constexpr int kPiecesOf = (Width + 15) / 16;
template <int Width> constexpr int kRowBytesOf = kPiecesOf<Width> * 32 + 16;

// A tile on its way to shared memory, from the row 'key' on; rows from 'end' on are zeros. Floats are copied asynchronously,
template <int Width, int kKeyTile, class T, class Source, bool Bytes = Source::kBytes> struct Passing {
  __device__ void request(unsigned to, Source from, int key, int end) {
    constexpr int kPieces = kPiecesOf<Width> * 2;
    for (int i = threadIdx.x; i < kKeyTile * kPieces; i += kThreads) {
      const int r = i / kPieces, piece = i % kPieces;
      const bool valid = key + r < end && piece < Width / 8;
      copy_async(to + r * kRowBytesOf<Width> + piece * 16, from.data + (valid ? (key + r) * from.stride + piece * 8 : 0), valid);
    }
    asm volatile("cp.async.commit_group;");
  }
  __device__ void land(unsigned) { asm volatile("cp.async.wait_group 0;"); }
};
// bytes wait in registers, and are scaled and rounded on their way from there.
template <int Width, int kKeyTile, class T, class Source> struct Passing<Width, kKeyTile, T, Source, true> {
  static constexpr int kCount = Width % 16 == 0 ? 16 : 8, kPieces = kPiecesOf<Width> * 16 / kCount, kAll = kKeyTile * kPieces;
  static constexpr int kOwn = (kAll + kThreads - 1) / kThreads;
  typename Source::template Piece<kCount> own[kOwn];
  __device__ void request(unsigned, Source from, int key, int end) {
#pragma unroll
    for (int j = 0; j < kOwn; j++) {
      const int i = j * kThreads + threadIdx.x, r = i / kPieces, channel = i % kPieces * kCount;
      own[j] = {};
      if (i < kAll && key + r < end && channel < Width) own[j] = from.template piece<kCount>(key + r, channel);
    }
  }
  __device__ void land(unsigned to) {
#pragma unroll
    for (int j = 0; j < kOwn; j++) {
      const int i = j * kThreads + threadIdx.x, r = i / kPieces, channel = i % kPieces * kCount;
      float x[kCount];
      own[j].expand(x);
      unsigned pairs[kCount / 2];
#pragma unroll
      for (int e = 0; e < kCount / 2; e++) pairs[e] = pack(T{}, x[2 * e] * own[j].scale, x[2 * e + 1] * own[j].scale);
#pragma unroll
      for (int e = 0; e < kCount / 2; e += 4)
        if (i < kAll) store_shared(to + r * kRowBytesOf<Width> + (channel + 2 * e) * 2, pairs[e], pairs[e + 1], pairs[e + 2], pairs[e + 3]);
    }
  }
};

template <int Width, int kKeyTile, class T, class Keys, class Values>
__device__ __forceinline__ void attend_tile(int tile, int queries, Rows<const T> q, Keys k, Values v, Visible visible, float scale, Rows<T> out) {
  constexpr int kDepth = kPiecesOf<Width>, kColumns = Width / 8, kRowBytes = kRowBytesOf<Width>;
  // Where two tiles of keys and values fit, the next are on their way while these are read; bytes are so in registers.
  constexpr bool kBytes = Keys::kBytes || Values::kBytes;
  constexpr int kTileBytes = kKeyTile * kRowBytes, kBuffers = !kBytes && 4 * kTileBytes <= kMostStaticShared ? 2 : 1;
  __shared__ __align__(16) char keys[kBuffers * kTileBytes], values[kBuffers * kTileBytes];
  const unsigned keys_at = static_cast<unsigned>(__cvta_generic_to_shared(keys)), values_at = static_cast<unsigned>(__cvta_generic_to_shared(values));
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int first = tile * kQueryTile, row = first + warp * 16 + lane / 4;
  const int last = min(first + kQueryTile, queries) - 1;
  const int begin = visible.start(first) / kKeyTile * kKeyTile, end = visible.end(last);

  Passing<Width, kKeyTile, T, Keys> passing_keys;
  Passing<Width, kKeyTile, T, Values> passing_values;
  passing_keys.request(keys_at, k, begin, end);
  if (kBuffers == 2) passing_values.request(values_at, v, begin, end);
  unsigned query[kDepth][4];
#pragma unroll
  for (int d = 0; d < kDepth; d++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int r = row + i % 2 * 8, column = d * 16 + i / 2 * 8 + lane % 4 * 2;
      query[d][i] = r < queries && column < Width ? *reinterpret_cast<const unsigned*>(q.data + r * q.stride + column) : 0u;
    }
  // Powers of two: their exponents are those of e times log2(e).
  const float factor = scale * 1.4426950408889634f;
  const int row_start[2] = {visible.start(row), visible.start(row + 8)}, row_end[2] = {visible.end(row), visible.end(row + 8)};
  float greatest[2] = {-infinity(), -infinity()}, total[2] = {}, sums[kColumns][4] = {};
  for (int key = begin, buffer = 0; key < end; key += kKeyTile, buffer = kBuffers - 1 - buffer) {
    passing_keys.land(keys_at);
    __syncthreads();
    if (kBuffers == 1) {
      passing_values.request(values_at, v, key, end);
    } else if (key + kKeyTile < end) {
      passing_keys.request(keys_at + (1 - buffer) * kTileBytes, k, key + kKeyTile, end);
      passing_values.request(values_at + (1 - buffer) * kTileBytes, v, key + kKeyTile, end);
    }
    float scores[kKeyTile / 8][4] = {};
#pragma unroll
    for (int d = 0; d < kDepth; d++)
#pragma unroll
      for (int pair = 0; pair < kKeyTile / 16; pair++) {
        unsigned b[4];
        load_matrices(keys_at + buffer * kTileBytes + (pair * 16 + lane % 8 + lane / 16 * 8) * kRowBytes + (d * 2 + lane / 8 % 2) * 16, b);
        multiply(T{}, scores[2 * pair], query[d], b[0], b[1]);
        multiply(T{}, scores[2 * pair + 1], query[d], b[2], b[3]);
      }
    // Tiles that all queries of the block see whole need no mask.
    const bool whole = key >= visible.start(last) && key + kKeyTile <= visible.end(first);
    if (!whole) {
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int at = key + n * 8 + lane % 4 * 2 + i % 2;
          if (at < row_start[i / 2] || at >= row_end[i / 2]) scores[n][i] = -infinity();
        }
    }
#pragma unroll
    for (int high = 0; high < 2; high++) {
      float highest = greatest[high];
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; n++) highest = fmaxf(highest, fmaxf(scores[n][high * 2], scores[n][high * 2 + 1]));
      highest = quad_max(highest);
      const float base = highest == -infinity() ? 0.0f : highest * factor;
      const float shrink = power_of_two(greatest[high] * factor - base);
      greatest[high] = highest;
      float sum = 0.0f;
#pragma unroll
      for (int n = 0; n < kKeyTile / 8; n++)
#pragma unroll
        for (int i = high * 2; i < high * 2 + 2; i++) {
          scores[n][i] = power_of_two(scores[n][i] * factor - base);
          sum += scores[n][i];
        }
      total[high] = total[high] * shrink + sum;
#pragma unroll
      for (int c = 0; c < kColumns; c++) {
        sums[c][high * 2] *= shrink;
        sums[c][high * 2 + 1] *= shrink;
      }
    }
    if (kBuffers == 1) {
      passing_values.land(values_at);
      __syncthreads();
      if (key + kKeyTile < end) passing_keys.request(keys_at, k, key + kKeyTile, end);
    }
#pragma unroll
    for (int piece = 0; piece < kKeyTile / 16; piece++) {
      const unsigned powers[4] = {pack(T{}, scores[2 * piece][0], scores[2 * piece][1]), pack(T{}, scores[2 * piece][2], scores[2 * piece][3]),
                                  pack(T{}, scores[2 * piece + 1][0], scores[2 * piece + 1][1]), pack(T{}, scores[2 * piece + 1][2], scores[2 * piece + 1][3])};
#pragma unroll
      for (int c = 0; c < kColumns; c += 2) {
        unsigned b[4];
        load_transposed(values_at + buffer * kTileBytes + (piece * 16 + lane % 16) * kRowBytes + (c + lane / 16) * 16, b);
        multiply(T{}, sums[c], powers, b[0], b[1]);
        if (c + 1 < kColumns) multiply(T{}, sums[c + 1 < kColumns ? c + 1 : c], powers, b[2], b[3]);
      }
    }
  }
  store_attended<Width>(out, lane, row, queries, total, [&](int c, int i) { return sums[c][i]; });
}
`;

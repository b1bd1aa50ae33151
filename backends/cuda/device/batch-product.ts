/**
 * Products of up to 32 rows on tensor cores, bound by reading the weights once: floats of 16 bits, or integers of 8 and 4
 * bits with scales, which are widened exactly in registers. `element` and `prepare` are as in vector-product.ts.
 */

export const batchProduct = `// ---- out[m, n] = element(m, n, sums_r), sums_r = sum_k x[m, k] w_r[n, k], for up to 32 rows m, on tensor cores ----
//
// A thread reads kOwn consecutive weights of a row straight into the fragments of mma.sync. The order in which a product
// adds its terms is free, so x is read in the order that the weights come in. The warps of a block share 16 * Tiles rows of
// each weight and take turns along k; their sums meet in shared memory, in kWarps * Rows * (Count * Tiles * 16 + 4) floats.

__device__ __forceinline__ void multiply_tile(bf16, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void multiply_tile(f16, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ unsigned add_pairs(bf16, unsigned a, unsigned b) {
  unsigned y;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(0x3f803f80u), "r"(b));
  return y;
}
__device__ __forceinline__ unsigned add_pairs(f16, unsigned a, unsigned b) {
  unsigned y;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}

// What the weights of one row in one step are scaled by, and moved by when they are widened.
struct Scaling { float scale = 1.0f; unsigned offset = 0; };

// Floats: a thread reads eight at a time.
template <class T, int Inner> struct PlainWeights {
  using Element = T;
  static constexpr int kOwn = 8, kWords = 4;
  static constexpr bool kScaled = false, kGrouped = false;
  const T* weights;
  __device__ __forceinline__ void request(int row, int k, unsigned (&words)[kWords]) const { load_streaming(weights + (long long)row * Inner + k, words); }
  __device__ __forceinline__ Scaling scaling(int, int) const { return {}; }
  __device__ static __forceinline__ unsigned pair(const unsigned (&words)[kWords], int p, unsigned) { return words[p]; }
  __device__ static __forceinline__ void arrange(unsigned (&)[kOwn / 2]) {}
};

// An integer q becomes a float by being put into the mantissa of a power of two, from which kBase is taken: all exact. kOffset
// is -kBase, as a pair.
// Bits 0 to 6 of bf16 hold seven bits, so the top bit of eight goes into the offset.
template <class T, class Q> struct Widening;
template <> struct Widening<bf16, signed char> {
  static constexpr int kBits = 8;
  static constexpr float kBase = 0.0f;
  static constexpr unsigned kOffset = 0u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return add_pairs(bf16{}, (spread & 0x007f007fu) | 0x43004300u, (spread & 0x00800080u) | 0xc300c300u); }
};
template <> struct Widening<bf16, unsigned char> {
  static constexpr int kBits = 8;
  static constexpr float kBase = -128.0f;
  static constexpr unsigned kOffset = 0x43004300u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return Widening<bf16, signed char>::widen(spread ^ 0x00800080u); }
};
template <> struct Widening<bf16, i4> {
  static constexpr int kBits = 4;
  static constexpr float kBase = 136.0f;
  static constexpr unsigned kOffset = 0xc308c308u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread ^ 0x43084308u; }
};
template <> struct Widening<bf16, u4> {
  static constexpr int kBits = 4;
  static constexpr float kBase = 128.0f;
  static constexpr unsigned kOffset = 0xc300c300u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread | 0x43004300u; }
};
template <> struct Widening<f16, signed char> {
  static constexpr int kBits = 8;
  static constexpr float kBase = 1152.0f;
  static constexpr unsigned kOffset = 0xe480e480u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread ^ 0x64806480u; }
};
template <> struct Widening<f16, unsigned char> {
  static constexpr int kBits = 8;
  static constexpr float kBase = 1024.0f;
  static constexpr unsigned kOffset = 0xe400e400u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread | 0x64006400u; }
};
template <> struct Widening<f16, i4> {
  static constexpr int kBits = 4;
  static constexpr float kBase = 1032.0f;
  static constexpr unsigned kOffset = 0xe408e408u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread ^ 0x64086408u; }
};
template <> struct Widening<f16, u4> {
  static constexpr int kBits = 4;
  static constexpr float kBase = 1024.0f;
  static constexpr unsigned kOffset = 0xe400e400u;
  static __device__ __forceinline__ unsigned widen(unsigned spread) { return spread | 0x64006400u; }
};


// scale * (q - zero), of which 'Group' share a scale along k (0: all); a thread reads 4 * Words bytes at a time.
template <class T, class Q, class S, int Inner, int Group, int Words, bool Zeros> struct QuantizedWeights {
  using Element = T;
  using Codes = Widening<T, Q>;
  static constexpr int kWords = Words, kOwn = Words * 32 / Codes::kBits, kGroups = Group == 0 ? 1 : (Inner + Group - 1) / Group;
  static constexpr bool kScaled = true, kGrouped = kGroups > 1;
  static_assert(Inner % (4 * kOwn) == 0 && Group % (4 * kOwn) == 0, "four threads read one group");
  const Q* codes;
  const S* scales;
  const Q* zeros;
  __device__ __forceinline__ void request(int row, int k, unsigned (&words)[kWords]) const {
    load_streaming(reinterpret_cast<const char*>(codes) + ((long long)row * Inner + k) * Codes::kBits / 8, words);
  }
  __device__ __forceinline__ Scaling scaling(int row, int k) const {
    const long long at = (long long)row * kGroups + (Group == 0 ? 0 : k / Group);
    if constexpr (!Zeros) return {load(scales[at]), 0};
    const float offset = -(Codes::kBase + zero_point(zeros, at));
    return {load(scales[at]), pack(T{}, offset, offset)};
  }
  // Pair p of a thread's weights: neighbours, or of four bits those whose nibbles lie 16 bits apart.
  __device__ static __forceinline__ unsigned pair(const unsigned (&words)[kWords], int p, unsigned offset) {
    const unsigned spread = Codes::kBits == 8 ? __byte_perm(words[p / 2], 0, p % 2 == 0 ? 0x4140 : 0x4342) : words[p / 4] >> p % 4 * 4 & 0x000f000fu;
    const unsigned widened = Codes::widen(spread);
    if constexpr (!Zeros && Codes::kOffset == 0) return widened;
    return add_pairs(T{}, widened, Zeros ? offset : Codes::kOffset);
  }
  // The same order for x.
  __device__ static __forceinline__ void arrange(unsigned (&x)[kOwn / 2]) {
    if constexpr (Codes::kBits == 4) {
#pragma unroll
      for (int i = 0; i < kOwn / 2; i += 4) {
        const unsigned a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        x[i] = __byte_perm(a, c, 0x5410);
        x[i + 1] = __byte_perm(a, c, 0x7632);
        x[i + 2] = __byte_perm(b, d, 0x5410);
        x[i + 3] = __byte_perm(b, d, 0x7632);
      }
    }
  }
};

template <int Rows, int N, int K, int Tiles, int Ahead, int Count, class W, class Out, class Prepare, class Element>
__device__ __forceinline__ void batch_product(int block, const W (&weights)[Count], Out* out, float* shared, Prepare prepare, Element element) {
  using T = typename W::Element;
  constexpr int kOwn = W::kOwn, kSpan = 4 * kOwn, kSteps = K / kSpan, kRowTiles = (Rows + 7) / 8, kColumns = Tiles * 16;
  constexpr int kPadded = Count * kColumns + 4;
  static_assert(K % kSpan == 0, "whole steps");
  auto& shared_sums = *reinterpret_cast<float (*)[kWarps][Rows][kPadded]>(shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, own_k = lane % 4 * kOwn;
  const auto row_of = [&](int tile, int half) { return min(block * kColumns + tile * 16 + half * 8 + group, N - 1); };

  unsigned next[Ahead][Count][Tiles][2][W::kWords];
  Scaling scalings[W::kGrouped ? Ahead : 1][Count][Tiles][2];
  const auto request = [&](int slot, int step) {
#pragma unroll
    for (int w = 0; w < Count; w++)
#pragma unroll
      for (int tile = 0; tile < Tiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          weights[w].request(row_of(tile, half), step * kSpan + own_k, next[slot][w][tile][half]);
          if (W::kGrouped) scalings[slot][w][tile][half] = weights[w].scaling(row_of(tile, half), step * kSpan);
        }
  };
  if constexpr (!W::kGrouped) {
#pragma unroll
    for (int w = 0; w < Count; w++)
#pragma unroll
      for (int tile = 0; tile < Tiles; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) scalings[0][w][tile][half] = weights[w].scaling(row_of(tile, half), 0);
  }
#pragma unroll
  for (int a = 0; a < Ahead; a++)
    if (warp + a * kWarps < kSteps) request(a, warp + a * kWarps);
  const T* x = prepare();

  float sums[Count][Tiles][kRowTiles][4] = {};
  for (int first = warp; first < kSteps; first += Ahead * kWarps) {
#pragma unroll
    for (int a = 0; a < Ahead; a++) {
      const int step = first + a * kWarps;
      if (step >= kSteps) break;
      unsigned rows[kRowTiles][kOwn / 2];
#pragma unroll
      for (int m = 0; m < kRowTiles; m++) {
        const bool valid = m * 8 + group < Rows;
        const uint4* from = reinterpret_cast<const uint4*>(x + (valid ? m * 8 + group : 0) * K + step * kSpan + own_k);
#pragma unroll
        for (int i = 0; i < kOwn / 8; i++) {
          const uint4 v = valid ? from[i] : make_uint4(0, 0, 0, 0);
          rows[m][4 * i] = v.x; rows[m][4 * i + 1] = v.y; rows[m][4 * i + 2] = v.z; rows[m][4 * i + 3] = v.w;
        }
        W::arrange(rows[m]);
      }
#pragma unroll
      for (int w = 0; w < Count; w++)
#pragma unroll
        for (int tile = 0; tile < Tiles; tile++) {
          const auto& own = next[a][w][tile];
          const auto& scaling = scalings[W::kGrouped ? a : 0][w][tile];
          float parts[kRowTiles][4] = {};
#pragma unroll
          for (int s = 0; s < kOwn / 4; s++) {
            const unsigned fragment[4] = {W::pair(own[0], 2 * s, scaling[0].offset), W::pair(own[1], 2 * s, scaling[1].offset),
                                          W::pair(own[0], 2 * s + 1, scaling[0].offset), W::pair(own[1], 2 * s + 1, scaling[1].offset)};
#pragma unroll
            for (int m = 0; m < kRowTiles; m++)
              multiply_tile(T{}, W::kGrouped ? parts[m] : sums[w][tile][m], fragment, rows[m][2 * s], rows[m][2 * s + 1]);
          }
          if constexpr (W::kGrouped) {
#pragma unroll
            for (int m = 0; m < kRowTiles; m++)
#pragma unroll
              for (int i = 0; i < 4; i++) sums[w][tile][m][i] += scaling[i / 2].scale * parts[m][i];
          }
        }
      if (step + Ahead * kWarps < kSteps) request(a, step + Ahead * kWarps);
    }
  }
#pragma unroll
  for (int w = 0; w < Count; w++)
#pragma unroll
    for (int tile = 0; tile < Tiles; tile++)
#pragma unroll
      for (int m = 0; m < kRowTiles; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int row = m * 8 + lane % 4 * 2 + i % 2;
          const float scale = W::kScaled && !W::kGrouped ? scalings[0][w][tile][i / 2].scale : 1.0f;
          if (row < Rows) shared_sums[warp][row][w * kColumns + tile * 16 + i / 2 * 8 + group] = scale * sums[w][tile][m][i];
        }
  __syncthreads();
  for (int at = threadIdx.x; at < Rows * kColumns; at += kThreads) {
    const int row = at / kColumns, column = block * kColumns + at % kColumns;
    if (column >= N) continue;
    float own[Count] = {};
#pragma unroll
    for (int w = 0; w < Count; w++)
#pragma unroll
      for (int other = 0; other < kWarps; other++) own[w] += shared_sums[other][row][w * kColumns + at % kColumns];
    out[row * N + column] = convert<Out>(element(row, column, own));
  }
}
`;

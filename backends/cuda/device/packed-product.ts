/**
 * Products of one row with integers of 8 and 4 bits, bound by reading these once. Integer units multiply four pairs in an
 * instruction, so x becomes numbers of 16 bits in fixed point, with a power of two for every 16 or 32 neighbours: what a
 * bf16 has is kept down to 2^-8 of the greatest of them, and nothing is off by more than 2^-16 of it. Products and their
 * sums are exact until they are scaled. `element` and `prepare` are as in vector-product.ts.
 */

export const zeroPoints = `// ---- zero points of integer weights ----

__device__ __forceinline__ int zero_point(const i4* p, long long at) { return nibble(p, at); }
__device__ __forceinline__ int zero_point(const u4* p, long long at) { return nibble(p, at); }
template <class Q> __device__ __forceinline__ int zero_point(const Q* p, long long at) { return load(p[at]); }
`;

export const packedProduct = `// ---- out[n] = element(0, n, sums_r), sums_r = sum_k x[k] w_r[n, k] for one row x and integers w_r: each warp owns columns ----

// sum + the four products of bytes, of which either side may be signed.
template <bool SignedA, bool SignedB> __device__ __forceinline__ int add_products(unsigned a, unsigned b, int sum) {
  int y;
  if constexpr (SignedA && SignedB) asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
  if constexpr (SignedA && !SignedB) asm("dp4a.s32.u32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
  if constexpr (!SignedA && SignedB) asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
  if constexpr (!SignedA && !SignedB) asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
  return y;
}

// Four bits become the upper half of a byte, which is the integer times 16.
template <class Q> struct Codes;
template <> struct Codes<signed char> { static constexpr bool kSigned = true; static constexpr int kBits = 8; };
template <> struct Codes<unsigned char> { static constexpr bool kSigned = false; static constexpr int kBits = 8; };
template <> struct Codes<i4> { static constexpr bool kSigned = true; static constexpr int kBits = 4; };
template <> struct Codes<u4> { static constexpr bool kSigned = false; static constexpr int kBits = 4; };

// What a thread reads of a row of weights at a time, and what belongs to it where groups have scales.
struct PackedVector { uint4 codes; float scale; int zero; };

// scale * (q - zero), of which 'Group' share a scale along k (0: all). A vector is 16 bytes of weights.
template <class Q, class S, int Inner, int Group, bool Zeros> struct PackedWeights {
  static constexpr int kBits = Codes<Q>::kBits, kVector = 128 / kBits, kQuads = kVector / 16, kVectors = Inner / kVector;
  static constexpr int kGroups = Group == 0 ? 1 : (Inner + Group - 1) / Group;
  static constexpr int kTimes = kBits == 4 ? 16 : 1;
  static constexpr bool kGrouped = kGroups > 1, kZeros = Zeros, kSigned = Codes<Q>::kSigned;
  static_assert(Inner % kVector == 0 && Group % kVector == 0, "a vector has one scale");
  const Q* codes;
  const S* scales;
  const Q* zeros;
  __device__ __forceinline__ long long group(int row, int v) const { return (long long)row * kGroups + (kGrouped ? v * kVector / Group : 0); }
  __device__ __forceinline__ PackedVector request(int row, int v) const {
    PackedVector made{load_streaming(reinterpret_cast<const char*>(codes) + ((long long)row * kVectors + v) * 16), 1.0f, 0};
    if (kGrouped) made.scale = load(scales[group(row, v)]);
    if constexpr (Zeros) made.zero = zero_point(zeros, group(row, v));
    return made;
  }
  // What all of a row is scaled by.
  __device__ __forceinline__ float scale(int row) const { return kGrouped ? 1.0f : load(scales[row]); }
};

// x: the upper and the lower bytes of its numbers in the order that weights come in, by vectors; the value of a unit; and,
// for zero points, the sum of the numbers.
template <class W> struct FixedPoint {
  uint4 upper[W::kQuads][W::kVectors], lower[W::kQuads][W::kVectors];
  float unit[W::kVectors];
  int sum[W::kZeros ? W::kVectors : 1];
};

__device__ __forceinline__ float maximum_magnitude(float a, float b) {
  float y;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(a), "f"(fabsf(b)));
  return y;
}

// Four numbers, as words that hold them in their lower halves: a word of their upper bytes and one of their lower bytes.
__device__ __forceinline__ void split_bytes(const unsigned (&n)[4], unsigned& upper, unsigned& lower) {
  const unsigned first = __byte_perm(n[0], n[1], 0x5410), second = __byte_perm(n[2], n[3], 0x5410);
  upper = __byte_perm(first, second, 0x7531);
  lower = __byte_perm(first, second, 0x6420);
}

// A thread makes 16 numbers at a time, so that two share a vector of 32.
template <class W, class T> __device__ __forceinline__ void make_fixed_point(const T* x, FixedPoint<W>& made) {
  constexpr int kParts = W::kQuads * W::kVectors, kTurns = (kParts + kThreads - 1) / kThreads, kLeastExponent = 19;
  static_assert(W::kQuads <= 2, "lanes exchange with one other");
  Eight<T> raw[kTurns][2];
#pragma unroll
  for (int turn = 0; turn < kTurns; turn++)
#pragma unroll
    for (int i = 0; i < 2; i++) raw[turn][i] = load_eight(x + min(turn * kThreads + static_cast<int>(threadIdx.x), kParts - 1) * 16 + i * 8);
#pragma unroll
  for (int turn = 0; turn < kTurns; turn++) {
    const int part = turn * kThreads + threadIdx.x, v = part / W::kQuads, q = part % W::kQuads;
    if (part - static_cast<int>(threadIdx.x) % 32 >= kParts) break;
    float values[2][8], greatest = 0.0f;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      expand(raw[turn][i], values[i]);
#pragma unroll
      for (int j = 0; j < 8; j++) greatest = maximum_magnitude(greatest, values[i][j]);
    }
    if (W::kQuads == 2) greatest = maximum_magnitude(greatest, __shfl_xor_sync(kFullWarp, greatest, 1));
    // The greatest lies between 2^14 and 2^15 units.
    const int exponent = max(static_cast<int>(__float_as_uint(greatest) >> 23), kLeastExponent);
    const float units = __uint_as_float(static_cast<unsigned>(268 - exponent) << 23);
    const float unit = __uint_as_float(static_cast<unsigned>(exponent - (W::kTimes == 16 ? 18 : 14)) << 23);
    int sum = 0;
    unsigned upper[4], lower[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      unsigned numbers[4];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        // Of four bits, words hold the even ones of eight and then the odd ones.
        const int at = W::kBits == 8 ? i * 4 + j : i / 2 * 8 + 2 * j + i % 2;
        numbers[j] = __float_as_uint(fmaf(values[at / 8][at % 8], units, 12582912.0f));
        if (W::kZeros) sum += static_cast<short>(numbers[j]);
      }
      split_bytes(numbers, upper[i], lower[i]);
    }
    if (W::kZeros && W::kQuads == 2) sum += __shfl_xor_sync(kFullWarp, sum, 1);
    if (part >= kParts) continue;
    made.upper[q][v] = make_uint4(upper[0], upper[1], upper[2], upper[3]);
    made.lower[q][v] = make_uint4(lower[0], lower[1], lower[2], lower[3]);
    if (q > 0) continue;
    made.unit[v] = exponent == 255 ? not_a_number() : unit;
    if (W::kZeros) made.sum[v] = sum * W::kTimes;
  }
  __syncthreads();
}

// Adds what vector v of x and of some rows of weights give.
template <class W, int Columns> __device__ __forceinline__ void add_vectors(const FixedPoint<W>& x, int v, const PackedVector (&weights)[Columns], float (&sums)[Columns]) {
  int upper[Columns] = {}, lower[Columns] = {};
#pragma unroll
  for (int q = 0; q < W::kQuads; q++) {
    const uint4 high = x.upper[q][v], low = x.lower[q][v];
    const unsigned highs[] = {high.x, high.y, high.z, high.w}, lows[] = {low.x, low.y, low.z, low.w};
#pragma unroll
    for (int c = 0; c < Columns; c++) {
      const unsigned words[] = {weights[c].codes.x, weights[c].codes.y, weights[c].codes.z, weights[c].codes.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const unsigned pairs = words[q * 2 % 4 + i / 2];
        const unsigned codes = W::kBits == 8 ? words[i] : (i % 2 == 0 ? pairs << 4 : pairs) & 0xf0f0f0f0u;
        upper[c] = add_products<W::kSigned, true>(codes, highs[i], upper[c]);
        lower[c] = add_products<W::kSigned, false>(codes, lows[i], lower[c]);
      }
    }
  }
  const float unit = x.unit[v];
#pragma unroll
  for (int c = 0; c < Columns; c++) {
    int total = upper[c] * 256 + lower[c];
    if constexpr (W::kZeros) total -= weights[c].zero * x.sum[v];
    sums[c] += static_cast<float>(total) * (W::kGrouped ? unit * weights[c].scale : unit);
  }
}

// A block takes kWarps * PerWarp columns at a time, 'Turns' times. A thread requests 'Ahead' vectors of each of its rows, or
// those of a turn, before it uses the first. 'shared' has room for a FixedPoint.
template <int N, int PerWarp, int Ahead, int Turns, int Count, class W, class Out, class Prepare, class Element>
__device__ __forceinline__ void packed_product(int block, const W (&weights)[Count], Out* out, char* shared, Prepare prepare, Element element) {
  constexpr int kColumns = PerWarp * Count, kVectors = W::kVectors, kSteps = (kVectors + 31) / 32;
  static_assert(Turns == 1 || Ahead == kSteps, "the next turn is requested as this one is used");
  auto& x = *reinterpret_cast<FixedPoint<W>*>(shared);
  const int lane = threadIdx.x % 32;
  int first = (block * Turns * kWarps + threadIdx.x / 32) * PerWarp;
  PackedVector next[Ahead][kColumns];
  const auto request = [&](int slot, int column, int v) {
#pragma unroll
    for (int c = 0; c < kColumns; c++) next[slot][c] = weights[c % Count].request(min(column + c / Count, N - 1), v);
  };
#pragma unroll
  for (int s = 0; s < Ahead; s++)
    if (s * 32 + lane < kVectors) request(s, first, s * 32 + lane);
  make_fixed_point(prepare(), x);
  for (int turn = 0; turn < Turns && first < N; turn++) {
    float sums[kColumns] = {}, scales[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; c++) scales[c] = weights[c % Count].scale(min(first + c / Count, N - 1));
    for (int s0 = 0; s0 < kSteps; s0 += Ahead) {
#pragma unroll
      for (int j = 0; j < Ahead; j++) {
        const int v = (s0 + j) * 32 + lane;
        if (v >= kVectors) continue;
        add_vectors(x, v, next[j], sums);
        if constexpr (kSteps > Ahead) {
          if (v + Ahead * 32 < kVectors) request(j, first, v + Ahead * 32);
        } else if (turn + 1 < Turns) {
          request(j, first + kWarps * PerWarp, v);
        }
      }
    }
#pragma unroll
    for (int c = 0; c < kColumns; c++) sums[c] = warp_sum(sums[c]) * scales[c];
#pragma unroll
    for (int c = 0; c < PerWarp; c++) {
      float own[Count];
#pragma unroll
      for (int r = 0; r < Count; r++) own[r] = sums[c * Count + r];
      if (lane == c && first + c < N) out[first + c] = convert<Out>(element(0, first + c, own));
    }
    first += kWarps * PerWarp;
  }
}
`;

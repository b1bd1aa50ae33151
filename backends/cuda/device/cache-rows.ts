/** Keys and values of a head, as floats or as bytes with a scale for each row, which attention reads as they are. */

export const cacheRows = `// ---- keys and values of a head: rows of floats, or of bytes with a scale each ----

// Bytes less a zero point as floats: 2^23 + byte is the byte in the low bits of a float, and the subtraction is exact.
template <class Code, int Words> __device__ __forceinline__ void bytes_less(const unsigned (&words)[Words], int zero, float (&x)[4 * Words]) {
  constexpr bool kSigned = static_cast<Code>(-1) < 0;
  const float offset = static_cast<float>(8388608 + (kSigned ? 128 : 0) + zero);
#pragma unroll
  for (int i = 0; i < 4 * Words; i++) {
    const unsigned biased = kSigned ? words[i / 4] ^ 0x80808080u : words[i / 4];
    x[i] = __uint_as_float(__byte_perm(biased, 0x4b000000u, 0x7540 + i % 4)) - offset;
  }
}
__device__ __forceinline__ void load_words(const void* p, unsigned (&words)[2]) {
  const uint2 v = *static_cast<const uint2*>(p);
  words[0] = v.x; words[1] = v.y;
}
__device__ __forceinline__ void load_words(const void* p, unsigned (&words)[4]) {
  const uint4 v = *static_cast<const uint4*>(p);
  words[0] = v.x; words[1] = v.y; words[2] = v.z; words[3] = v.w;
}

// Consecutive elements of a row as they lie in memory: 'scale' times what expand() gives is what they stand for.
template <class T> struct FloatPiece {
  Eight<T> raw;
  static constexpr float scale = 1.0f;
  // Two of eight 16-bit floats.
  __device__ unsigned word(int i) const { return i == 0 ? raw.raw.x : i == 1 ? raw.raw.y : i == 2 ? raw.raw.z : raw.raw.w; }
  __device__ void expand(float (&x)[8]) const { ::expand(raw, x); }
};
template <class Code, int Count> struct BytePiece {
  unsigned words[Count / 4];
  float scale;
  int zero;
  static constexpr bool kSigned = static_cast<Code>(-1) < 0;
  __device__ void expand(float (&x)[Count]) const { bytes_less<Code>(words, zero, x); }
  // Four bytes as signed ones; those without a sign, and their zero points, move by 128.
  __device__ unsigned two_complement(int i) const { return kSigned ? words[i] : words[i] ^ 0x80808080u; }
  __device__ static unsigned offsets(int first, int second) {
    constexpr int kMoved = kSigned ? 0 : 128;
    return pack(bf16{}, static_cast<float>(kMoved - first), static_cast<float>(kMoved - second));
  }
  __device__ static unsigned offsets(int zero) { return offsets(zero, zero); }
};

// Rows 'stride' elements apart, from the first token and the head in question on.
template <class T> struct FloatRows {
  static constexpr bool kBytes = false;
  template <int Count> using Piece = FloatPiece<T>;
  const T* data;
  long long stride;
  template <int Count> __device__ Piece<Count> piece(int row, int channel) const { return {load_eight(data + row * stride + channel)}; }
  __device__ float scale(int) const { return 1.0f; }
  __device__ int zero(int) const { return 0; }
  __device__ float element(int row, int channel, int) const { return load(data[row * stride + channel]); }
};
// The same of bytes; the scales of rows, and their zero points where they have any, are 'heads' apart.
template <class Code, bool Zeros> struct ByteRows {
  static constexpr bool kBytes = true, kZeros = Zeros;
  template <int Count> using Piece = BytePiece<Code, Count>;
  const Code* data;
  long long stride;
  const float* scales;
  const Code* zeros;
  long long heads;
  template <int Count> __device__ Piece<Count> piece(int row, int channel) const {
    Piece<Count> made;
    load_words(data + row * stride + channel, made.words);
    made.scale = scale(row);
    made.zero = zero(row);
    return made;
  }
  __device__ float scale(int row) const { return scales[row * heads]; }
  __device__ int zero(int row) const { return Zeros ? zeros[row * heads] : 0; }
  __device__ float element(int row, int channel, int zero) const { return static_cast<float>(data[row * stride + channel] - zero); }
};
`;

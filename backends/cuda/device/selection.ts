/** Choosing the greatest elements of a row, in descending order, equal ones by their index. */

export const selection = `// ---- the greatest element of a row, one after another ----

constexpr int kNowhere = 0x7fffffff;

// An element and its index. Candidates are in descending order, equal ones by index; NaN counts as -infinity.
template <class T> struct Candidate {
  T value = T(0);
  int at = kNowhere;
  // Stands before every element.
  static __device__ Candidate first() { return {T(0), -1}; }
  __device__ bool before(const Candidate& other) const {
    if (at == -1 || other.at == kNowhere) return at != other.at;
    if (at == kNowhere || other.at == -1) return false;
    return value > other.value || (value == other.value && at < other.at);
  }
};

template <class T> __device__ __forceinline__ Candidate<T> best_of_warp(Candidate<T> best) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const Candidate<T> other{__shfl_xor_sync(kFullWarp, best.value, offset), __shfl_xor_sync(kFullWarp, best.at, offset)};
    if (other.before(best)) best = other;
  }
  return best;
}
`;

/** Scales and zero points of ranges that are found while a model runs: those of dynamic_quantize. */

export const dynamicQuantize = `// ---- integers by the range of a row, of whose numbers every thread of a warp or block has some ----

// The least and the greatest of numbers and 0; NaN where one of them is.
struct Extent {
  float least, greatest;
  __device__ void add(float x) {
    least = minimum(least, x);
    greatest = maximum(greatest, x);
  }
};
__device__ __forceinline__ Extent warp_extent(const Extent& own) { return {-warp_max(-own.least), warp_max(own.greatest)}; }
__device__ __forceinline__ Extent block_extent(const Extent& own) { return {-block_max(-own.least), block_max(own.greatest)}; }
// Several at once.
template <int Count> __device__ __forceinline__ void block_extents(Extent (&own)[Count]) {
  __shared__ Extent partial[Count][kWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < Count; i++) {
    own[i] = warp_extent(own[i]);
    if (lane == 0) partial[i][warp] = own[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < Count; i++) {
    own[i] = partial[i][lane % kWarps];
#pragma unroll
    for (int offset = 1; offset < kWarps; offset *= 2) {
      own[i].add(__shfl_xor_sync(kFullWarp, own[i].least, offset));
      own[i].add(__shfl_xor_sync(kFullWarp, own[i].greatest, offset));
    }
  }
}

struct Range { float scale, inverse; int zero; };
template <int Low, int High> __device__ __forceinline__ Range symmetric_range(const Extent& all) {
  const float steps = maximum(-all.least, all.greatest) / static_cast<float>(High), scale = steps == 0.0f ? 1.0f : steps;
  return {scale, 1.0f / scale, 0};
}
template <int Low, int High> __device__ __forceinline__ Range whole_range(const Extent& all) {
  const float steps = (all.greatest - all.least) / static_cast<float>(High - Low), scale = steps == 0.0f ? 1.0f : steps;
  return {scale, 1.0f / scale, quantized<Low, High>(-all.least, scale, 1.0f / scale, Low)};
}
template <int Low, int High> __device__ __forceinline__ int quantized(float x, const Range& range) {
  return quantized<Low, High>(x, range.scale, range.inverse, range.zero);
}
`;

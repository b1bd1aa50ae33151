/** Kernels that the native runtime itself launches: the greatest logit, and weights that are made up. */

export const runtime = `// ---- kernels of the runtime ----

// The index of the greatest of 'count' values, the first of equals, as one block.
extern "C" __global__ void __launch_bounds__(256) hew_argmax(const float* values, int count, int* chosen) {
  __shared__ float best_value[kWarps];
  __shared__ int best_at[kWarps];
  await_predecessor();
  float best = -infinity();
  int at = 0x7fffffff;
  for (int i = threadIdx.x; i < count; i += kThreads)
    if (values[i] > best || at == 0x7fffffff) {
      best = values[i];
      at = i;
    }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const float value = __shfl_xor_sync(kFullWarp, best, offset);
    const int other = __shfl_xor_sync(kFullWarp, at, offset);
    if (value > best || (value == best && other < at)) {
      best = value;
      at = other;
    }
  }
  if (threadIdx.x % 32 == 0) {
    best_value[threadIdx.x / 32] = best;
    best_at[threadIdx.x / 32] = at;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kWarps; w++)
    if (best_value[w] > best || (best_value[w] == best && best_at[w] < at)) {
      best = best_value[w];
      at = best_at[w];
    }
  *chosen = at < count ? at : 0;
}

// Random bits, a function of the seed and the index alone.
__device__ __forceinline__ unsigned long long random_bits(unsigned long long i, unsigned seed) {
  unsigned long long z = (i + 1) * 0x9e3779b97f4a7c15ull + seed * 0xd1342543de82ef95ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return (z ^ (z >> 27)) * 0x94d049bb133111ebull;
}
// Uniform values of the given spread around a centre.
template <class T> __device__ __forceinline__ void fill(T* out, unsigned long long count, unsigned seed, float spread, float centre) {
  const unsigned long long step = (unsigned long long)gridDim.x * kThreads;
  for (unsigned long long i = (unsigned long long)blockIdx.x * kThreads + threadIdx.x; i < count; i += step) {
    const float unit = static_cast<float>((random_bits(i, seed) >> 40) & 0xffffff) / 8388608.0f - 1.0f;
    out[i] = convert<T>(centre + spread * unit);
  }
}
extern "C" __global__ void __launch_bounds__(256) hew_fill_f32(float* out, unsigned long long count, unsigned seed, float spread, float centre) { fill(out, count, seed, spread, centre); }
extern "C" __global__ void __launch_bounds__(256) hew_fill_bf16(bf16* out, unsigned long long count, unsigned seed, float spread, float centre) { fill(out, count, seed, spread, centre); }
extern "C" __global__ void __launch_bounds__(256) hew_fill_f16(f16* out, unsigned long long count, unsigned seed, float spread, float centre) { fill(out, count, seed, spread, centre); }
// Integers of any value: 'count' bytes.
extern "C" __global__ void __launch_bounds__(256) hew_fill_bytes(unsigned char* out, unsigned long long count, unsigned seed) {
  const unsigned long long step = (unsigned long long)gridDim.x * kThreads;
  for (unsigned long long i = (unsigned long long)blockIdx.x * kThreads + threadIdx.x; i < count; i += step) out[i] = static_cast<unsigned char>(random_bits(i, seed) >> 40);
}
`;

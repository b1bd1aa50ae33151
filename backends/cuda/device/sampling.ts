/** The kernel that draws a token from logits, which the native runtime launches. */

export const sampling = `// ---- drawing a token ----

// Tokens are ordered by distance from the greatest logit, in units of the temperature, as fixed-point keys: the most likely
// has key 0. Weights are fixed-point too, so that sums do not depend on the order of threads.
constexpr float kKeyScale = 67108864.0f;  // 2^26
constexpr float kMaxDistance = 63.0f;
constexpr float kWeightScale = 1099511627776.0f;  // 2^40
constexpr int kBins = 2048;

struct Candidates {
  const float* values;
  int count;
  float greatest;
  float inverse_temperature;

  __device__ unsigned key(int i) const {
    const float distance = (greatest - values[i]) * inverse_temperature;
    return static_cast<unsigned>(fminf(distance, kMaxDistance) * kKeyScale);
  }
};
__device__ __forceinline__ unsigned long long weight_of(unsigned key) {
  return static_cast<unsigned long long>(expf(-static_cast<float>(key) / kKeyScale) * kWeightScale);
}

// A token by its key and its number among those of the same key; 'before' is the sum of all that are ahead of the key.
struct Place {
  unsigned key;
  unsigned long long before;
};

// The bin in which the running sum first exceeds 'target'; 'target' loses what lies before it.
__device__ int find_bin(const unsigned long long* bins, int count, unsigned long long& target) {
  __shared__ unsigned long long ahead[kThreads];
  __shared__ unsigned long long left;
  __shared__ int found;
  const int each = count / kThreads;
  unsigned long long sum = 0;
  for (int b = 0; b < each; b++) sum += bins[threadIdx.x * each + b];
  ahead[threadIdx.x] = sum;
  __syncthreads();
  for (int offset = 1; offset < kThreads; offset *= 2) {
    const unsigned long long other = threadIdx.x >= offset ? ahead[threadIdx.x - offset] : 0;
    __syncthreads();
    ahead[threadIdx.x] += other;
    __syncthreads();
  }
  const unsigned long long before = ahead[threadIdx.x] - sum;
  if (before <= target && target < ahead[threadIdx.x]) {
    int b = threadIdx.x * each;
    unsigned long long rest = target - before;
    while (rest >= bins[b]) rest -= bins[b++];
    left = rest;
    found = b;
  }
  __syncthreads();
  target = left;
  const int bin = found;
  __syncthreads();
  return bin;
}

__device__ __forceinline__ unsigned long long sum_exactly(unsigned long long x) {
  return block_reduce(x, 0ull, [](unsigned long long a, unsigned long long b) { return a + b; });
}

// The token at which the running sum of 'amount' over tokens, the most likely first, exceeds 'target', which is below the
// sum over all. Each round looks at fewer bits of the key.
template <class Amount> __device__ Place find_place(const Candidates& candidates, unsigned long long target, Amount amount) {
  __shared__ unsigned long long bins[kBins];
  const unsigned long long wanted = target;
  unsigned prefix = 0;
  for (int shift = 21; shift >= 0; shift = shift == 21 ? 10 : shift - 10) {
    const int width = shift == 0 ? 10 : 11;
    for (int b = threadIdx.x; b < kBins; b += kThreads) bins[b] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < candidates.count; i += kThreads) {
      const unsigned key = candidates.key(i);
      if (shift == 21 || key >> (shift + width) == prefix) atomicAdd(&bins[(key >> shift) & ((1u << width) - 1)], amount(key));
    }
    __syncthreads();
    prefix = prefix << width | find_bin(bins, 1 << width, target);
  }
  return {prefix, wanted - target};
}

// The index of the token of this key that has 'rank' others of the key before it.
__device__ int token_at(const Candidates& candidates, unsigned key, unsigned long long rank) {
  __shared__ unsigned long long counts[kThreads];
  __shared__ int token;
  const int each = (candidates.count + kThreads - 1) / kThreads;
  const int first = threadIdx.x * each;
  const int last = min(candidates.count, first + each);
  unsigned long long count = 0;
  for (int i = first; i < last; i++) count += candidates.key(i) == key;
  counts[threadIdx.x] = count;
  __syncthreads();
  const int chunk = find_bin(counts, kThreads, rank);
  if (threadIdx.x == chunk)
    for (int i = first; i < last; i++)
      if (candidates.key(i) == key && rank-- == 0) token = i;
  __syncthreads();
  return token;
}

// Draws a token at temperature 1 / inverse_temperature among the top_k most likely (0: all), and of these among the first that
// make up top_p of their probability. 'random' is a fraction in 2^64ths. One block.
extern "C" __global__ void __launch_bounds__(256) hew_sample(const float* values, int count, float inverse_temperature, int top_k, float top_p, unsigned long long random, int* chosen) {
  await_predecessor();
  float greatest = -infinity();
  for (int i = threadIdx.x; i < count; i += kThreads) greatest = fmaxf(greatest, values[i]);
  const Candidates candidates{values, count, block_max(greatest), inverse_temperature};
  const auto mass = [](unsigned key) { return weight_of(key); };
  unsigned long long kept;
  if (top_k > 0 && top_k < count) {
    const unsigned long long target = top_k - 1;
    const Place last = find_place(candidates, target, [](unsigned) { return 1ull; });
    unsigned long long sum = 0;
    for (int i = threadIdx.x; i < count; i += kThreads) {
      const unsigned key = candidates.key(i);
      if (key < last.key) sum += weight_of(key);
    }
    kept = sum_exactly(sum) + (target - last.before + 1) * weight_of(last.key);
  } else {
    unsigned long long sum = 0;
    for (int i = threadIdx.x; i < count; i += kThreads) sum += weight_of(candidates.key(i));
    kept = sum_exactly(sum);
  }
  if (top_p < 1 && kept > 0) {
    const unsigned long long least = static_cast<unsigned long long>(ceil(static_cast<double>(top_p) * static_cast<double>(kept)));
    const unsigned long long target = least == 0 ? 0 : min(least, kept) - 1;
    const Place last = find_place(candidates, target, mass);
    const unsigned long long own = weight_of(last.key);
    kept = last.before + ((target - last.before) / own + 1) * own;
  }
  // No weight is left where logits are no numbers.
  if (kept == 0) {
    if (threadIdx.x == 0) *chosen = 0;
    return;
  }
  const unsigned long long target = __umul64hi(kept, random);
  const Place place = find_place(candidates, target, mass);
  const int token = token_at(candidates, place.key, (target - place.before) / weight_of(place.key));
  if (threadIdx.x == 0) *chosen = token;
}
`;

/** Sums over the ranks of a model on GPUs that reach each other's memory: see runtime-native/src/peers.h. */

export const collectives = `// ---- sums over ranks, through memory that all of them reach ----

constexpr int kMostRanks = 8;
// Lines of each rank, of which 'per_rank' hold what one other sends in one turn.
struct Peers { ulonglong2* lines[kMostRanks]; };
constexpr unsigned long long kPatience = 60000000000ull;

__device__ __forceinline__ unsigned long long nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}
// Either half of a line is a value in its lower and the number of the turn in its upper word, and arrives whole.
__device__ __forceinline__ void send(ulonglong2* line, float2 values, unsigned turn) {
  const unsigned long long mark = static_cast<unsigned long long>(turn) << 32;
  asm volatile("st.relaxed.sys.global.v2.b64 [%0], {%1, %2};" :: "l"(line), "l"(mark | __float_as_uint(values.x)), "l"(mark | __float_as_uint(values.y)) : "memory");
}
__device__ __forceinline__ float2 receive(const ulonglong2* line, unsigned turn) {
  unsigned long long x, y, since = 0;
  for (unsigned tries = 1;; tries++) {
    asm volatile("ld.relaxed.sys.global.v2.b64 {%0, %1}, [%2];" : "=l"(x), "=l"(y) : "l"(line) : "memory");
    if (static_cast<unsigned>(x >> 32) == turn && static_cast<unsigned>(y >> 32) == turn) break;
    if (tries % 4096 != 0) continue;
    const unsigned long long now = nanoseconds();
    if (since == 0) since = now;
    if (now - since > kPatience || *const_cast<volatile int*>(hew_failure) == kRankLost) {
      fail(kRankLost, 0, 0);
      break;
    }
  }
  return make_float2(__uint_as_float(static_cast<unsigned>(x)), __uint_as_float(static_cast<unsigned>(y)));
}

// Each rank sends what it has to every other, and adds what all have in the same order. Turns alternate between two halves of
// the lines: who sends in a turn has received all of the turn before, so the others are through with the one before that.
// 'turns' counts those of each block.
extern "C" __global__ void __launch_bounds__(256) hew_all_reduce(const float* from, float* to, unsigned count, Peers peers, unsigned per_rank, int rank, int ranks, unsigned* turns) {
  release_successor();
  const unsigned line = blockIdx.x * kThreads + threadIdx.x, at = 2 * line;
  await_predecessor();
  const unsigned turn = turns[blockIdx.x] + 1;
  if (at < count) {
    const bool pair = at + 1 < count;
    const float2 own = make_float2(from[at], pair ? from[at + 1] : 0.0f);
    const unsigned half = turn % 2 * ranks;
    for (int other = 0; other < ranks; other++)
      if (other != rank) send(peers.lines[other] + (half + rank) * per_rank + line, own, turn);
    float2 sum = make_float2(0.0f, 0.0f);
    for (int other = 0; other < ranks; other++) {
      const float2 values = other == rank ? own : receive(peers.lines[rank] + (half + other) * per_rank + line, turn);
      sum.x += values.x;
      sum.y += values.y;
    }
    to[at] = sum.x;
    if (pair) to[at + 1] = sum.y;
  }
  __syncthreads();
  if (threadIdx.x == 0) turns[blockIdx.x] = turn;
}
`;

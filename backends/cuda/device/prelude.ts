/** What every CUDA source begins with: number types, loads and stores, elementwise functions, reductions of a block. */

export const prelude = `// ---- numbers: storage types, and their values in registers (float, int, long long, bool) ----

struct bf16 { unsigned short bits; };
struct f16 { unsigned short bits; };
// Two integers of four bits, the first in the low half.
struct i4 { unsigned char pair; };
struct u4 { unsigned char pair; };

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }

__device__ __forceinline__ float load(float x) { return x; }
__device__ __forceinline__ float load(bf16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }
__device__ __forceinline__ float load(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
__device__ __forceinline__ int load(int x) { return x; }
__device__ __forceinline__ long long load(long long x) { return x; }
__device__ __forceinline__ int load(signed char x) { return x; }
__device__ __forceinline__ int load(unsigned char x) { return x; }
__device__ __forceinline__ bool load(bool x) { return x; }

__device__ __forceinline__ int nibble(const i4* p, long long at) { return (static_cast<int>(p[at >> 1].pair) >> (at & 1) * 4 & 15 ^ 8) - 8; }
__device__ __forceinline__ int nibble(const u4* p, long long at) { return static_cast<int>(p[at >> 1].pair) >> (at & 1) * 4 & 15; }

// convert<T>(x): the storage form of a register value, floats to nearest even, integers wrapping.
template <class T, class V> __device__ __forceinline__ T convert(V x) { return static_cast<T>(x); }
template <> __device__ __forceinline__ bf16 convert<bf16, float>(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <> __device__ __forceinline__ f16 convert<f16, float>(float x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
// A register value as if it had been stored and loaded again.
template <class T, class V> __device__ __forceinline__ auto rounded(V x) { return load(convert<T>(x)); }

// Two floats as a packed pair of 16-bit floats, the first in the low half.
__device__ __forceinline__ unsigned pack(bf16, float low, float high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
__device__ __forceinline__ unsigned pack(f16, float low, float high) {
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

// Eight consecutive elements as floats; the address is a multiple of eight elements.
__device__ __forceinline__ void unpack(uint4 raw, bf16, float (&x)[8]) {
  const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    x[2 * i] = __uint_as_float(words[i] << 16);
    x[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}
__device__ __forceinline__ void unpack(uint4 raw, f16, float (&x)[8]) {
  const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    x[2 * i] = load(f16{static_cast<unsigned short>(words[i] & 0xffffu)});
    x[2 * i + 1] = load(f16{static_cast<unsigned short>(words[i] >> 16)});
  }
}
// Eight elements as they lie in memory.
template <class T> struct Eight { uint4 raw; };
template <> struct Eight<float> { uint4 low, high; };

template <class T> __device__ __forceinline__ Eight<T> load_eight(const T* p) { return {*reinterpret_cast<const uint4*>(p)}; }
__device__ __forceinline__ Eight<float> load_eight(const float* p) {
  return {*reinterpret_cast<const uint4*>(p), *reinterpret_cast<const uint4*>(p + 4)};
}
template <class T> __device__ __forceinline__ void expand(const Eight<T>& v, float (&x)[8]) { unpack(v.raw, T{}, x); }
__device__ __forceinline__ void expand(const Eight<float>& v, float (&x)[8]) {
  x[0] = __uint_as_float(v.low.x); x[1] = __uint_as_float(v.low.y); x[2] = __uint_as_float(v.low.z); x[3] = __uint_as_float(v.low.w);
  x[4] = __uint_as_float(v.high.x); x[5] = __uint_as_float(v.high.y); x[6] = __uint_as_float(v.high.z); x[7] = __uint_as_float(v.high.w);
}
template <class T> __device__ __forceinline__ void load8(const T* p, float (&x)[8]) { expand(load_eight(p), x); }

// Four consecutive elements in registers; the address is a multiple of four elements.
__device__ __forceinline__ void take_four(const float* p, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  x[0] = v.x; x[1] = v.y; x[2] = v.z; x[3] = v.w;
}
__device__ __forceinline__ void take_four(const int* p, int (&x)[4]) {
  const int4 v = *reinterpret_cast<const int4*>(p);
  x[0] = v.x; x[1] = v.y; x[2] = v.z; x[3] = v.w;
}
template <class T> struct alignas(4 * sizeof(T)) Quad { T values[4]; };
template <class T, class V> __device__ __forceinline__ void take_four(const T* p, V (&x)[4]) {
  const Quad<T> v = *reinterpret_cast<const Quad<T>*>(p);
#pragma unroll
  for (int i = 0; i < 4; i++) x[i] = load(v.values[i]);
}
__device__ __forceinline__ void store_four(float* p, const float (&x)[4]) { *reinterpret_cast<float4*>(p) = make_float4(x[0], x[1], x[2], x[3]); }
__device__ __forceinline__ void store_four(int* p, const int (&x)[4]) { *reinterpret_cast<int4*>(p) = make_int4(x[0], x[1], x[2], x[3]); }
__device__ __forceinline__ void store_four(signed char* p, const int (&x)[4]) {
  const unsigned low = __byte_perm(x[0], x[1], 0x0040), high = __byte_perm(x[2], x[3], 0x0040);
  *reinterpret_cast<unsigned*>(p) = __byte_perm(low, high, 0x5410);
}
template <class T, class V> __device__ __forceinline__ void store_four(T* p, const V (&x)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) p[i] = convert<T>(x[i]);
}
template <class T> __device__ __forceinline__ void store_four(T* p, const float (&x)[4]) {
  *reinterpret_cast<uint2*>(p) = make_uint2(pack(T{}, x[0], x[1]), pack(T{}, x[2], x[3]));
}

// What is read once: 16 or 8 bytes that do not stay in the first cache.
__device__ __forceinline__ uint4 load_streaming(const void* p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}
__device__ __forceinline__ void load_streaming(const void* p, unsigned (&words)[4]) {
  const uint4 v = load_streaming(p);
  words[0] = v.x; words[1] = v.y; words[2] = v.z; words[3] = v.w;
}
__device__ __forceinline__ void load_streaming(const void* p, unsigned (&words)[2]) {
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "l"(p));
}

// ---- sm_90a: instructions of Hopper alone, such as wgmma; other code leaves kernels that need them empty ----

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HEW_WGMMA 1
#else
#define HEW_WGMMA 0
#endif
// Tells the runtime whether this code has those kernels.
__device__ int hew_has_wgmma = HEW_WGMMA;

// Describes a matrix in memory to the bulk copy engine; the driver fills it.
struct alignas(64) TensorMap { char bytes[128]; };

// ---- failures: the first one is kept for the host as {code, a, b} ----

constexpr int kContextFull = 1;
constexpr int kIndexOutOfRange = 2;
constexpr int kRankLost = 3;

__device__ int hew_failure[3];

__device__ __forceinline__ void fail(int code, int a, int b) {
  if (atomicCAS(&hew_failure[0], 0, code) == 0) {
    hew_failure[1] = a;
    hew_failure[2] = b;
  }
}
// The index itself, or 0 after a failure, so that nothing outside the table is read.
__device__ __forceinline__ int checked_index(long long index, int size) {
  if (index >= 0 && index < size) return static_cast<int>(index);
  fail(kIndexOutOfRange, static_cast<int>(index), size);
  return 0;
}

// ---- order of launches: a kernel may start before the one before it has ended, and waits here for its results ----

__device__ __forceinline__ void await_predecessor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ void release_successor() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// ---- elementwise functions ----

// To two units in the last place, by one instruction each.
__device__ __forceinline__ float power_of_two(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ __forceinline__ float sigmoid(float x) { return reciprocal(1.0f + power_of_two(-1.44269504f * x)); }
__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }
__device__ __forceinline__ float quick_gelu(float x) { return x * sigmoid(1.702f * x); }
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))) + (x != x ? x : 0.0f); }
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }
// x/2 (1 + tanh u) == x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3)
__device__ __forceinline__ float gelu_tanh(float x) {
  return x * reciprocal(1.0f + power_of_two(x * __fmaf_rn(x * x, -0.10294324f, -2.30220819f)));
}
__device__ __forceinline__ float sign(float x) { return fabsf(x) > 0.0f ? copysignf(1.0f, x) : x; }
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }
// Unlike C, 1 to the power of NaN or infinity is NaN.
__device__ __forceinline__ float power(float a, float b) {
  const bool undefined = b != b || (fabsf(a) == 1.0f && fabsf(b) == infinity());
  return undefined ? not_a_number() : powf(a, b);
}
// min and max give NaN when either operand is NaN.
__device__ __forceinline__ float minimum(float a, float b) { return a != a || b != b ? not_a_number() : fminf(a, b); }
__device__ __forceinline__ float maximum(float a, float b) { return a != a || b != b ? not_a_number() : fmaxf(a, b); }
template <class T> __device__ __forceinline__ T minimum(T a, T b) { return b < a ? b : a; }
template <class T> __device__ __forceinline__ T maximum(T a, T b) { return b > a ? b : a; }
template <class T> __device__ __forceinline__ T sign(T x) { return static_cast<T>((x > 0) - (x < 0)); }
template <class T> __device__ __forceinline__ T relu(T x) { return x < 0 ? 0 : x; }

// Integer arithmetic wraps; division truncates, by zero it gives zero.
__device__ __forceinline__ int add(int a, int b) { return static_cast<int>(static_cast<unsigned>(a) + static_cast<unsigned>(b)); }
__device__ __forceinline__ int sub(int a, int b) { return static_cast<int>(static_cast<unsigned>(a) - static_cast<unsigned>(b)); }
__device__ __forceinline__ int mul(int a, int b) { return static_cast<int>(static_cast<unsigned>(a) * static_cast<unsigned>(b)); }
__device__ __forceinline__ long long add(long long a, long long b) { return static_cast<long long>(static_cast<unsigned long long>(a) + static_cast<unsigned long long>(b)); }
__device__ __forceinline__ long long sub(long long a, long long b) { return static_cast<long long>(static_cast<unsigned long long>(a) - static_cast<unsigned long long>(b)); }
__device__ __forceinline__ long long mul(long long a, long long b) { return static_cast<long long>(static_cast<unsigned long long>(a) * static_cast<unsigned long long>(b)); }
// Each rounds by itself, as the operations of a graph do: the compiler fuses no multiply with an add.
__device__ __forceinline__ float add(float a, float b) { return __fadd_rn(a, b); }
__device__ __forceinline__ float sub(float a, float b) { return __fsub_rn(a, b); }
__device__ __forceinline__ float mul(float a, float b) { return __fmul_rn(a, b); }
template <class T> __device__ __forceinline__ T quotient(T a, T b) { return b == 0 ? T(0) : b == -1 ? sub(T(0), a) : a / b; }

// Conversions to integers truncate and saturate; NaN becomes 0.
__device__ __forceinline__ long long saturated(long long x, long long low, long long high) { return x < low ? low : x > high ? high : x; }
__device__ __forceinline__ int to_int(float x, int low, int high) { return static_cast<int>(saturated(__float2int_rz(x), low, high)); }
__device__ __forceinline__ int to_int(int x, int low, int high) { return static_cast<int>(saturated(x, low, high)); }
__device__ __forceinline__ int to_int(long long x, int low, int high) { return static_cast<int>(saturated(x, low, high)); }
__device__ __forceinline__ long long to_long(float x) {
  return x != x ? 0 : saturated(__float2ll_rz(x), -9223372036854775807ll - 1, 9223372036854774784ll);
}
__device__ __forceinline__ long long to_long(int x) { return x; }
__device__ __forceinline__ long long to_long(long long x) { return x; }

// clamp(round(x / scale) + zero); NaN is the zero point. 'inverse' is 1 / scale: one step of Newton's method makes the quotient
// what the division gives (Markstein 1990), but for scales that are so large or small that their reciprocals are not normal.
template <int Low, int High> __device__ __forceinline__ int quantized(float x, float scale, float inverse, int zero) {
  const float near = __fmul_rn(x, inverse);
  const float exact = __fmaf_rn(__fmaf_rn(-near, scale, x), inverse, near);
  const int steps = __float2int_rn(fabsf(near) < 1e6f ? exact : near);
  return min(max(steps, Low - zero), High - zero) + zero;
}

// ---- reductions over a warp and over a block of kThreads ----

template <class T, class Combine> __device__ __forceinline__ T warp_reduce(T x, Combine combine) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = combine(x, __shfl_xor_sync(kFullWarp, x, offset));
  return x;
}
__device__ __forceinline__ float warp_sum(float x) { return warp_reduce(x, [](float a, float b) { return a + b; }); }
__device__ __forceinline__ float warp_max(float x) { return warp_reduce(x, [](float a, float b) { return maximum(a, b); }); }

// Over 'Warps' neighbouring warps of a block, which meet at a barrier of their own; all of their threads take part.
template <int Warps, class T, class Combine> __device__ __forceinline__ T group_reduce(T x, T neutral, Combine combine) {
  x = warp_reduce(x, combine);
  if constexpr (Warps == 1) return x;
  __shared__ T partial[kWarps];
  const int warp = threadIdx.x / 32, group = warp / Warps, lane = threadIdx.x % 32;
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(32 * Warps) : "memory");
  if (lane == 0) partial[warp] = x;
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(32 * Warps) : "memory");
  return warp_reduce(lane < Warps ? partial[group * Warps + lane] : neutral, combine);
}
template <int Warps> __device__ __forceinline__ float group_sum(float x) {
  return group_reduce<Warps>(x, 0.0f, [](float a, float b) { return a + b; });
}
template <int Warps> __device__ __forceinline__ float group_max(float x) {
  return group_reduce<Warps>(x, -infinity(), [](float a, float b) { return maximum(a, b); });
}

template <class T, class Combine> __device__ __forceinline__ T block_reduce(T x, T neutral, Combine combine) {
  __shared__ T partial[kWarps];
  x = warp_reduce(x, combine);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  return warp_reduce(lane < kWarps ? partial[lane] : neutral, combine);
}
__device__ __forceinline__ float block_sum(float x) { return block_reduce(x, 0.0f, [](float a, float b) { return a + b; }); }
__device__ __forceinline__ float block_max(float x) {
  return block_reduce(x, -infinity(), [](float a, float b) { return maximum(a, b); });
}
`;

// ---- kernels of the model ----

// func @cast_rope_cast.2m kernel rope(%0: bf16[T, kv, hd], %1: f32[T, hd/2], %2: f32[T, hd/2]) -> (bf16[T, kv, hd]) {
// %3 = cast(%0, dtype=f32) : f32[T, kv, hd]
// %4 = rope(%3, %1, %2) : f32[T, kv, hd]
// %5 = cast(%4, dtype=bf16) : bf16[T, kv, hd]
// return %5
// }
extern "C" __global__ void __launch_bounds__(256) cast_rope_cast_2m(const bf16* in0, const float* in1, const float* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (T * 8)) return;
  const int i0 = i % 4;
  const int rest1 = i / 4;
  const int i2 = rest1 % 2;
  const int rest3 = rest1 / 2;
  const int column = i0 * 4;
  float low[4], high[4];
  float read4[4];
  take_four(&in0[rest3 * 2 * 32 + i2 * 32 + column], read4);
  float read6[4];
  take_four(&in0[rest3 * 2 * 32 + i2 * 32 + (column + 16)], read6);
  float read8[4];
  take_four(&in1[rest3 * 16 + column], read8);
  float read9[4];
  take_four(&in2[rest3 * 16 + column], read9);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v5 = read4[j];
    const float v7 = read6[j];
    const float v10 = v5 * read8[j] - v7 * read9[j];
    const float v11 = rounded<bf16>(v10);
    low[j] = v11;
    const float v12 = v7 * read8[j] + v5 * read9[j];
    const float v13 = rounded<bf16>(v12);
    high[j] = v13;
  }
  store_four(&out0[rest3 * 2 * 32 + i2 * 32 + column], low);
  store_four(&out0[rest3 * 2 * 32 + i2 * 32 + (column + 16)], high);
}

// func @cast_rope_cast.4m kernel rope(%0: bf16[T, heads, hd], %1: f32[T, hd/2], %2: f32[T, hd/2]) -> (bf16[T, heads, hd]) {
// %3 = cast(%0, dtype=f32) : f32[T, heads, hd]
// %4 = rope(%3, %1, %2) : f32[T, heads, hd]
// %5 = cast(%4, dtype=bf16) : bf16[T, heads, hd]
// return %5
// }
extern "C" __global__ void __launch_bounds__(256) cast_rope_cast_4m(const bf16* in0, const float* in1, const float* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (T * 16)) return;
  const int i0 = i % 4;
  const int rest1 = i / 4;
  const int i2 = rest1 % 4;
  const int rest3 = rest1 / 4;
  const int column = i0 * 4;
  float low[4], high[4];
  float read4[4];
  take_four(&in0[rest3 * 4 * 32 + i2 * 32 + column], read4);
  float read6[4];
  take_four(&in0[rest3 * 4 * 32 + i2 * 32 + (column + 16)], read6);
  float read8[4];
  take_four(&in1[rest3 * 16 + column], read8);
  float read9[4];
  take_four(&in2[rest3 * 16 + column], read9);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v5 = read4[j];
    const float v7 = read6[j];
    const float v10 = v5 * read8[j] - v7 * read9[j];
    const float v11 = rounded<bf16>(v10);
    low[j] = v11;
    const float v12 = v7 * read8[j] + v5 * read9[j];
    const float v13 = rounded<bf16>(v12);
    high[j] = v13;
  }
  store_four(&out0[rest3 * 4 * 32 + i2 * 32 + column], low);
  store_four(&out0[rest3 * 4 * 32 + i2 * 32 + (column + 16)], high);
}

// func @linear_cast_linear_cast_silu_mul.5m kernel matmul(%0: bf16[T, d], %1: bf16[ffn, d], %2: bf16[ffn, d]) -> (bf16[T, ffn]) {
// %3 = linear(%0, %1) : bf16[T, ffn]
// %4 = cast(%3, dtype=f32) : f32[T, ffn]
// %5 = linear(%0, %2) : bf16[T, ffn]
// %6 = cast(%5, dtype=f32) : f32[T, ffn]
// %7 = silu(%6) : f32[T, ffn]
// %8 = mul(%7, %4) : f32[T, ffn]
// %9 = cast(%8, dtype=bf16) : bf16[T, ffn]
// return %9
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_linear_cast_silu_mul_5m(const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 384, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[2]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = rounded<bf16>(sums[1]);
    const float v2 = v1;
    const float v3 = silu(v2);
    const float v4 = v0;
    const float v5 = mul(v3, v4);
    const float v6 = rounded<bf16>(v5);
    return v6;
  };
  const bf16* const weights[] = {in1, in2};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_linear_cast_silu_mul_5m_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 384, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[2][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = rounded<bf16>(sums[1][j]);
      const float v2 = v1;
      const float v3 = silu(v2);
      const float v4 = v0;
      const float v5 = mul(v3, v4);
      const float v6 = rounded<bf16>(v5);
      values[j] = v6;
    }
  };
  const TensorMap* const weights[] = {&map1, &map2};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_linear_cast_silu_mul_5m_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 384, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[2][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = rounded<bf16>(sums[1][j]);
      const float v2 = v1;
      const float v3 = silu(v2);
      const float v4 = v0;
      const float v5 = mul(v3, v4);
      const float v6 = rounded<bf16>(v5);
      values[j] = v6;
    }
  };
  const TensorMap* const weights[] = {&map1, &map2};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_linear_cast_silu_mul_5m_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 384, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[2][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = rounded<bf16>(sums[1][j]);
      const float v2 = v1;
      const float v3 = silu(v2);
      const float v4 = v0;
      const float v5 = mul(v3, v4);
      const float v6 = rounded<bf16>(v5);
      values[j] = v6;
    }
  };
  const TensorMap* const weights[] = {&map1, &map2};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_linear_cast_silu_mul_5m_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 384, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[2][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = rounded<bf16>(sums[1][j]);
      const float v2 = v1;
      const float v3 = silu(v2);
      const float v4 = v0;
      const float v5 = mul(v3, v4);
      const float v6 = rounded<bf16>(v5);
      values[j] = v6;
    }
  };
  const TensorMap* const weights[] = {&map1, &map2};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_linear_cast_silu_mul_5m_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 384, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[2][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = rounded<bf16>(sums[1][j]);
      const float v2 = v1;
      const float v3 = silu(v2);
      const float v4 = v0;
      const float v5 = mul(v3, v4);
      const float v6 = rounded<bf16>(v5);
      values[j] = v6;
    }
  };
  const TensorMap* const weights[] = {&map1, &map2};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @rms_norm_cast_linear_cast_linear_cast_silu_mul.11m kernel matmul(%0: f32[1, d], %1: bf16[d], %2: bf16[ffn, d], %3: bf16[ffn, d]) -> (bf16[1, ffn]) {
// %4 = rms_norm(%0, %1) : f32[1, d]
// %5 = cast(%4, dtype=bf16) : bf16[1, d]
// %6 = linear(%5, %2) : bf16[1, ffn]
// %7 = cast(%6, dtype=f32) : f32[1, ffn]
// %8 = linear(%5, %3) : bf16[1, ffn]
// %9 = cast(%8, dtype=f32) : f32[1, ffn]
// %10 = silu(%9) : f32[1, ffn]
// %11 = mul(%10, %7) : f32[1, ffn]
// %12 = cast(%11, dtype=bf16) : bf16[1, ffn]
// return %12
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_cast_linear_cast_linear_cast_silu_mul_11m(const float* in0, const bf16* in1, const bf16* in2, const bf16* in3, bf16* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  __shared__ __align__(16) bf16 made_rows[1 * 128];
  const auto prepare = [&] {
    for (int row = 0; row < 1; row++) {
      float parameters0[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v1 = load(in1[column]);
        parameters0[j] = v1;
      }
      await_predecessor();
      float own[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v2 = load(in0[column]);
        own[j] = v2;
      }
      float partial3 = 0.0f;
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        partial3 += own[j] * own[j];
      }
      const float squares = block_sum(partial3);
      const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v4 = own[j] * factor * parameters0[j];
        const float v5 = rounded<bf16>(v4);
        made_rows[row * 128 + column] = convert<bf16>(v5);
      }
    }
    __syncthreads();
    return made_rows;
  };
  const auto element = [&](int row, int column, const float (&sums)[2]) {
    const float v6 = rounded<bf16>(sums[0]);
    const float v7 = rounded<bf16>(sums[1]);
    const float v8 = v7;
    const float v9 = silu(v8);
    const float v10 = v6;
    const float v11 = mul(v9, v10);
    const float v12 = rounded<bf16>(v11);
    return v12;
  };
  const bf16* const weights[] = {in2, in3};
  vector_product<1, 384, 128, 1>(block, weights, out0, prepare, element);
}

// func @rms_norm_cast_linears.13m kernel matmul(%0: f32[1, d], %1: bf16[d], %2: bf16[hd*heads, d], %3: bf16[hd*kv, d], %4: bf16[hd*kv, d]) -> (bf16[1, hd*heads], bf16[1, hd*kv], bf16[1, hd*kv]) {
// %5 = rms_norm(%0, %1) : f32[1, d]
// %6 = cast(%5, dtype=bf16) : bf16[1, d]
// %7 = linear(%6, %2) : bf16[1, hd*heads]
// %8 = linear(%6, %3) : bf16[1, hd*kv]
// %9 = linear(%6, %4) : bf16[1, hd*kv]
// return %7, %8, %9
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_cast_linears_13m(const float* in0, const bf16* in1, const bf16* in2, const bf16* in3, const bf16* in4, bf16* out0, bf16* out1, bf16* out2) {
  release_successor();
  const unsigned block = blockIdx.x;
  __shared__ __align__(16) bf16 made_rows[1 * 128];
  const auto prepare = [&] {
    for (int row = 0; row < 1; row++) {
      float parameters0[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v1 = load(in1[column]);
        parameters0[j] = v1;
      }
      await_predecessor();
      float own[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v2 = load(in0[column]);
        own[j] = v2;
      }
      float partial3 = 0.0f;
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        partial3 += own[j] * own[j];
      }
      const float squares = block_sum(partial3);
      const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v4 = own[j] * factor * parameters0[j];
        const float v5 = rounded<bf16>(v4);
        made_rows[row * 128 + column] = convert<bf16>(v5);
      }
    }
    __syncthreads();
    return made_rows;
  };
  if (block >= 0 && block < 16) {
    const auto element = [&](int row, int column, const float (&sums)[1]) {
      const float v6 = rounded<bf16>(sums[0]);
      return v6;
    };
    const bf16* const weights[] = {in2};
    vector_product<1, 128, 128, 1>(block, weights, out0, prepare, element);
  }
  if (block >= 16 && block < 24) {
    const auto element = [&](int row, int column, const float (&sums)[1]) {
      const float v7 = rounded<bf16>(sums[0]);
      return v7;
    };
    const bf16* const weights[] = {in3};
    vector_product<1, 64, 128, 1>(block - 16, weights, out1, prepare, element);
  }
  if (block >= 24 && block < 32) {
    const auto element = [&](int row, int column, const float (&sums)[1]) {
      const float v8 = rounded<bf16>(sums[0]);
      return v8;
    };
    const bf16* const weights[] = {in4};
    vector_product<1, 64, 128, 1>(block - 24, weights, out2, prepare, element);
  }
}

// func @decode_attention.14m kernel attention(%0: bf16[1, heads, hd], %1: f32[1, hd/2], %2: f32[1, hd/2], %3: bf16[1, kv, hd], %4: bf16[context, kv, hd], %5: i32[], %6: bf16[context, kv, hd], %7: bf16[1, kv, hd]) -> (bf16[1, heads, hd], bf16[context, kv, hd], bf16[context, kv, hd]) {
// %8 = cast(%0, dtype=f32) : f32[1, heads, hd]
// %9 = rope(%8, %1, %2) : f32[1, heads, hd]
// %10 = cast(%9, dtype=bf16) : bf16[1, heads, hd]
// %11 = cast(%3, dtype=f32) : f32[1, kv, hd]
// %12 = rope(%11, %1, %2) : f32[1, kv, hd]
// %13 = cast(%12, dtype=bf16) : bf16[1, kv, hd]
// %14 = cache_append(%4, %13, %5) : bf16[context, kv, hd]
// %15 = cache_append(%6, %7, %5) : bf16[context, kv, hd]
// %16 = attention(%10, %14, %15, %5, causal=true, scale=0.1767766952966369) : bf16[1, heads, hd]
// return %16, %14, %15
// }
extern "C" __global__ void __launch_bounds__(256, 2) decode_attention_14m(const bf16* in0, const float* in1, const float* in2, const bf16* in3, const bf16* in4, const int* in5, const bf16* in6, const bf16* in7, bf16* out0, bf16* out1, bf16* out2, char* scratch) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int kRows = 2, kWidth = 32, kSplits = 32, kKeyHeads = 2;
  __shared__ __align__(16) bf16 queries[kRows][kWidth];
  __shared__ __align__(16) bf16 fresh_key[kWidth];
  __shared__ __align__(16) bf16 fresh_value[kWidth];
  static unsigned arrivals[kKeyHeads];
  const int head = block / kSplits, split = block % kSplits;
  await_predecessor();
  const int position = in5[0];
  const int end = max(0, min(2048, position));
  const int oldest = 0;
  const int cached = end - oldest;
  const auto prepare = [&] {
    #pragma unroll
    for (int at = threadIdx.x; at < kRows * kWidth; at += kThreads) {
      const int query = head * kRows + at / kWidth, channel = at % kWidth;
      const int i0 = channel % 16;
      const float v1 = load(in0[query * 32 + i0]);
      const float v2 = v1;
      const float v3 = load(in0[query * 32 + (i0 + 16)]);
      const float v4 = v3;
      const float v5 = load(in1[i0]);
      const float v6 = load(in2[i0]);
      const float v7 = channel == i0 ? v2 * v5 - v4 * v6 : v4 * v5 + v2 * v6;
      const float v8 = rounded<bf16>(v7);
      queries[at / kWidth][channel] = convert<bf16>(v8);
    }
    const bool fits = position >= 0 && position < 2048;
    if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, position, 1);
    if (split == cached / share_keys<kSplits>(cached + 1).part) {
      const int channel = threadIdx.x;
      const long long row = static_cast<long long>(position) * kKeyHeads + head;
      float made_key = 0.0f;
      if (channel < kWidth) {
        const int i9 = channel % 16;
        const float v10 = load(in3[head * 32 + i9]);
        const float v11 = v10;
        const float v12 = load(in3[head * 32 + (i9 + 16)]);
        const float v13 = v12;
        const float v14 = load(in1[i9]);
        const float v15 = load(in2[i9]);
        const float v16 = channel == i9 ? v11 * v14 - v13 * v15 : v13 * v14 + v11 * v15;
        const float v17 = rounded<bf16>(v16);
        made_key = v17;
      }
      float made_value = 0.0f;
      if (channel < kWidth) {
        const float v18 = load(in7[head * 32 + channel]);
        made_value = v18;
      }
      if (channel < kWidth) {
        fresh_key[channel] = convert<bf16>(made_key);
        if (fits) out1[row * kWidth + channel] = fresh_key[channel];
      }
      if (channel < kWidth) {
        fresh_value[channel] = convert<bf16>(made_value);
        if (fits) out2[row * kWidth + channel] = fresh_value[channel];
      }
    }
    if (out1 != in4) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 64 && at < (position + 1) * 64;
        if (!replaced) out1[at] = in4[at];
      }
    }
    if (out2 != in6) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 64 && at < (position + 1) * 64;
        if (!replaced) out2[at] = in6[at];
      }
    }
  };
  const long long first_row = static_cast<long long>(oldest) * kKeyHeads + head;
  PartialRow<kWidth>* const parts = reinterpret_cast<PartialRow<kWidth>*>(scratch) + head * kSplits * kRows;
  attend_cached<kRows, kWidth, kSplits, true>(queries, FloatRows<bf16>{fresh_key, 0}, FloatRows<bf16>{fresh_value, 0}, FloatRows<bf16>{in4 + first_row * kWidth, kKeyHeads * kWidth}, FloatRows<bf16>{in6 + first_row * kWidth, kKeyHeads * kWidth}, cached, split, 0.176776692f, parts, arrivals + head, out0 + head * kRows * kWidth, prepare);
}

// func @rms_norm_cast_linear.15m kernel matmul(%0: f32[1, d], %1: bf16[d], %2: bf16[vocab, d]) -> (bf16[1, vocab]) {
// %3 = rms_norm(%0, %1) : f32[1, d]
// %4 = cast(%3, dtype=bf16) : bf16[1, d]
// %5 = linear(%4, %2) : bf16[1, vocab]
// return %5
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_cast_linear_15m(const float* in0, const bf16* in1, const bf16* in2, bf16* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  __shared__ __align__(16) bf16 made_rows[1 * 128];
  const auto prepare = [&] {
    for (int row = 0; row < 1; row++) {
      float parameters0[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v1 = load(in1[column]);
        parameters0[j] = v1;
      }
      await_predecessor();
      float own[1];
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v2 = load(in0[column]);
        own[j] = v2;
      }
      float partial3 = 0.0f;
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        partial3 += own[j] * own[j];
      }
      const float squares = block_sum(partial3);
      const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
      #pragma unroll
      for (int j = 0; j < 1; j++) {
        const int column = j * 256 + threadIdx.x;
        if (column >= 128) continue;
        const float v4 = own[j] * factor * parameters0[j];
        const float v5 = rounded<bf16>(v4);
        made_rows[row * 128 + column] = convert<bf16>(v5);
      }
    }
    __syncthreads();
    return made_rows;
  };
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v6 = rounded<bf16>(sums[0]);
    return v6;
  };
  const bf16* const weights[] = {in2};
  vector_product<1, 4096, 128, 1>(block, weights, out0, prepare, element);
}

// func @rms_norm_cast.1 kernel row(%0: f32[T, d], %1: bf16[d]) -> (bf16[T, d]) {
// %2 = rms_norm(%0, %1) : f32[T, d]
// %3 = cast(%2, dtype=bf16) : bf16[T, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_cast_1(const float* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= T) return;
  float parameters0[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read1[4];
    take_four(&in1[column], read1);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      parameters0[j][i] = read1[i];
    }
  }
  await_predecessor();
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in0[row * 128 + column], read2);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      own[j][i] = read2[i];
    }
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial3 += own[j][i] * own[j][i];
    }
  }
  const float squares = warp_sum(partial3);
  const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v4 = own[j][i] * factor * parameters0[j][i];
      const float v5 = rounded<bf16>(v4);
      values[j][i] = v5;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[row * 128 + column], values[j]);
  }
}

// func @linear.1 kernel matmul(%0: bf16[T, d], %1: bf16[hd*heads, d]) -> (bf16[T, hd*heads]) {
// %2 = linear(%0, %1) : bf16[T, hd*heads]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) linear_1(const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    return v0;
  };
  const bf16* const weights[] = {in1};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_1_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_1_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_1_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_1_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_1_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @linear.2 kernel matmul(%0: bf16[T, d], %1: bf16[hd*kv, d]) -> (bf16[T, hd*kv]) {
// %2 = linear(%0, %1) : bf16[T, hd*kv]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) linear_2(const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 64, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    return v0;
  };
  const bf16* const weights[] = {in1};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_2_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 64, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_2_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 64, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_2_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 64, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_2_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 64, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_2_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 64, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      values[j] = v0;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @cache_append.1 kernel append(%0: bf16[context, kv, hd], %1: bf16[T, kv, hd], %2: i32[]) -> (bf16[context, kv, hd]) {
// %3 = cache_append(%0, %1, %2) : bf16[context, kv, hd]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) cache_append_1(const bf16* in0, const bf16* in1, const int* in2, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  const uint4* const vectors0 = reinterpret_cast<const uint4*>(in0);
  const uint4* const vectors1 = reinterpret_cast<const uint4*>(in1);
  uint4* const vectors2 = reinterpret_cast<uint4*>(out0);
  await_predecessor();
  const int start = in2[0], count = T;
  const bool fits = start >= 0 && start + count <= 2048;
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (!fits && i == 0) fail(kContextFull, start, count);
  if (fits && i < count * 8) vectors2[start * 8 + i] = vectors1[i];
  if (vectors2 == vectors0) return;
  for (int at = i; at < 16384; at += static_cast<int>(gridDim.x) * kThreads) {
    const bool replaced = fits && at >= start * 8 && at < (start + count) * 8;
    if (!replaced) vectors2[at] = vectors0[at];
  }
}

// func @attention.1 kernel attention(%0: bf16[T, heads, hd], %1: bf16[context, kv, hd], %2: bf16[context, kv, hd], %3: i32[]) -> (bf16[T, heads, hd]) {
// %4 = attention(%0, %1, %2, %3, causal=true, scale=0.1767766952966369) : bf16[T, heads, hd]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256, 2) attention_1(const bf16* in0, const bf16* in1, const bf16* in2, const int* in3, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int tiles = (T + 127) / 128;
  const int head_of_all = static_cast<int>(block) / tiles;
  const int tile = tiles - 1 - block % tiles;
  const int key_head = head_of_all * 2 / 4;
  const Rows<const bf16> queries{&in0[head_of_all * 32], 128};
  const auto keys = FloatRows<bf16>{&in1[key_head * 32], 64};
  const auto values = FloatRows<bf16>{&in2[key_head * 32], 64};
  const Rows<bf16> out{&out0[head_of_all * 32], 128};
  const Visible visible{2048, in3[0], 0, true};
  attend_tile<32, 64>(tile, T, queries, keys, values, visible, 0.176776692f, out);
}
extern "C" __global__ void __launch_bounds__(384, 1) attention_1_two(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, const int* in3, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  await_predecessor();
  const auto head_at = [&](int head_of_all) {
    const int key_head = head_of_all * 2 / 4;
    const long long at0 = head_of_all * 32;
    const long long at1 = key_head * 32;
    const long long at2 = key_head * 32;
    return HeadPlace<bf16>{static_cast<int>(at0 / 128), static_cast<int>(at0 % 128), static_cast<int>(at1 / 64), static_cast<int>(at1 % 64), static_cast<int>(at2 / 64), static_cast<int>(at2 % 64), Rows<bf16>{&out0[head_of_all * 32], 128}};
  };
  const Visible visible{2048, in3[0], 0, true};
  attend_heads<bf16, 32, 2, 128, 4>(4, T, &map0, &map1, &map2, head_at, visible, 0.176776692f);
#endif
}
extern "C" __global__ void __launch_bounds__(640, 1) attention_1_four(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const __grid_constant__ TensorMap map2, const bf16* in0, const bf16* in1, const bf16* in2, const int* in3, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  await_predecessor();
  const auto head_at = [&](int head_of_all) {
    const int key_head = head_of_all * 2 / 4;
    const long long at0 = head_of_all * 32;
    const long long at1 = key_head * 32;
    const long long at2 = key_head * 32;
    return HeadPlace<bf16>{static_cast<int>(at0 / 128), static_cast<int>(at0 % 128), static_cast<int>(at1 / 64), static_cast<int>(at1 % 64), static_cast<int>(at2 / 64), static_cast<int>(at2 % 64), Rows<bf16>{&out0[head_of_all * 32], 128}};
  };
  const Visible visible{2048, in3[0], 0, true};
  attend_heads<bf16, 32, 4, 64, 4>(4, T, &map0, &map1, &map2, head_at, visible, 0.176776692f);
#endif
}

// func @linear_cast.1 kernel matmul(%0: bf16[T, hd*heads], %1: bf16[d, hd*heads]) -> (f32[T, d]) {
// %2 = linear(%0, %1) : bf16[T, d]
// %3 = cast(%2, dtype=f32) : f32[T, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_1(const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = v0;
    return v1;
  };
  const bf16* const weights[] = {in1};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_1_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_1_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_1_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_1_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_1_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @rms_norm_add.1 kernel row(%0: f32[T, d], %1: bf16[d], %2: f32[T, d]) -> (f32[T, d]) {
// %3 = rms_norm(%0, %1) : f32[T, d]
// %4 = add(%2, %3) : f32[T, d]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_add_1(const float* in0, const bf16* in1, const float* in2, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= T) return;
  float parameters0[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read1[4];
    take_four(&in1[column], read1);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      parameters0[j][i] = read1[i];
    }
  }
  await_predecessor();
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in0[row * 128 + column], read2);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      own[j][i] = read2[i];
    }
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial3 += own[j][i] * own[j][i];
    }
  }
  const float squares = warp_sum(partial3);
  const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read5[4];
    take_four(&in2[row * 128 + column], read5);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v4 = own[j][i] * factor * parameters0[j][i];
      const float v6 = add(read5[i], v4);
      values[j][i] = v6;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[row * 128 + column], values[j]);
  }
}

// func @linear_cast.3 kernel matmul(%0: bf16[T, ffn], %1: bf16[d, ffn]) -> (f32[T, d]) {
// %2 = linear(%0, %1) : bf16[T, d]
// %3 = cast(%2, dtype=f32) : f32[T, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_3(const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 384;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = v0;
    return v1;
  };
  const bf16* const weights[] = {in1};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_3_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 384;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_3_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 384;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_3_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 384;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_3_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 384;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_3_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 128, K = 384;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @gather_cast.1 kernel pointwise(%0: bf16[vocab, d], %1: i32[T]) -> (f32[T, d]) {
// %2 = gather(%0, %1) : bf16[T, d]
// %3 = cast(%2, dtype=f32) : f32[T, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) gather_cast_1(const bf16* in0, const int* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (T * 32)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int column = i0 * 4;
  float values[4];
  const int v2 = load(in1[rest1]);
  const int row3 = checked_index(v2, 4096);
  float read4[4];
  take_four(&in0[row3 * 128 + column], read4);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v5 = read4[j];
    values[j] = v5;
  }
  store_four(&out0[rest1 * 128 + column], values);
}

// func @iota_add_cast.1 kernel pointwise(%0: i32[]) -> (f32[T]) {
// %1 = iota(length=T) : i32[T]
// %2 = add(%1, %0) : i32[T]
// %3 = cast(%2, dtype=f32) : f32[T]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) iota_add_cast_1(const int* in0, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= T) return;
  const int v0 = load(in0[0]);
  const int v1 = add(static_cast<int>(i), v0);
  const float v2 = static_cast<float>(v1);
  out0[i] = convert<float>(v2);
}

// func @mul.1 kernel pointwise(%0: f32[T, 1], %1: f32[hd/2]) -> (f32[T, hd/2]) {
// %2 = mul(%0, %1) : f32[T, hd/2]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) mul_1(const float* in0, const float* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (T * 4)) return;
  const int i0 = quad % 4;
  const int rest1 = quad / 4;
  const int column = i0 * 4;
  float values[4];
  const float v2 = load(in0[rest1]);
  float read3[4];
  take_four(&in1[column], read3);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v4 = mul(v2, read3[j]);
    values[j] = v4;
  }
  store_four(&out0[rest1 * 16 + column], values);
}

// func @cos.1 kernel pointwise(%0: f32[T, hd/2]) -> (f32[T, hd/2]) {
// %1 = cos(%0) : f32[T, hd/2]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cos_1(const float* in0, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (T * 4)) return;
  const int i0 = quad % 4;
  const int rest1 = quad / 4;
  const int column = i0 * 4;
  float values[4];
  float read2[4];
  take_four(&in0[rest1 * 16 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = cosf(read2[j]);
    values[j] = v3;
  }
  store_four(&out0[rest1 * 16 + column], values);
}

// func @sin.1 kernel pointwise(%0: f32[T, hd/2]) -> (f32[T, hd/2]) {
// %1 = sin(%0) : f32[T, hd/2]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) sin_1(const float* in0, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (T * 4)) return;
  const int i0 = quad % 4;
  const int rest1 = quad / 4;
  const int column = i0 * 4;
  float values[4];
  float read2[4];
  take_four(&in0[rest1 * 16 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = sinf(read2[j]);
    values[j] = v3;
  }
  store_four(&out0[rest1 * 16 + column], values);
}

// func @add.1 kernel pointwise(%0: i32[]) -> (i32[]) {
// %1 = dim_size(dim=T) : i32[]
// %2 = add(%0, %1) : i32[]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) add_1(const int* in0, int* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= 1) return;
  const int v0 = load(in0[0]);
  const int v1 = add(v0, T);
  out0[0] = convert<int>(v1);
}

// func @linear_cast.4 kernel matmul(%0: bf16[T, d], %1: bf16[vocab, d]) -> (f32[T, vocab]) {
// %2 = linear(%0, %1) : bf16[T, vocab]
// %3 = cast(%2, dtype=f32) : f32[T, vocab]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_4(const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 4096, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = v0;
    return v1;
  };
  const bf16* const weights[] = {in1};
  tensor_product<N, K>(block, T, in0, weights, out0, element);
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_4_wide(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 4096, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 256, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_4_tall(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 4096, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 256, 144, 2, 1, 4, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_4_even(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 4096, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 128, 128, 1, 2, 5, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_4_low(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 4096, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 128, 1, 2, 7, 2, N, K>(T, &map0, weights, out0, terms, four);
#endif
}
extern "C" __global__ void __launch_bounds__(384, 1) linear_cast_4_small(const __grid_constant__ TensorMap map0, const __grid_constant__ TensorMap map1, const bf16* in0, const bf16* in1, float* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
#if HEW_WGMMA
  constexpr int N = 4096, K = 128;
  struct Terms { };
  const auto terms = [&](int row) {
    return Terms{};
  };
  const auto four = [&](const Terms& own, int row, int column, const float (&sums)[1][4], auto& values) {
    #pragma unroll
    for (int j = 0; j < 4; j++) {
      const int at = column + j;
      const float v0 = rounded<bf16>(sums[0][j]);
      const float v1 = v0;
      values[j] = v1;
    }
  };
  const TensorMap* const weights[] = {&map1};
  wgmma_product<bf16, 64, 64, 1, 2, 8, 1, N, K>(T, &map0, weights, out0, terms, four);
#endif
}

// func @slice.1 kernel pointwise(%0: bf16[T, d]) -> (bf16[1, d]) {
// %1 = slice(%0, start=T - 1, end=T) : bf16[1, d]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) slice_1(const bf16* in0, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 32) return;
  const int column = quad * 4;
  float values[4];
  float read0[4];
  take_four(&in0[((T + (-1))) * 128 + column], read0);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    values[j] = read0[j];
  }
  store_four(&out0[column], values);
}

// func @linear.3 kernel matmul(%0: bf16[1, d], %1: bf16[vocab, d]) -> (bf16[1, vocab]) {
// %2 = linear(%0, %1) : bf16[1, vocab]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) linear_3(const bf16* in0, const bf16* in1, bf16* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  const auto prepare = [&] {
    await_predecessor();
    return in0;
  };
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    return v0;
  };
  const bf16* const weights[] = {in1};
  vector_product<1, 4096, 128, 1>(block, weights, out0, prepare, element);
}

// func @cast.5 kernel pointwise(%0: bf16[vocab]) -> (f32[vocab]) {
// %1 = cast(%0, dtype=f32) : f32[vocab]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cast_5(const bf16* in0, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 1024) return;
  const int column = quad * 4;
  float values[4];
  float read0[4];
  take_four(&in0[column], read0);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v1 = read0[j];
    values[j] = v1;
  }
  store_four(&out0[column], values);
}

// func @linear_cast.5 kernel matmul(%0: bf16[1, hd*heads], %1: bf16[d, hd*heads]) -> (f32[1, d]) {
// %2 = linear(%0, %1) : bf16[1, d]
// %3 = cast(%2, dtype=f32) : f32[1, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_5(const bf16* in0, const bf16* in1, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  const auto prepare = [&] {
    await_predecessor();
    return in0;
  };
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = v0;
    return v1;
  };
  const bf16* const weights[] = {in1};
  vector_product<1, 128, 128, 1>(block, weights, out0, prepare, element);
}

// func @rms_norm_add.2 kernel row(%0: f32[1, d], %1: bf16[d], %2: f32[1, d]) -> (f32[1, d]) {
// %3 = rms_norm(%0, %1) : f32[1, d]
// %4 = add(%2, %3) : f32[1, d]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256) rms_norm_add_2(const float* in0, const bf16* in1, const float* in2, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= 1) return;
  float parameters0[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read1[4];
    take_four(&in1[column], read1);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      parameters0[j][i] = read1[i];
    }
  }
  await_predecessor();
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in0[column], read2);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      own[j][i] = read2[i];
    }
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial3 += own[j][i] * own[j][i];
    }
  }
  const float squares = warp_sum(partial3);
  const float factor = 1.0f / sqrtf(squares / 128 + 0.00000999999975f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read5[4];
    take_four(&in2[column], read5);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v4 = own[j][i] * factor * parameters0[j][i];
      const float v6 = add(read5[i], v4);
      values[j][i] = v6;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[column], values[j]);
  }
}

// func @linear_cast.7 kernel matmul(%0: bf16[1, ffn], %1: bf16[d, ffn]) -> (f32[1, d]) {
// %2 = linear(%0, %1) : bf16[1, d]
// %3 = cast(%2, dtype=f32) : f32[1, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_cast_7(const bf16* in0, const bf16* in1, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  const auto prepare = [&] {
    await_predecessor();
    return in0;
  };
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = rounded<bf16>(sums[0]);
    const float v1 = v0;
    return v1;
  };
  const bf16* const weights[] = {in1};
  vector_product<1, 128, 384, 1>(block, weights, out0, prepare, element);
}

// func @gather_cast.2 kernel pointwise(%0: bf16[vocab, d], %1: i32[1]) -> (f32[1, d]) {
// %2 = gather(%0, %1) : bf16[1, d]
// %3 = cast(%2, dtype=f32) : f32[1, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) gather_cast_2(const bf16* in0, const int* in1, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 32) return;
  const int column = quad * 4;
  float values[4];
  const int v0 = load(in1[0]);
  const int row1 = checked_index(v0, 4096);
  float read2[4];
  take_four(&in0[row1 * 128 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = read2[j];
    values[j] = v3;
  }
  store_four(&out0[column], values);
}

// func @iota_add_cast.2 kernel pointwise(%0: i32[]) -> (f32[1]) {
// %1 = iota(length=1) : i32[1]
// %2 = add(%1, %0) : i32[1]
// %3 = cast(%2, dtype=f32) : f32[1]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) iota_add_cast_2(const int* in0, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= 1) return;
  const int v0 = load(in0[0]);
  const int v1 = add(static_cast<int>(0), v0);
  const float v2 = static_cast<float>(v1);
  out0[0] = convert<float>(v2);
}

// func @mul.2 kernel pointwise(%0: f32[1, 1], %1: f32[hd/2]) -> (f32[1, hd/2]) {
// %2 = mul(%0, %1) : f32[1, hd/2]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) mul_2(const float* in0, const float* in1, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 4) return;
  const int column = quad * 4;
  float values[4];
  const float v0 = load(in0[0]);
  float read1[4];
  take_four(&in1[column], read1);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v2 = mul(v0, read1[j]);
    values[j] = v2;
  }
  store_four(&out0[column], values);
}

// func @cos.2 kernel pointwise(%0: f32[1, hd/2]) -> (f32[1, hd/2]) {
// %1 = cos(%0) : f32[1, hd/2]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cos_2(const float* in0, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 4) return;
  const int column = quad * 4;
  float values[4];
  float read0[4];
  take_four(&in0[column], read0);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v1 = cosf(read0[j]);
    values[j] = v1;
  }
  store_four(&out0[column], values);
}

// func @sin.2 kernel pointwise(%0: f32[1, hd/2]) -> (f32[1, hd/2]) {
// %1 = sin(%0) : f32[1, hd/2]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) sin_2(const float* in0, float* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= 4) return;
  const int column = quad * 4;
  float values[4];
  float read0[4];
  take_four(&in0[column], read0);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v1 = sinf(read0[j]);
    values[j] = v1;
  }
  store_four(&out0[column], values);
}

// func @add.2 kernel pointwise(%0: i32[]) -> (i32[]) {
// %1 = full(value=1, dtype=i32) : i32[]
// %2 = add(%0, %1) : i32[]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) add_2(const int* in0, int* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= 1) return;
  const int v0 = load(in0[0]);
  const int v1 = add(v0, 1);
  out0[0] = convert<int>(v1);
}

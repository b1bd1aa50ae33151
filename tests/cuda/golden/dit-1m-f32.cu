// ---- kernels of the model ----

// func @slice_slice_add_layer_norm_mul_add.2m kernel row(%0: f32[B, 6, d], %1: f32[B, tokens, d]) -> (f32[B, tokens, d]) {
// %2 = slice(%0, axis=1, start=0, end=1) : f32[B, 1, d]
// %3 = full(value=1) : f32[]
// %4 = slice(%0, axis=1, start=1, end=2) : f32[B, 1, d]
// %5 = add(%4, %3) : f32[B, 1, d]
// %6 = layer_norm(%1, eps=0.000001) : f32[B, tokens, d]
// %7 = mul(%6, %5) : f32[B, tokens, d]
// %8 = add(%7, %2) : f32[B, tokens, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) slice_slice_add_layer_norm_mul_add_2m(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= (B * 64)) return;
  await_predecessor();
  const int i0 = row % 64;
  const int rest1 = row / 64;
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in1[rest1 * 64 * 128 + i0 * 128 + column], read2);
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
      partial3 += own[j][i];
    }
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial4 += (own[j][i] - mean) * (own[j][i] - mean);
    }
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read6[4];
    take_four(&in0[rest1 * 6 * 128 + 1 * 128 + column], read6);
    float read9[4];
    take_four(&in0[rest1 * 6 * 128 + column], read9);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v5 = (own[j][i] - mean) * factor;
      const float v7 = add(read6[i], 1.0f);
      const float v8 = mul(v5, v7);
      const float v10 = add(v8, read9[i]);
      values[j][i] = v10;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[rest1 * 64 * 128 + i0 * 128 + column], values[j]);
  }
}

// func @slice_slice_slice_attention.5m kernel attention(%0: f32[B, tokens, 3*heads, hd]) -> (f32[B, tokens, heads, hd]) {
// %1 = slice(%0, axis=2, start=2*heads, end=3*heads) : f32[B, tokens, heads, hd]
// %2 = slice(%0, axis=2, start=heads, end=2*heads) : f32[B, tokens, heads, hd]
// %3 = slice(%0, axis=2, start=0, end=heads) : f32[B, tokens, heads, hd]
// %4 = attention(%3, %2, %1, scale=0.1767766952966369) : f32[B, tokens, heads, hd]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256) slice_slice_slice_attention_5m(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int row = block * kWarps + threadIdx.x / 32;
  if (row >= (B * 256)) return;
  const int i0 = row % 4;
  const int rest1 = row / 4;
  const int i2 = rest1 % 64;
  const int rest3 = rest1 / 64;
  const int oldest = 0, visible = 64;
  const int key_head = i0 * 4 / 4;
  attend_row<32, 32>(&in0[rest3 * 64 * 12 * 32 + i2 * 12 * 32 + i0 * 32], FloatRows<float>{&in0[rest3 * 64 * 12 * 32 + oldest * 12 * 32 + ((key_head + 4)) * 32], 384}, FloatRows<float>{&in0[rest3 * 64 * 12 * 32 + oldest * 12 * 32 + ((key_head + 8)) * 32], 384}, visible, 0.176776692f, &out0[rest3 * 64 * 4 * 32 + i2 * 4 * 32 + i0 * 32]);
}

// func @slice_linear_mul_add.6m kernel matmul(%0: f32[B, 6, d], %1: f32[B, tokens, hd*heads], %2: bf16[d, hd*heads], %3: bf16[d], %4: f32[B, tokens, d]) -> (f32[B, tokens, d]) {
// %5 = slice(%0, axis=1, start=2, end=3) : f32[B, 1, d]
// %6 = linear(%1, %2, %3) : f32[B, tokens, d]
// %7 = mul(%5, %6) : f32[B, tokens, d]
// %8 = add(%4, %7) : f32[B, tokens, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) slice_linear_mul_add_6m(const float* in0, const float* in1, const bf16* in2, const bf16* in3, const float* in4, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 64;
    const int rest1 = row / 64;
    const float v2 = load(in3[column]);
    const float v3 = sums[0] + v2;
    const float v4 = load(in4[rest1 * 64 * 128 + i0 * 128 + column]);
    const float v5 = load(in0[rest1 * 6 * 128 + 2 * 128 + column]);
    const float v6 = mul(v5, v3);
    const float v7 = add(v4, v6);
    return v7;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in1[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v8 = load(in2[n * 128 + k]);
    return v8;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @slice_slice_add_layer_norm_mul_add.8m kernel row(%0: f32[B, 6, d], %1: f32[B, tokens, d]) -> (f32[B, tokens, d]) {
// %2 = slice(%0, axis=1, start=3, end=4) : f32[B, 1, d]
// %3 = full(value=1) : f32[]
// %4 = slice(%0, axis=1, start=4, end=5) : f32[B, 1, d]
// %5 = add(%4, %3) : f32[B, 1, d]
// %6 = layer_norm(%1, eps=0.000001) : f32[B, tokens, d]
// %7 = mul(%6, %5) : f32[B, tokens, d]
// %8 = add(%7, %2) : f32[B, tokens, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) slice_slice_add_layer_norm_mul_add_8m(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= (B * 64)) return;
  await_predecessor();
  const int i0 = row % 64;
  const int rest1 = row / 64;
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in1[rest1 * 64 * 128 + i0 * 128 + column], read2);
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
      partial3 += own[j][i];
    }
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial4 += (own[j][i] - mean) * (own[j][i] - mean);
    }
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read6[4];
    take_four(&in0[rest1 * 6 * 128 + 4 * 128 + column], read6);
    float read9[4];
    take_four(&in0[rest1 * 6 * 128 + 3 * 128 + column], read9);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v5 = (own[j][i] - mean) * factor;
      const float v7 = add(read6[i], 1.0f);
      const float v8 = mul(v5, v7);
      const float v10 = add(v8, read9[i]);
      values[j][i] = v10;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[rest1 * 64 * 128 + i0 * 128 + column], values[j]);
  }
}

// func @slice_linear_mul_add.9m kernel matmul(%0: f32[B, 6, d], %1: f32[B, tokens, ffn], %2: bf16[d, ffn], %3: bf16[d], %4: f32[B, tokens, d]) -> (f32[B, tokens, d]) {
// %5 = slice(%0, axis=1, start=5, end=6) : f32[B, 1, d]
// %6 = linear(%1, %2, %3) : f32[B, tokens, d]
// %7 = mul(%5, %6) : f32[B, tokens, d]
// %8 = add(%4, %7) : f32[B, tokens, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) slice_linear_mul_add_9m(const float* in0, const float* in1, const bf16* in2, const bf16* in3, const float* in4, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 512;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 64;
    const int rest1 = row / 64;
    const float v2 = load(in3[column]);
    const float v3 = sums[0] + v2;
    const float v4 = load(in4[rest1 * 64 * 128 + i0 * 128 + column]);
    const float v5 = load(in0[rest1 * 6 * 128 + 5 * 128 + column]);
    const float v6 = mul(v5, v3);
    const float v7 = add(v4, v6);
    return v7;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in1[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v8 = load(in2[n * 512 + k]);
    return v8;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @slice_slice_add_layer_norm_mul_add.11m kernel row(%0: f32[B, 2, d], %1: f32[B, tokens, d]) -> (f32[B, tokens, d]) {
// %2 = slice(%0, axis=1, start=0, end=1) : f32[B, 1, d]
// %3 = full(value=1) : f32[]
// %4 = slice(%0, axis=1, start=1, end=2) : f32[B, 1, d]
// %5 = add(%4, %3) : f32[B, 1, d]
// %6 = layer_norm(%1, eps=0.000001) : f32[B, tokens, d]
// %7 = mul(%6, %5) : f32[B, tokens, d]
// %8 = add(%7, %2) : f32[B, tokens, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) slice_slice_add_layer_norm_mul_add_11m(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (row >= (B * 64)) return;
  await_predecessor();
  const int i0 = row % 64;
  const int rest1 = row / 64;
  float own[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read2[4];
    take_four(&in1[rest1 * 64 * 128 + i0 * 128 + column], read2);
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
      partial3 += own[j][i];
    }
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      partial4 += (own[j][i] - mean) * (own[j][i] - mean);
    }
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  float values[1][4];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    float read6[4];
    take_four(&in0[rest1 * 2 * 128 + 1 * 128 + column], read6);
    float read9[4];
    take_four(&in0[rest1 * 2 * 128 + column], read9);
    #pragma unroll
    for (int i = 0; i < 4; i++) {
      const int at = column + i;
      const float v5 = (own[j][i] - mean) * factor;
      const float v7 = add(read6[i], 1.0f);
      const float v8 = mul(v5, v7);
      const float v10 = add(v8, read9[i]);
      values[j][i] = v10;
    }
  }
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = (j * 32 + threadIdx.x % 32) * 4;
    store_four(&out0[rest1 * 64 * 128 + i0 * 128 + column], values[j]);
  }
}

// func @silu.1 kernel pointwise(%0: f32[B, d]) -> (f32[B, d]) {
// %1 = silu(%0) : f32[B, d]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) silu_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 32)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int column = i0 * 4;
  float values[4];
  float read2[4];
  take_four(&in0[rest1 * 128 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = silu(read2[j]);
    values[j] = v3;
  }
  store_four(&out0[rest1 * 128 + column], values);
}

// func @linear.1 kernel matmul(%0: f32[B, d], %1: bf16[6*d, d], %2: bf16[6*d]) -> (f32[B, 6*d]) {
// %3 = linear(%0, %1, %2) : f32[B, 6*d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_1(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 768, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = load(in2[column]);
    const float v1 = sums[0] + v0;
    return v1;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v2 = load(in1[n * 128 + k]);
    return v2;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, B, N, K, a, b, store);
}

// func @linear.2 kernel matmul(%0: f32[B, tokens, d], %1: bf16[3*hd*heads, d], %2: bf16[3*hd*heads]) -> (f32[B, tokens, 3*hd*heads]) {
// %3 = linear(%0, %1, %2) : f32[B, tokens, 3*hd*heads]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_2(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 384, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 64;
    const int rest1 = row / 64;
    const float v2 = load(in2[column]);
    const float v3 = sums[0] + v2;
    return v3;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v4 = load(in1[n * 128 + k]);
    return v4;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @linear_gelu_tanh.1 kernel matmul(%0: f32[B, tokens, d], %1: bf16[ffn, d], %2: bf16[ffn]) -> (f32[B, tokens, ffn]) {
// %3 = linear(%0, %1, %2) : f32[B, tokens, ffn]
// %4 = gelu_tanh(%3) : f32[B, tokens, ffn]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256) linear_gelu_tanh_1(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 512, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 64;
    const int rest1 = row / 64;
    const float v2 = load(in2[column]);
    const float v3 = sums[0] + v2;
    const float v4 = gelu_tanh(v3);
    return v4;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v5 = load(in1[n * 128 + k]);
    return v5;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @cache_append.1 kernel append(%0: f32[blocks, B, tokens, d], %1: f32[1, B, tokens, d], %2: i32[]) -> (f32[blocks, B, tokens, d]) {
// %3 = cache_append(%0, %1, %2) : f32[blocks, B, tokens, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) cache_append_1(const float* in0, const float* in1, const int* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int start = in2[0], count = 1;
  const bool fits = start >= 0 && start + count <= 4;
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (!fits && i == 0) fail(kContextFull, start, count);
  if (fits && i < count * (B * 8192)) out0[start * (B * 8192) + i] = in1[i];
  if (out0 == in0) return;
  for (int at = i; at < (B * 32768); at += static_cast<int>(gridDim.x) * kThreads) {
    const bool replaced = fits && at >= start * (B * 8192) && at < (start + count) * (B * 8192);
    if (!replaced) out0[at] = in0[at];
  }
}

// func @add.1 kernel pointwise(%0: i32[]) -> (i32[]) {
// %1 = full(value=1, dtype=i32) : i32[]
// %2 = add(%0, %1) : i32[]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) add_1(const int* in0, int* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= 1) return;
  const int v0 = load(in0[0]);
  const int v1 = add(v0, 1);
  out0[0] = convert<int>(v1);
}

// func @transpose.1 kernel pointwise(%0: f32[B, 1, 8, 4, 8, 4]) -> (f32[B, 8, 8, 1, 4, 4]) {
// %1 = transpose(%0, perm=[0, 2, 4, 1, 3, 5]) : f32[B, 8, 8, 1, 4, 4]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) transpose_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 256)) return;
  const int i0 = quad % 4;
  const int rest1 = quad / 4;
  const int i2 = rest1 % 8;
  const int rest3 = rest1 / 8;
  const int i4 = rest3 % 8;
  const int rest5 = rest3 / 8;
  const int column = 0 * 4;
  float values[4];
  float read6[4];
  take_four(&in0[rest5 * 8 * 4 * 8 * 4 + i4 * 4 * 8 * 4 + i0 * 8 * 4 + i2 * 4 + column], read6);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    values[j] = read6[j];
  }
  store_four(&out0[rest5 * 8 * 8 * 4 * 4 + i4 * 8 * 4 * 4 + i2 * 4 * 4 + i0 * 4 + column], values);
}

// func @linear.3 kernel matmul(%0: f32[B, 8, 8, 16], %1: bf16[d, 16], %2: bf16[d]) -> (f32[B, 8, 8, d]) {
// %3 = linear(%0, %1, %2) : f32[B, 8, 8, d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_3(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 16;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 8;
    const int rest1 = row / 8;
    const int i2 = rest1 % 8;
    const int rest3 = rest1 / 8;
    const float v4 = load(in2[column]);
    const float v5 = sums[0] + v4;
    return v5;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v6 = load(in1[n * 16 + k]);
    return v6;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @add.2 kernel pointwise(%0: f32[B, 64, d], %1: f32[64, d]) -> (f32[B, 64, d]) {
// %2 = add(%0, %1) : f32[B, 64, d]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) add_2(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 2048)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int i2 = rest1 % 64;
  const int rest3 = rest1 / 64;
  const int column = i0 * 4;
  float values[4];
  float read4[4];
  take_four(&in0[rest3 * 64 * 128 + i2 * 128 + column], read4);
  float read5[4];
  take_four(&in1[i2 * 128 + column], read5);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v6 = add(read4[j], read5[j]);
    values[j] = v6;
  }
  store_four(&out0[rest3 * 64 * 128 + i2 * 128 + column], values);
}

// func @cast.1 kernel pointwise(%0: i32[B]) -> (f32[B]) {
// %1 = cast(%0, dtype=f32) : f32[B]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cast_1(const int* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= B) return;
  const int v0 = load(in0[i]);
  const float v1 = static_cast<float>(v0);
  out0[i] = convert<float>(v1);
}

// func @mul.1 kernel pointwise(%0: f32[B, 1], %1: f32[128]) -> (f32[B, 128]) {
// %2 = mul(%0, %1) : f32[B, 128]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) mul_1(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 32)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
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
  store_four(&out0[rest1 * 128 + column], values);
}

// func @cos.1 kernel pointwise(%0: f32[B, 128]) -> (f32[B, 128]) {
// %1 = cos(%0) : f32[B, 128]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cos_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 32)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int column = i0 * 4;
  float values[4];
  float read2[4];
  take_four(&in0[rest1 * 128 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = cosf(read2[j]);
    values[j] = v3;
  }
  store_four(&out0[rest1 * 128 + column], values);
}

// func @sin.1 kernel pointwise(%0: f32[B, 128]) -> (f32[B, 128]) {
// %1 = sin(%0) : f32[B, 128]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) sin_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 32)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int column = i0 * 4;
  float values[4];
  float read2[4];
  take_four(&in0[rest1 * 128 + column], read2);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v3 = sinf(read2[j]);
    values[j] = v3;
  }
  store_four(&out0[rest1 * 128 + column], values);
}

// func @concat.1 kernel pointwise(%0: f32[B, 128], %1: f32[B, 128]) -> (f32[B, 256]) {
// %2 = concat(%0, %1, axis=1) : f32[B, 256]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) concat_1(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 256)) return;
  const int i0 = i % 256;
  const int rest1 = i / 256;
  float v2;
  if (i0 < 128) {
    const float v3 = load(in0[rest1 * 128 + i0]);
    v2 = v3;
  }
  else {
    const float v4 = load(in1[rest1 * 128 + (i0 - (128))]);
    v2 = v4;
  }
  out0[rest1 * 256 + i0] = convert<float>(v2);
}

// func @linear_silu.1 kernel matmul(%0: f32[B, 256], %1: bf16[d, 256], %2: bf16[d]) -> (f32[B, d]) {
// %3 = linear(%0, %1, %2) : f32[B, d]
// %4 = silu(%3) : f32[B, d]
// return %4
// }
extern "C" __global__ void __launch_bounds__(256) linear_silu_1(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 256;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = load(in2[column]);
    const float v1 = sums[0] + v0;
    const float v2 = silu(v1);
    return v2;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v3 = load(in1[n * 256 + k]);
    return v3;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, B, N, K, a, b, store);
}

// func @linear_gather_cast_add.1 kernel matmul(%0: f32[B, d], %1: bf16[d, d], %2: bf16[d], %3: bf16[37, d], %4: i32[B]) -> (f32[B, d]) {
// %5 = linear(%0, %1, %2) : f32[B, d]
// %6 = gather(%3, %4) : bf16[B, d]
// %7 = cast(%6, dtype=f32) : f32[B, d]
// %8 = add(%5, %7) : f32[B, d]
// return %8
// }
extern "C" __global__ void __launch_bounds__(256) linear_gather_cast_add_1(const float* in0, const bf16* in1, const bf16* in2, const bf16* in3, const int* in4, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 128, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = load(in2[column]);
    const float v1 = sums[0] + v0;
    const int v2 = load(in4[row]);
    const int row3 = checked_index(v2, 37);
    const float v4 = load(in3[row3 * 128 + column]);
    const float v5 = v4;
    const float v6 = add(v1, v5);
    return v6;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v7 = load(in1[n * 128 + k]);
    return v7;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, B, N, K, a, b, store);
}

// func @full.1 kernel pointwise() -> (f32[blocks, B, tokens, d]) {
// %0 = full(value=0, shape=[blocks, B, tokens, d]) : f32[blocks, B, tokens, d]
// return %0
// }
extern "C" __global__ void __launch_bounds__(256) full_1(float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 8192)) return;
  const int i0 = quad % 32;
  const int rest1 = quad / 32;
  const int i2 = rest1 % 64;
  const int rest3 = rest1 / 64;
  const int i4 = rest3 % B;
  const int rest5 = rest3 / B;
  const int column = i0 * 4;
  float values[4];
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    values[j] = 0.0f;
  }
  store_four(&out0[rest5 * B * 64 * 128 + i4 * 64 * 128 + i2 * 128 + column], values);
}

// func @full.2 kernel pointwise() -> (i32[]) {
// %0 = full(value=0, dtype=i32) : i32[]
// return %0
// }
extern "C" __global__ void __launch_bounds__(256) full_2(int* out0) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= 1) return;
  out0[0] = convert<int>(0);
}

// func @linear.4 kernel matmul(%0: f32[B, d], %1: bf16[2*d, d], %2: bf16[2*d]) -> (f32[B, 2*d]) {
// %3 = linear(%0, %1, %2) : f32[B, 2*d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_4(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 256, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const float v0 = load(in2[column]);
    const float v1 = sums[0] + v0;
    return v1;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v2 = load(in1[n * 128 + k]);
    return v2;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, B, N, K, a, b, store);
}

// func @linear.5 kernel matmul(%0: f32[B, tokens, d], %1: bf16[16, d], %2: bf16[16]) -> (f32[B, tokens, 16]) {
// %3 = linear(%0, %1, %2) : f32[B, tokens, 16]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_5(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int N = 16, K = 128;
  const auto element = [&](int row, int column, const float (&sums)[1]) {
    const int i0 = row % 64;
    const int rest1 = row / 64;
    const float v2 = load(in2[column]);
    const float v3 = sums[0] + v2;
    return v3;
  };
  await_predecessor();
  const int column_tiles = (N + 63) / 64;
  const auto a = [&](int m, int k) { return load(in0[(long long)m * K + k]); };
  const auto b = [&](int k, int n) {
    const float v4 = load(in1[n * 128 + k]);
    return v4;
  };
  const auto store = [&](int row, int column, float sum) {
    out0[(long long)row * N + column] = convert<float>(element(row, column, {sum}));
  };
  tiled_product(block / column_tiles, block % column_tiles, (B * 64), N, K, a, b, store);
}

// func @transpose.2 kernel pointwise(%0: f32[B, 8, 8, 4, 4, 1]) -> (f32[B, 1, 8, 4, 8, 4]) {
// %1 = transpose(%0, perm=[0, 5, 1, 3, 2, 4]) : f32[B, 1, 8, 4, 8, 4]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) transpose_2(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int quad = static_cast<int>(block) * kThreads + threadIdx.x;
  if (quad >= (B * 256)) return;
  const int i0 = quad % 8;
  const int rest1 = quad / 8;
  const int i2 = rest1 % 4;
  const int rest3 = rest1 / 4;
  const int i4 = rest3 % 8;
  const int rest5 = rest3 / 8;
  const int column = 0 * 4;
  float values[4];
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int at = column + j;
    const float v6 = load(in0[rest5 * 8 * 8 * 4 * 4 + i4 * 8 * 4 * 4 + i0 * 4 * 4 + i2 * 4 + at]);
    values[j] = v6;
  }
  store_four(&out0[rest5 * 8 * 4 * 8 * 4 + i4 * 4 * 8 * 4 + i2 * 8 * 4 + i0 * 4 + column], values);
}

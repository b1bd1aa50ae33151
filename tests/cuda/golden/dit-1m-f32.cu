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
  float own[4];
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v2 = load(in1[rest1 * 64 * 128 + i0 * 128 + column]);
    own[j] = v2;
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial3 += own[j];
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial4 += (own[j] - mean) * (own[j] - mean);
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v5 = (own[j] - mean) * factor;
    const float v6 = load(in0[rest1 * 6 * 128 + 1 * 128 + column]);
    const float v7 = add(v6, 1.0f);
    const float v8 = mul(v5, v7);
    const float v9 = load(in0[rest1 * 6 * 128 + column]);
    const float v10 = add(v8, v9);
    out0[rest1 * 64 * 128 + i0 * 128 + column] = convert<float>(v10);
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
  attend_row<32, 32>(&in0[rest3 * 64 * 12 * 32 + i2 * 12 * 32 + i0 * 32], &in0[rest3 * 64 * 12 * 32 + oldest * 12 * 32 + ((key_head + 4)) * 32], &in0[rest3 * 64 * 12 * 32 + oldest * 12 * 32 + ((key_head + 8)) * 32], 384, 384, visible, 0.176776692f, &out0[rest3 * 64 * 4 * 32 + i2 * 4 * 32 + i0 * 32]);
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
  float own[4];
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v2 = load(in1[rest1 * 64 * 128 + i0 * 128 + column]);
    own[j] = v2;
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial3 += own[j];
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial4 += (own[j] - mean) * (own[j] - mean);
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v5 = (own[j] - mean) * factor;
    const float v6 = load(in0[rest1 * 6 * 128 + 4 * 128 + column]);
    const float v7 = add(v6, 1.0f);
    const float v8 = mul(v5, v7);
    const float v9 = load(in0[rest1 * 6 * 128 + 3 * 128 + column]);
    const float v10 = add(v8, v9);
    out0[rest1 * 64 * 128 + i0 * 128 + column] = convert<float>(v10);
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
  float own[4];
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v2 = load(in1[rest1 * 64 * 128 + i0 * 128 + column]);
    own[j] = v2;
  }
  float partial3 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial3 += own[j];
  }
  const float sum = warp_sum(partial3);
  const float mean = sum / 128;
  float partial4 = 0.0f;
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    partial4 += (own[j] - mean) * (own[j] - mean);
  }
  const float squares = warp_sum(partial4);
  const float factor = 1.0f / sqrtf(squares / 128 + 9.99999997e-7f);
  #pragma unroll
  for (int j = 0; j < 4; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v5 = (own[j] - mean) * factor;
    const float v6 = load(in0[rest1 * 2 * 128 + 1 * 128 + column]);
    const float v7 = add(v6, 1.0f);
    const float v8 = mul(v5, v7);
    const float v9 = load(in0[rest1 * 2 * 128 + column]);
    const float v10 = add(v8, v9);
    out0[rest1 * 64 * 128 + i0 * 128 + column] = convert<float>(v10);
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
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 128)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const float v2 = load(in0[rest1 * 128 + i0]);
  const float v3 = silu(v2);
  out0[rest1 * 128 + i0] = convert<float>(v3);
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

// func @conv2d.1 kernel convolution(%0: f32[B, 1, 32, 32], %1: bf16[d, 1, 4, 4], %2: bf16[d]) -> (f32[B, d, 8, 8]) {
// %3 = conv2d(%0, %1, %2, stride=[4, 4]) : f32[B, d, 8, 8]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) conv2d_1(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 8192)) return;
  const int i0 = i % 8;
  const int rest1 = i / 8;
  const int i2 = rest1 % 8;
  const int rest3 = rest1 / 8;
  const int i4 = rest3 % 128;
  const int rest5 = rest3 / 128;
  const float v6 = load(in2[i4]);
  float sum = v6;
  for (int c = 0; c < 1; c++) {
    for (int tap_row = 0; tap_row < 4; tap_row++) {
      const int row = i2 * 4 - 0 + tap_row * 1;
      if (row < 0 || row >= 32) continue;
      for (int tap_column = 0; tap_column < 4; tap_column++) {
        const int column = i0 * 4 - 0 + tap_column * 1;
        if (column < 0 || column >= 32) continue;
        const float v7 = load(in0[rest5 * 32 * 32 + c * 32 * 32 + row * 32 + column]);
        const float v8 = load(in1[i4 * 4 * 4 + c * 4 * 4 + tap_row * 4 + tap_column]);
        sum += v7 * v8;
      }
    }
  }
  out0[rest5 * 128 * 8 * 8 + i4 * 8 * 8 + i2 * 8 + i0] = convert<float>(sum);
}

// func @transpose.1 kernel pointwise(%0: f32[B, d, 8, 8]) -> (f32[B, 8, 8, d]) {
// %1 = transpose(%0, perm=[0, 2, 3, 1]) : f32[B, 8, 8, d]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) transpose_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 8192)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const int i2 = rest1 % 8;
  const int rest3 = rest1 / 8;
  const int i4 = rest3 % 8;
  const int rest5 = rest3 / 8;
  const float v6 = load(in0[rest5 * 128 * 8 * 8 + i0 * 8 * 8 + i4 * 8 + i2]);
  out0[rest5 * 8 * 8 * 128 + i4 * 8 * 128 + i2 * 128 + i0] = convert<float>(v6);
}

// func @add.2 kernel pointwise(%0: f32[B, 64, d], %1: f32[64, d]) -> (f32[B, 64, d]) {
// %2 = add(%0, %1) : f32[B, 64, d]
// return %2
// }
extern "C" __global__ void __launch_bounds__(256) add_2(const float* in0, const float* in1, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 8192)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const int i2 = rest1 % 64;
  const int rest3 = rest1 / 64;
  const float v4 = load(in0[rest3 * 64 * 128 + i2 * 128 + i0]);
  const float v5 = load(in1[i2 * 128 + i0]);
  const float v6 = add(v4, v5);
  out0[rest3 * 64 * 128 + i2 * 128 + i0] = convert<float>(v6);
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
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 128)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const float v2 = load(in0[rest1]);
  const float v3 = load(in1[i0]);
  const float v4 = mul(v2, v3);
  out0[rest1 * 128 + i0] = convert<float>(v4);
}

// func @cos.1 kernel pointwise(%0: f32[B, 128]) -> (f32[B, 128]) {
// %1 = cos(%0) : f32[B, 128]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) cos_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 128)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const float v2 = load(in0[rest1 * 128 + i0]);
  const float v3 = cosf(v2);
  out0[rest1 * 128 + i0] = convert<float>(v3);
}

// func @sin.1 kernel pointwise(%0: f32[B, 128]) -> (f32[B, 128]) {
// %1 = sin(%0) : f32[B, 128]
// return %1
// }
extern "C" __global__ void __launch_bounds__(256) sin_1(const float* in0, float* out0, const int B) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 128)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const float v2 = load(in0[rest1 * 128 + i0]);
  const float v3 = sinf(v2);
  out0[rest1 * 128 + i0] = convert<float>(v3);
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
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 32768)) return;
  const int i0 = i % 128;
  const int rest1 = i / 128;
  const int i2 = rest1 % 64;
  const int rest3 = rest1 / 64;
  const int i4 = rest3 % B;
  const int rest5 = rest3 / B;
  out0[rest5 * B * 64 * 128 + i4 * 64 * 128 + i2 * 128 + i0] = convert<float>(0.0f);
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

// func @linear.3 kernel matmul(%0: f32[B, d], %1: bf16[2*d, d], %2: bf16[2*d]) -> (f32[B, 2*d]) {
// %3 = linear(%0, %1, %2) : f32[B, 2*d]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_3(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
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

// func @linear.4 kernel matmul(%0: f32[B, tokens, d], %1: bf16[16, d], %2: bf16[16]) -> (f32[B, tokens, 16]) {
// %3 = linear(%0, %1, %2) : f32[B, tokens, 16]
// return %3
// }
extern "C" __global__ void __launch_bounds__(256) linear_4(const float* in0, const bf16* in1, const bf16* in2, float* out0, const int B) {
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
  const int i = static_cast<int>(block) * kThreads + threadIdx.x;
  if (i >= (B * 1024)) return;
  const int i0 = i % 4;
  const int rest1 = i / 4;
  const int i2 = rest1 % 8;
  const int rest3 = rest1 / 8;
  const int i4 = rest3 % 4;
  const int rest5 = rest3 / 4;
  const int i6 = rest5 % 8;
  const int rest7 = rest5 / 8;
  const float v8 = load(in0[rest7 * 8 * 8 * 4 * 4 + i6 * 8 * 4 * 4 + i2 * 4 * 4 + i4 * 4 + i0]);
  out0[rest7 * 8 * 4 * 8 * 4 + i6 * 4 * 8 * 4 + i4 * 8 * 4 + i2 * 4 + i0] = convert<float>(v8);
}

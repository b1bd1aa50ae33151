// func @quantized_append.5m kernel append(%0: bf16[T, kv, hd], %1: f32[T, hd/2], %2: f32[T, hd/2], %3: i8[context, kv, hd], %4: i32[], %5: f32[context, kv, 1]) -> (i8[context, kv, hd], f32[context, kv, 1]) {
// %6 = cast(%0, dtype=f32) : f32[T, kv, hd]
// %7 = rope(%6, %1, %2) : f32[T, kv, hd]
// %8, %9 = dynamic_quantize(%7) : i8[T, kv, hd], f32[T, kv, 1]
// %10 = cache_append(%3, %8, %4) : i8[context, kv, hd]
// %11 = cache_append(%5, %9, %4) : f32[context, kv, 1]
// return %10, %11
// }
extern "C" __global__ void __launch_bounds__(256) quantized_append_5m(const bf16* in0, const float* in1, const float* in2, const signed char* in3, const int* in4, const float* in5, signed char* out0, float* out1, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int start = in4[0], count = T;
  const bool fits = start >= 0 && start + count <= 2048;
  if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, start, count);
  if (out0 != in3) {
    for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
      const bool replaced = fits && at >= start * 64 && at < (start + count) * 64;
      if (!replaced) out0[at] = in3[at];
    }
  }
  if (out1 != in5) {
    for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 4096; at += static_cast<int>(gridDim.x) * kThreads) {
      const bool replaced = fits && at >= start * 2 && at < (start + count) * 2;
      if (!replaced) out1[at] = in5[at];
    }
  }
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (!fits || row >= count * 2) return;
  const int i0 = row % 2;
  const int rest1 = row / 2;
  Extent extent{0.0f, 0.0f};
  float own[1];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const int i2 = column % 16;
    const float v3 = load(in0[rest1 * 2 * 32 + i0 * 32 + i2]);
    const float v4 = v3;
    const float v5 = load(in0[rest1 * 2 * 32 + i0 * 32 + (i2 + 16)]);
    const float v6 = v5;
    const float v7 = load(in1[rest1 * 16 + i2]);
    const float v8 = load(in2[rest1 * 16 + i2]);
    const float v9 = column == i2 ? v4 * v7 - v6 * v8 : v6 * v7 + v4 * v8;
    own[j] = v9;
    extent.add(own[j]);
  }
  const Range range = symmetric_range<-128, 127>(warp_extent(extent));
  const int to = start * 2 + row;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    out0[to * 32 + column] = convert<signed char>(quantized<-128, 127>(own[j], range));
  }
  if (threadIdx.x % 32 == 0) {
    out1[to] = range.scale;
  }
}

// func @quantized_append.6m kernel append(%0: bf16[T, kv, hd], %1: i8[context, kv, hd], %2: i32[], %3: f32[context, kv, 1]) -> (i8[context, kv, hd], f32[context, kv, 1]) {
// %4 = cast(%0, dtype=f32) : f32[T, kv, hd]
// %5, %6 = dynamic_quantize(%4) : i8[T, kv, hd], f32[T, kv, 1]
// %7 = cache_append(%1, %5, %2) : i8[context, kv, hd]
// %8 = cache_append(%3, %6, %2) : f32[context, kv, 1]
// return %7, %8
// }
extern "C" __global__ void __launch_bounds__(256) quantized_append_6m(const bf16* in0, const signed char* in1, const int* in2, const float* in3, signed char* out0, float* out1, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int start = in2[0], count = T;
  const bool fits = start >= 0 && start + count <= 2048;
  if (!fits && block == 0 && threadIdx.x == 0) fail(kContextFull, start, count);
  if (out0 != in1) {
    for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
      const bool replaced = fits && at >= start * 64 && at < (start + count) * 64;
      if (!replaced) out0[at] = in1[at];
    }
  }
  if (out1 != in3) {
    for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 4096; at += static_cast<int>(gridDim.x) * kThreads) {
      const bool replaced = fits && at >= start * 2 && at < (start + count) * 2;
      if (!replaced) out1[at] = in3[at];
    }
  }
  const int row = static_cast<int>(block) * kWarps + threadIdx.x / 32;
  if (!fits || row >= count * 2) return;
  const int i0 = row % 2;
  const int rest1 = row / 2;
  Extent extent{0.0f, 0.0f};
  float own[1];
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    const float v2 = load(in0[rest1 * 2 * 32 + i0 * 32 + column]);
    const float v3 = v2;
    own[j] = v3;
    extent.add(own[j]);
  }
  const Range range = symmetric_range<-128, 127>(warp_extent(extent));
  const int to = start * 2 + row;
  #pragma unroll
  for (int j = 0; j < 1; j++) {
    const int column = j * 32 + threadIdx.x % 32;
    out0[to * 32 + column] = convert<signed char>(quantized<-128, 127>(own[j], range));
  }
  if (threadIdx.x % 32 == 0) {
    out1[to] = range.scale;
  }
}

// func @decode_attention.14m kernel attention(%0: bf16[1, heads, hd], %1: f32[1, hd/2], %2: f32[1, hd/2], %3: bf16[1, kv, hd], %4: bf16[1, kv, hd], %5: i8[context, kv, hd], %6: i32[], %7: f32[context, kv, 1], %8: i8[context, kv, hd], %9: f32[context, kv, 1]) -> (bf16[1, heads, hd], i8[context, kv, hd], f32[context, kv, 1], i8[context, kv, hd], f32[context, kv, 1]) {
// %10 = cast(%0, dtype=f32) : f32[1, heads, hd]
// %11 = rope(%10, %1, %2) : f32[1, heads, hd]
// %12 = cast(%11, dtype=bf16) : bf16[1, heads, hd]
// %13 = cast(%3, dtype=f32) : f32[1, kv, hd]
// %14 = rope(%13, %1, %2) : f32[1, kv, hd]
// %15 = cast(%4, dtype=f32) : f32[1, kv, hd]
// %16, %17 = dynamic_quantize(%14) : i8[1, kv, hd], f32[1, kv, 1]
// %18 = cache_append(%5, %16, %6) : i8[context, kv, hd]
// %19 = cache_append(%7, %17, %6) : f32[context, kv, 1]
// %20, %21 = dynamic_quantize(%15) : i8[1, kv, hd], f32[1, kv, 1]
// %22 = cache_append(%8, %20, %6) : i8[context, kv, hd]
// %23 = cache_append(%9, %21, %6) : f32[context, kv, 1]
// %24 = dequantize(%18, %19) : f32[context, kv, hd]
// %25 = cast(%24, dtype=bf16) : bf16[context, kv, hd]
// %26 = dequantize(%22, %23) : f32[context, kv, hd]
// %27 = cast(%26, dtype=bf16) : bf16[context, kv, hd]
// %28 = attention(%12, %25, %27, %6, causal=true, scale=0.1767766952966369) : bf16[1, heads, hd]
// return %28, %18, %19, %22, %23
// }
extern "C" __global__ void __launch_bounds__(256, 2) decode_attention_14m(const bf16* in0, const float* in1, const float* in2, const bf16* in3, const bf16* in4, const signed char* in5, const int* in6, const float* in7, const signed char* in8, const float* in9, bf16* out0, signed char* out1, float* out2, signed char* out3, float* out4, char* scratch) {
  release_successor();
  const unsigned block = blockIdx.x;
  constexpr int kRows = 2, kWidth = 32, kSplits = 32, kKeyHeads = 2;
  __shared__ __align__(16) bf16 queries[kRows][kWidth];
  __shared__ __align__(16) signed char fresh_key[kWidth];
  __shared__ float fresh_key_scale;
  __shared__ __align__(16) signed char fresh_value[kWidth];
  __shared__ float fresh_value_scale;
  static unsigned arrivals[kKeyHeads];
  const int head = block / kSplits, split = block % kSplits;
  await_predecessor();
  const int position = in6[0];
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
        made_key = v16;
      }
      float made_value = 0.0f;
      if (channel < kWidth) {
        const float v17 = load(in4[head * 32 + channel]);
        const float v18 = v17;
        made_value = v18;
      }
      Extent extents[2] = {};
      extents[0].add(made_key);
      extents[1].add(made_value);
      block_extents(extents);
      const Range range_key = symmetric_range<-128, 127>(extents[0]);
      if (channel < kWidth) {
        fresh_key[channel] = convert<signed char>(quantized<-128, 127>(made_key, range_key));
        if (fits) out1[row * kWidth + channel] = fresh_key[channel];
      }
      if (threadIdx.x == 0) {
        fresh_key_scale = range_key.scale;
        if (fits) out2[row] = fresh_key_scale;
      }
      const Range range_value = symmetric_range<-128, 127>(extents[1]);
      if (channel < kWidth) {
        fresh_value[channel] = convert<signed char>(quantized<-128, 127>(made_value, range_value));
        if (fits) out3[row * kWidth + channel] = fresh_value[channel];
      }
      if (threadIdx.x == 0) {
        fresh_value_scale = range_value.scale;
        if (fits) out4[row] = fresh_value_scale;
      }
    }
    if (out1 != in5) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 64 && at < (position + 1) * 64;
        if (!replaced) out1[at] = in5[at];
      }
    }
    if (out2 != in7) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 4096; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 2 && at < (position + 1) * 2;
        if (!replaced) out2[at] = in7[at];
      }
    }
    if (out3 != in8) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 131072; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 64 && at < (position + 1) * 64;
        if (!replaced) out3[at] = in8[at];
      }
    }
    if (out4 != in9) {
      for (int at = static_cast<int>(block) * kThreads + threadIdx.x; at < 4096; at += static_cast<int>(gridDim.x) * kThreads) {
        const bool replaced = fits && at >= position * 2 && at < (position + 1) * 2;
        if (!replaced) out4[at] = in9[at];
      }
    }
  };
  const long long first_row = static_cast<long long>(oldest) * kKeyHeads + head;
  PartialRow<kWidth>* const parts = reinterpret_cast<PartialRow<kWidth>*>(scratch) + head * kSplits * kRows;
  attend_cached<kRows, kWidth, kSplits, true>(queries, ByteRows<signed char, false>{fresh_key, 0, &fresh_key_scale, nullptr, 0}, ByteRows<signed char, false>{fresh_value, 0, &fresh_value_scale, nullptr, 0}, ByteRows<signed char, false>{in5 + first_row * kWidth, kKeyHeads * kWidth, in7 + first_row, nullptr, kKeyHeads}, ByteRows<signed char, false>{in8 + first_row * kWidth, kKeyHeads * kWidth, in9 + first_row, nullptr, kKeyHeads}, cached, split, 0.176776692f, parts, arrivals + head, out0 + head * kRows * kWidth, prepare);
}

// func @attention.1 kernel attention(%0: bf16[T, heads, hd], %1: i8[context, kv, hd], %2: f32[context, kv, 1], %3: i8[context, kv, hd], %4: f32[context, kv, 1], %5: i32[]) -> (bf16[T, heads, hd]) {
// %6 = dequantize(%1, %2) : f32[context, kv, hd]
// %7 = cast(%6, dtype=bf16) : bf16[context, kv, hd]
// %8 = dequantize(%3, %4) : f32[context, kv, hd]
// %9 = cast(%8, dtype=bf16) : bf16[context, kv, hd]
// %10 = attention(%0, %7, %9, %5, causal=true, scale=0.1767766952966369) : bf16[T, heads, hd]
// return %10
// }
extern "C" __global__ void __launch_bounds__(256, 2) attention_1(const bf16* in0, const signed char* in1, const float* in2, const signed char* in3, const float* in4, const int* in5, bf16* out0, const int T) {
  release_successor();
  const unsigned block = blockIdx.x;
  await_predecessor();
  const int tiles = (T + 127) / 128;
  const int head_of_all = static_cast<int>(block) / tiles;
  const int tile = tiles - 1 - block % tiles;
  const int key_head = head_of_all * 2 / 4;
  const Rows<const bf16> queries{&in0[head_of_all * 32], 128};
  const auto keys = ByteRows<signed char, false>{&in1[key_head * 32], 64, &in2[key_head], nullptr, 2};
  const auto values = ByteRows<signed char, false>{&in3[key_head * 32], 64, &in4[key_head], nullptr, 2};
  const Rows<bf16> out{&out0[head_of_all * 32], 128};
  const Visible visible{2048, in5[0], 0, true};
  attend_tile<32, 64>(tile, T, queries, keys, values, visible, 0.176776692f, out);
}
// Calling a kernel whose parameters are known at run time only.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace hew_ascend {

template <size_t... I>
void call_with(void* kernel, const uint64_t* words, std::index_sequence<I...>) {
    reinterpret_cast<void (*)(decltype(I)...)>(kernel)(words[I]...);
}

// Integer and pointer parameters travel alike, so any kernel can be called with 64-bit words.
template <size_t N = 0>
void call(void* kernel, const std::vector<uint64_t>& words) {
    if constexpr (N <= 24) {
        if (words.size() == N) return call_with(kernel, words.data(), std::make_index_sequence<N>());
        call<N + 1>(kernel, words);
    }
}

}  // namespace hew_ascend

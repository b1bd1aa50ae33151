/** The header that every emitted kernel includes. */

export const preludeName = 'hew_kernel.h';

export const prelude = `// What the kernels of this bundle share.
#pragma once
#include "kernel_operator.h"

namespace {

constexpr float kInfinity = __builtin_huge_valf();
constexpr float kNaN = __builtin_nanf("");

__aicore__ inline constexpr uint32_t CeilDiv(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
__aicore__ inline constexpr uint32_t Align16(uint32_t a) { return CeilDiv(a, 16) * 16; }
__aicore__ inline constexpr uint32_t Minimum(uint32_t a, uint64_t b) { return a < b ? a : static_cast<uint32_t>(b); }

// Comparisons take whole repeats of 64 floats.
__aicore__ inline constexpr uint32_t WholeRepeats(uint32_t count) { return CeilDiv(count, 64) * 64; }

// An index into a table of \`bound\` rows; what lies outside reads the nearest row.
__aicore__ inline uint32_t Clamp(int64_t index, uint32_t bound) {
    return index < 0 ? 0 : index >= int64_t(bound) ? bound - 1 : uint32_t(index);
}

template <typename T>
__aicore__ inline float ToFloat(T value) {
    return static_cast<float>(value);
}

__aicore__ inline float ScalarSqrt(float value) { return sqrt(value); }

// To the nearest integer, ties to even: the sum has no room for a fraction. For magnitudes below 2^22.
__aicore__ inline float NearestEven(float value) {
    const float shifted = value + 12582912.0f;
    return shifted - 12582912.0f;
}

// The scalar unit waits until the vector unit has finished with what it is about to touch.
__aicore__ inline void WaitForVector() {
    const int32_t event = static_cast<int32_t>(AscendC::GetTPipePtr()->FetchEventID(AscendC::HardEvent::V_S));
    AscendC::SetFlag<AscendC::HardEvent::V_S>(event);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(event);
}

// The vector unit waits for what the scalar unit has written.
__aicore__ inline void WaitForScalar() {
    const int32_t event = static_cast<int32_t>(AscendC::GetTPipePtr()->FetchEventID(AscendC::HardEvent::S_V));
    AscendC::SetFlag<AscendC::HardEvent::S_V>(event);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(event);
}

#if defined(__NPU_ARCH__) && __NPU_ARCH__ == 2002
// Without DataCopyPad copies are whole blocks of 32 bytes. A load reads on into what lies behind; every tensor in global
// memory is followed by 32 bytes that may be read.
template <typename T>
__aicore__ inline void Load(const AscendC::LocalTensor<T>& to, const AscendC::GlobalTensor<T>& from, uint32_t count) {
    constexpr uint32_t perBlock = 32 / sizeof(T);
    AscendC::GlobalTensor<T> open;
    open.SetGlobalBuffer(from.GetPhyAddr());
    AscendC::DataCopy(to, open, CeilDiv(count, perBlock) * perBlock);
}

// What is no whole block is written as the last 32 bytes of the row, which the scalar unit brings to a block of their own;
// rows below 32 bytes are written one by one. The tensor is not used afterwards.
template <typename T>
__aicore__ inline void Store(const AscendC::GlobalTensor<T>& to, const AscendC::LocalTensor<T>& from, uint32_t count) {
    constexpr uint32_t perBlock = 32 / sizeof(T);
    const uint32_t whole = count / perBlock * perBlock;
    if (whole > 0) AscendC::DataCopy(to, from, whole);
    if (whole == count) return;
    AscendC::PipeBarrier<PIPE_ALL>();
    if (whole == 0) {
        for (uint32_t i = 0; i < count; ++i) to[i].SetValue(0, from.GetValue(i));
        AscendC::DataCacheCleanAndInvalid<T, AscendC::CacheLine::ENTIRE_DATA_CACHE, AscendC::DcciDst::CACHELINE_OUT>(to);
    } else {
        T last[perBlock];
        for (uint32_t i = 0; i < perBlock; ++i) last[i] = from.GetValue(count - perBlock + i);
        for (uint32_t i = 0; i < perBlock; ++i) from.SetValue(whole + i, last[i]);
        AscendC::PipeBarrier<PIPE_ALL>();
        AscendC::DataCopy(to[count - perBlock], from[whole], perBlock);
    }
    AscendC::PipeBarrier<PIPE_ALL>();
}

template <typename T>
__aicore__ inline void LoadRows(const AscendC::LocalTensor<T>& to, const AscendC::GlobalTensor<T>& from, uint32_t rows,
                                uint32_t width, uint32_t gap) {
    constexpr uint32_t perBlock = 32 / sizeof(T);
    const uint32_t pitch = CeilDiv(width, perBlock) * perBlock;
    for (uint32_t row = 0; row < rows; ++row) Load(to[row * pitch], from[static_cast<uint64_t>(row) * (width + gap)], width);
}
#else
// \`count\` elements, whatever their number and address.
template <typename T>
__aicore__ inline void Load(const AscendC::LocalTensor<T>& to, const AscendC::GlobalTensor<T>& from, uint32_t count) {
    const AscendC::DataCopyExtParams block{1, static_cast<uint32_t>(count * sizeof(T)), 0, 0, 0};
    AscendC::DataCopyPad(to, from, block, AscendC::DataCopyPadExtParams<T>{false, 0, 0, T(0)});
}
template <typename T>
__aicore__ inline void Store(const AscendC::GlobalTensor<T>& to, const AscendC::LocalTensor<T>& from, uint32_t count) {
    const AscendC::DataCopyExtParams block{1, static_cast<uint32_t>(count * sizeof(T)), 0, 0, 0};
    AscendC::DataCopyPad(to, from, block);
}

// \`rows\` rows of \`width\` elements with \`gap\` elements between them; each begins at a multiple of 32 bytes.
template <typename T>
__aicore__ inline void LoadRows(const AscendC::LocalTensor<T>& to, const AscendC::GlobalTensor<T>& from, uint32_t rows,
                                uint32_t width, uint32_t gap) {
    const AscendC::DataCopyExtParams blocks{static_cast<uint16_t>(rows), static_cast<uint32_t>(width * sizeof(T)),
                                            static_cast<uint32_t>(gap * sizeof(T)), 0, 0};
    AscendC::DataCopyPad(to, from, blocks, AscendC::DataCopyPadExtParams<T>{false, 0, 0, T(0)});
}
template <typename T>
__aicore__ inline void StoreRows(const AscendC::GlobalTensor<T>& to, const AscendC::LocalTensor<T>& from, uint32_t rows,
                                 uint32_t width, uint32_t gap) {
    const AscendC::DataCopyExtParams blocks{static_cast<uint16_t>(rows), static_cast<uint32_t>(width * sizeof(T)), 0,
                                            static_cast<uint32_t>(gap * sizeof(T)), 0};
    AscendC::DataCopyPad(to, from, blocks);
}
#endif

// Elements \`step\` apart, one by one.
template <typename T>
__aicore__ inline void StoreStrided(const AscendC::GlobalTensor<T>& to, const AscendC::LocalTensor<T>& from, uint32_t count,
                                    uint32_t step) {
    const int32_t event = static_cast<int32_t>(AscendC::GetTPipePtr()->FetchEventID(AscendC::HardEvent::MTE3_S));
    AscendC::SetFlag<AscendC::HardEvent::MTE3_S>(event);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_S>(event);
    WaitForVector();
    for (uint32_t i = 0; i < count; ++i) to[i * step].SetValue(0, from.GetValue(i));
    WaitForScalar();
    AscendC::DataCacheCleanAndInvalid<T, AscendC::CacheLine::ENTIRE_DATA_CACHE, AscendC::DcciDst::CACHELINE_OUT>(to);
}

// exp(x - greatest[0])
__aicore__ inline void ExpOfDifference(const AscendC::LocalTensor<float>& to, const AscendC::LocalTensor<float>& from,
                                       const AscendC::LocalTensor<float>& greatest, uint32_t count) {
    WaitForVector();
    const float value = greatest.GetValue(0);
    WaitForScalar();
    AscendC::Adds(to, from, -value, count);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(to, to, count);
}

// An element in descending order of values, the lower index first among equals.
struct Candidate {
    float value;
    uint32_t at;
    __aicore__ inline bool Before(const Candidate& other) const {
        return value > other.value || (value == other.value && at < other.at);
    }
};
constexpr uint32_t kNowhere = 0xffffffff;

}  // namespace
`;

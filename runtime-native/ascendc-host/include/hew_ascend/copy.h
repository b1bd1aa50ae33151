// Copies between global and local memory.
#pragma once
#include "hew_ascend/tensor.h"

namespace AscendC {

struct DataCopyParams {
    uint16_t blockCount = 1, blockLen = 0;
    union { uint16_t srcGap = 0; uint16_t srcStride; };
    union { uint16_t dstGap = 0; uint16_t dstStride; };
    DataCopyParams() = default;
    DataCopyParams(uint16_t count, uint16_t length, uint16_t source, uint16_t destination)
        : blockCount(count), blockLen(length), srcGap(source), dstGap(destination) {}
};

struct DataCopyExtParams {
    uint16_t blockCount = 1;
    uint32_t blockLen = 0, srcStride = 0, dstStride = 0, rsv = 0;
    DataCopyExtParams() = default;
    DataCopyExtParams(uint16_t count, uint32_t length, uint32_t source, uint32_t destination, uint32_t reserved)
        : blockCount(count), blockLen(length), srcStride(source), dstStride(destination), rsv(reserved) {}
};

template <typename T>
struct DataCopyPadExtParams {
    bool isPad = false;
    uint8_t leftPadding = 0, rightPadding = 0;
    T paddingValue = T(0);
    DataCopyPadExtParams() = default;
    DataCopyPadExtParams(bool pad, uint8_t left, uint8_t right, T value)
        : isPad(pad), leftPadding(left), rightPadding(right), paddingValue(value) {}
};

struct Nd2NzParams {
    uint16_t ndNum = 1, nValue = 0, dValue = 0, srcNdMatrixStride = 0, srcDValue = 0, dstNzC0Stride = 0,
             dstNzNStride = 1, dstNzMatrixStride = 0;
    Nd2NzParams() = default;
    Nd2NzParams(uint16_t nd, uint16_t n, uint16_t d, uint16_t sourceMatrix, uint16_t sourceD, uint16_t c0, uint16_t nStride,
                uint16_t matrix)
        : ndNum(nd), nValue(n), dValue(d), srcNdMatrixStride(sourceMatrix), srcDValue(sourceD), dstNzC0Stride(c0),
          dstNzNStride(nStride), dstNzMatrixStride(matrix) {}
};

}  // namespace AscendC

namespace hew_ascend {

// Blocks of `bytes` with the distance from start to start on each side.
struct Strided {
    uint32_t count;
    uint64_t bytes;
    uint64_t source_step, destination_step;

    uint64_t source_bytes() const { return count == 0 ? 0 : (count - 1) * source_step + bytes; }
    uint64_t destination_bytes() const { return count == 0 ? 0 : (count - 1) * destination_step + bytes; }
};

// Lengths and gaps of DataCopyParams are in blocks of 32 bytes, gaps from end to start.
inline Strided blocks_of(const AscendC::DataCopyParams& p) {
    return {p.blockCount, p.blockLen * 32ull, (p.blockLen + p.srcGap) * 32ull, (p.blockLen + p.dstGap) * 32ull};
}

struct Padding {
    uint32_t left, right;  // bytes
    uint64_t value;        // bit pattern of one element
    uint32_t element;      // bytes of one element
};

void copy_in(const View& destination, const uint8_t* source, Strided blocks, const Padding* padding, const char* name);
void copy_out(uint8_t* destination, const View& source, Strided blocks, const char* name, const char* element);
void copy_local(const View& destination, const View& source, Strided blocks, const char* name);
void copy_nd2nz(const View& destination, const uint8_t* source, const AscendC::Nd2NzParams& params, uint32_t element);
void check_copy(const AscendC::DataCopyParams& params);
void check_pad(const AscendC::DataCopyExtParams& params, uint32_t element);

// Name of the type that an atomic addition adds in.
template <typename T> constexpr const char* element_name = "other";
template <> inline constexpr const char* element_name<float> = "f32";
template <> inline constexpr const char* element_name<half> = "f16";
template <> inline constexpr const char* element_name<int32_t> = "s32";

}  // namespace hew_ascend

namespace AscendC {

// `count` elements, rounded down to blocks of 32 bytes as the chip does.
template <typename T>
void DataCopy(const LocalTensor<T>& destination, const GlobalTensor<T>& source, uint32_t count) {
    const uint64_t bytes = uint64_t(count) * sizeof(T) / 32 * 32;
    hew_ascend::copy_in(destination.view, source.bytes_at(0, bytes / sizeof(T), "DataCopy"), {1, bytes, 0, 0}, nullptr, "DataCopy");
}
template <typename T>
void DataCopy(const GlobalTensor<T>& destination, const LocalTensor<T>& source, uint32_t count) {
    const uint64_t bytes = uint64_t(count) * sizeof(T) / 32 * 32;
    hew_ascend::copy_out(destination.bytes_at(0, bytes / sizeof(T), "DataCopy"), source.view, {1, bytes, 0, 0}, "DataCopy",
                         hew_ascend::element_name<T>);
}
template <typename T>
void DataCopy(const LocalTensor<T>& destination, const LocalTensor<T>& source, uint32_t count) {
    hew_ascend::copy_local(destination.view, source.view, {1, uint64_t(count) * sizeof(T) / 32 * 32, 0, 0}, "DataCopy");
}
template <typename T>
void DataCopy(const LocalTensor<T>& destination, const GlobalTensor<T>& source, const DataCopyParams& p) {
    hew_ascend::check_copy(p);
    const hew_ascend::Strided blocks = hew_ascend::blocks_of(p);
    hew_ascend::copy_in(destination.view, source.bytes_at(0, blocks.source_bytes() / sizeof(T), "DataCopy"), blocks, nullptr,
                        "DataCopy");
}
template <typename T>
void DataCopy(const GlobalTensor<T>& destination, const LocalTensor<T>& source, const DataCopyParams& p) {
    hew_ascend::check_copy(p);
    const hew_ascend::Strided blocks = hew_ascend::blocks_of(p);
    hew_ascend::copy_out(destination.bytes_at(0, blocks.destination_bytes() / sizeof(T), "DataCopy"), source.view, blocks,
                         "DataCopy", hew_ascend::element_name<T>);
}
template <typename T>
void DataCopy(const LocalTensor<T>& destination, const LocalTensor<T>& source, const DataCopyParams& p) {
    hew_ascend::check_copy(p);
    hew_ascend::copy_local(destination.view, source.view, hew_ascend::blocks_of(p), "DataCopy");
}
template <typename T>
void DataCopy(const LocalTensor<T>& destination, const GlobalTensor<T>& source, const Nd2NzParams& params) {
    const uint64_t rows = params.nValue == 0 ? 0 : uint64_t(params.nValue - 1) * params.srcDValue + params.dValue;
    const uint64_t matrices = params.ndNum == 0 ? 0 : uint64_t(params.ndNum - 1) * params.srcNdMatrixStride;
    hew_ascend::copy_nd2nz(destination.view, source.bytes_at(0, matrices + rows, "DataCopy"), params, sizeof(T));
}
template <typename T>
void DataCopyPad(const LocalTensor<T>& destination, const GlobalTensor<T>& source, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>& pad) {
    hew_ascend::check_pad(p, sizeof(T));
    uint64_t value = 0;
    std::memcpy(&value, &pad.paddingValue, sizeof(T));
    const hew_ascend::Padding padding = {uint32_t(pad.leftPadding * sizeof(T)), uint32_t(pad.rightPadding * sizeof(T)), value,
                                         sizeof(T)};
    const uint64_t row = (p.blockLen + (pad.isPad ? padding.left + padding.right : 0) + 31) / 32 * 32;
    const hew_ascend::Strided blocks = {p.blockCount, p.blockLen, uint64_t(p.blockLen) + p.srcStride, row + p.dstStride * 32ull};
    hew_ascend::copy_in(destination.view, source.bytes_at(0, blocks.source_bytes() / sizeof(T), "DataCopyPad"), blocks,
                        pad.isPad ? &padding : nullptr, "DataCopyPad");
}
template <typename T>
void DataCopyPad(const GlobalTensor<T>& destination, const LocalTensor<T>& source, const DataCopyExtParams& p) {
    hew_ascend::check_pad(p, sizeof(T));
    const uint64_t row = (p.blockLen + 31ull) / 32 * 32;
    const hew_ascend::Strided blocks = {p.blockCount, p.blockLen, row + p.srcStride * 32ull, uint64_t(p.blockLen) + p.dstStride};
    hew_ascend::copy_out(destination.bytes_at(0, blocks.destination_bytes() / sizeof(T), "DataCopyPad"), source.view, blocks,
                         "DataCopyPad", hew_ascend::element_name<T>);
}

template <typename T>
void SetAtomicAdd() {
    static_assert(hew_ascend::element_name<T>[0] != 'o', "atomic addition takes float, half or int32_t");
    hew_ascend::core().atomic_add = true;
}
inline void SetAtomicNone() { hew_ascend::core().atomic_add = false; }

enum class CacheLine { SINGLE_CACHE_LINE, ENTIRE_DATA_CACHE };
enum class DcciDst { CACHELINE_ALL, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };
template <typename T, CacheLine line, DcciDst destination>
void DataCacheCleanAndInvalid(const GlobalTensor<T>&) {}

}  // namespace AscendC

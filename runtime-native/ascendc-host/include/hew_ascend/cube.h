// The cube unit: fractals from L1 to L0, products in L0C, and the way out through Fixpipe.
#pragma once
#include "hew_ascend/tensor.h"

namespace AscendC {

struct LoadData2DParams {
    uint16_t startIndex = 0;
    uint8_t repeatTimes = 0;
    uint16_t srcStride = 0;
    uint8_t sid = 0;
    uint16_t dstGap = 0;
    bool ifTranspose = false;
    uint8_t addrMode = 0;
    LoadData2DParams() = default;
    LoadData2DParams(uint16_t start, uint8_t repeats, uint16_t stride, uint8_t stream, uint16_t gap, bool transpose, uint8_t mode)
        : startIndex(start), repeatTimes(repeats), srcStride(stride), sid(stream), dstGap(gap), ifTranspose(transpose),
          addrMode(mode) {}
};

struct MmadParams {
    uint16_t m = 0, n = 0, k = 0;
    uint8_t unitFlag = 0;
    bool kDirectionAlign = false;
    bool cmatrixSource = false;  // true: the first product is added to the bias table
    bool cmatrixInitVal = true;  // true: start from zero
};

enum QuantMode_t {
    NoQuant = 0,
    F322F16 = 1,
    VREQ8 = 8,
    REQ8 = 9,
    VDEQF16 = 10,
    DEQF16 = 11,
    F322BF16 = 16,
    VQF322B8_PRE = 23,
    QF322B8_PRE = 24,
};

struct FixpipeParamsV220 {
    uint16_t nSize = 0, mSize = 0, srcStride = 0;
    uint32_t dstStride = 0;
    QuantMode_t quantPre = NoQuant;
    uint64_t deqScalar = 0;
    uint16_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
    bool reluEn = false;
    uint8_t unitFlag = 0;
    bool isChannelSplit = false;
};

enum class CO2Layout : uint8_t { NZ = 0, ROW_MAJOR };
struct FixpipeConfig {
    CO2Layout format;
};
constexpr FixpipeConfig CFG_NZ{CO2Layout::NZ}, CFG_ROW_MAJOR{CO2Layout::ROW_MAJOR};

}  // namespace AscendC

namespace hew_ascend {

void load_fractals(const View& destination, const View& source, const AscendC::LoadData2DParams& params, uint32_t element);

// The element types of a product, as the cube unit names them.
enum class CubeType : uint8_t { f16, bf16, f32, s8 };
template <typename T> struct CubeTypeOf;
template <> struct CubeTypeOf<half> { static constexpr CubeType value = CubeType::f16; };
template <> struct CubeTypeOf<bfloat16_t> { static constexpr CubeType value = CubeType::bf16; };
template <> struct CubeTypeOf<float> { static constexpr CubeType value = CubeType::f32; };
template <> struct CubeTypeOf<int8_t> { static constexpr CubeType value = CubeType::s8; };

void multiply(const View& c, const View& a, const View& b, const View* bias, CubeType type, const AscendC::MmadParams& params);

enum class OutType : uint8_t { f32, f16, bf16, s32, s8 };
template <typename T> struct OutTypeOf;
template <> struct OutTypeOf<float> { static constexpr OutType value = OutType::f32; };
template <> struct OutTypeOf<half> { static constexpr OutType value = OutType::f16; };
template <> struct OutTypeOf<bfloat16_t> { static constexpr OutType value = OutType::bf16; };
template <> struct OutTypeOf<int32_t> { static constexpr OutType value = OutType::s32; };
template <> struct OutTypeOf<int8_t> { static constexpr OutType value = OutType::s8; };

struct FixpipeTarget {
    uint8_t* address;
    OutType type;
    uint32_t element;
};
void fixpipe(FixpipeTarget target, const View& source, bool source_is_integer, const View* scales, bool row_major,
             const AscendC::FixpipeParamsV220& params);

}  // namespace hew_ascend

namespace AscendC {

template <typename T>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData2DParams& params) {
    hew_ascend::load_fractals(dst.view, src.view, params, sizeof(T));
}

template <typename C, typename A, typename B>
void Mmad(const LocalTensor<C>& c, const LocalTensor<A>& a, const LocalTensor<B>& b, const MmadParams& params) {
    static_assert(std::is_same_v<A, B>, "Mmad takes one type for A and B");
    static_assert(std::is_same_v<C, std::conditional_t<std::is_same_v<A, int8_t>, int32_t, float>>, "Mmad sums s8 in s32 and floats in f32");
    hew_ascend::multiply(c.view, a.view, b.view, nullptr, hew_ascend::CubeTypeOf<A>::value, params);
}
template <typename C, typename A, typename B, typename V>
void Mmad(const LocalTensor<C>& c, const LocalTensor<A>& a, const LocalTensor<B>& b, const LocalTensor<V>& bias,
          const MmadParams& params) {
    static_assert(std::is_same_v<A, B> && std::is_same_v<C, V>, "Mmad takes one type for A and B, and one for C and the bias");
    hew_ascend::multiply(c.view, a.view, b.view, &bias.view, hew_ascend::CubeTypeOf<A>::value, params);
}

template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& params) {
    hew_ascend::fixpipe({dst.bytes_at(0, 0, "Fixpipe"), hew_ascend::OutTypeOf<T>::value, sizeof(T)}, src.view,
                        std::is_same_v<U, int32_t>, nullptr, config.format == CO2Layout::ROW_MAJOR, params);
}
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const LocalTensor<uint64_t>& scales,
             const FixpipeParamsV220& params) {
    hew_ascend::fixpipe({dst.bytes_at(0, 0, "Fixpipe"), hew_ascend::OutTypeOf<T>::value, sizeof(T)}, src.view,
                        std::is_same_v<U, int32_t>, &scales.view, config.format == CO2Layout::ROW_MAJOR, params);
}

}  // namespace AscendC

// How vector instructions are carried out: reading and writing lanes, conversion between types, comparison, selection.
#pragma once
#include <algorithm>
#include <type_traits>

#include "hew_ascend/tensor.h"

namespace AscendC {

struct UnaryRepeatParams {
    uint16_t dstBlkStride = 1, srcBlkStride = 1;
    uint8_t dstRepStride = 8, srcRepStride = 8;
    UnaryRepeatParams() = default;
    UnaryRepeatParams(uint16_t dst, uint16_t src, uint8_t dst_repeat, uint8_t src_repeat)
        : dstBlkStride(dst), srcBlkStride(src), dstRepStride(dst_repeat), srcRepStride(src_repeat) {}
};

struct BinaryRepeatParams {
    uint8_t dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1, dstRepStride = 8, src0RepStride = 8, src1RepStride = 8;
    BinaryRepeatParams() = default;
    BinaryRepeatParams(uint8_t dst, uint8_t src0, uint8_t src1, uint8_t dst_repeat, uint8_t src0_repeat, uint8_t src1_repeat)
        : dstBlkStride(dst), src0BlkStride(src0), src1BlkStride(src1), dstRepStride(dst_repeat), src0RepStride(src0_repeat),
          src1RepStride(src1_repeat) {}
};

struct BrcbRepeatParams {
    uint16_t dstBlkStride = 1, dstRepStride = 8;
    BrcbRepeatParams() = default;
    BrcbRepeatParams(uint16_t block, uint16_t repeat) : dstBlkStride(block), dstRepStride(repeat) {}
};

enum class CMPMODE : uint8_t { LT, GT, EQ, LE, GE, NE };
enum class SELMODE : uint8_t { VSEL_CMPMASK_SPR, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class ReduceOrder { ORDER_VALUE_INDEX, ORDER_INDEX_VALUE, ORDER_ONLY_VALUE, ORDER_ONLY_INDEX };

}  // namespace AscendC

namespace hew_ascend {

constexpr uint32_t repeat_bytes = 256;
constexpr uint32_t most_repeats = 255;
// Cycles until the first result of a vector instruction: the model's only constant for that unit.
constexpr uint64_t vector_latency = 20;

template <typename T>
constexpr uint32_t lanes = repeat_bytes / sizeof(T);

inline void count_repeats(Core& core, uint64_t repeats) { core.counters.vector_cycles += vector_latency + repeats; }

void check_repeat(uint64_t mask, uint64_t repeats, uint32_t most_lanes, const char* name);
void check_vector(const View& view, const char* name);
// Two operands of one instruction begin at the same place or do not touch.
void check_overlap(const View& destination, uint64_t bytes, const View& source, uint64_t source_bytes, const char* name);

template <typename T>
const T* read_elements(Operation& operation, const View& view, uint64_t element, uint64_t count) {
    if (view.offset % block_bytes != 0) check_vector(view, operation.name());
    return reinterpret_cast<const T*>(operation.reads(span_of(view, element * sizeof(T), count * sizeof(T), operation.name())));
}
template <typename T>
T* write_elements(Operation& operation, const View& view, uint64_t element, uint64_t count) {
    return reinterpret_cast<T*>(operation.writes(span_of(view, element * sizeof(T), count * sizeof(T), operation.name())));
}

// What the vector unit computes in: integers as they are, floats and halfs as floats that are rounded at the end.
template <typename T>
using Wide = std::conditional_t<std::is_integral_v<T>, T, float>;

// destination[i] = compute(sources[i]…) for consecutive elements.
template <typename D, typename S, typename F>
void map_elements(const char* name, const View& destination, const View& source, int64_t count, F compute) {
    Operation operation(pipe_v, name);
    if (count < 0) fail(FaultKind::limit, "%s of %lld elements", name, (long long)count);
    check_vector(destination, name);
    check_vector(source, name);
    check_overlap(destination, count * sizeof(D), source, count * sizeof(S), name);
    const S* from = read_elements<S>(operation, source, 0, count);
    D* to = write_elements<D>(operation, destination, 0, count);
    for (int64_t i = 0; i < count; ++i) to[i] = compute(from[i]);
    const uint32_t per_repeat = repeat_bytes / std::max(sizeof(D), sizeof(S));
    count_repeats(operation.on(), (count + per_repeat - 1) / per_repeat);
}

template <typename D, typename S, typename F>
void map_pairs(const char* name, const View& destination, const View& source0, const View& source1, int64_t count, F compute) {
    Operation operation(pipe_v, name);
    if (count < 0) fail(FaultKind::limit, "%s of %lld elements", name, (long long)count);
    for (const View* view : {&destination, &source0, &source1}) check_vector(*view, name);
    check_overlap(destination, count * sizeof(D), source0, count * sizeof(S), name);
    check_overlap(destination, count * sizeof(D), source1, count * sizeof(S), name);
    const S* a = read_elements<S>(operation, source0, 0, count);
    const S* b = read_elements<S>(operation, source1, 0, count);
    D* to = write_elements<D>(operation, destination, 0, count);
    for (int64_t i = 0; i < count; ++i) to[i] = compute(a[i], b[i], to[i]);
    count_repeats(operation.on(), (count + lanes<S> - 1) / lanes<S>);
}

// The first `mask` lanes of `repeats` repeats, whose blocks and repeats are apart by strides in blocks of 32 bytes.
struct RepeatStride {
    uint32_t block, repeat;
    template <typename T>
    uint64_t element(uint32_t repeat_index, uint32_t lane) const {
        constexpr uint32_t per_block = block_bytes / sizeof(T);
        return (uint64_t(repeat_index) * repeat + uint64_t(lane / per_block) * block) * per_block + lane % per_block;
    }
};

template <typename T>
T read_lane(Operation& operation, const View& view, RepeatStride stride, uint32_t repeat, uint32_t lane) {
    return *read_elements<T>(operation, view, stride.element<T>(repeat, lane), 1);
}
// Blocks of 32 bytes of a repeat are checked at once.
template <typename T>
constexpr uint32_t block_lanes = block_bytes / sizeof(T);

template <typename T, typename F>
void map_repeats(const char* name, const View& destination, const View& source, uint64_t mask, uint8_t repeats,
                 const AscendC::UnaryRepeatParams& p, F compute) {
    Operation operation(pipe_v, name);
    check_repeat(mask, repeats, lanes<T>, name);
    const RepeatStride to{p.dstBlkStride, p.dstRepStride}, from{p.srcBlkStride, p.srcRepStride};
    for (uint32_t r = 0; r < repeats; ++r)
        for (uint32_t lane = 0; lane < mask; lane += block_lanes<T>) {
            const uint32_t count = std::min<uint32_t>(block_lanes<T>, uint32_t(mask) - lane);
            const T* x = read_elements<T>(operation, source, from.element<T>(r, lane), count);
            T* out = write_elements<T>(operation, destination, to.element<T>(r, lane), count);
            for (uint32_t i = 0; i < count; ++i) out[i] = compute(x[i]);
        }
    count_repeats(operation.on(), repeats);
}

template <typename T, typename F>
void map_repeat_pairs(const char* name, const View& destination, const View& source0, const View& source1, uint64_t mask,
                      uint8_t repeats, const AscendC::BinaryRepeatParams& p, F compute) {
    Operation operation(pipe_v, name);
    check_repeat(mask, repeats, lanes<T>, name);
    const RepeatStride to{p.dstBlkStride, p.dstRepStride}, a{p.src0BlkStride, p.src0RepStride}, b{p.src1BlkStride, p.src1RepStride};
    for (uint32_t r = 0; r < repeats; ++r)
        for (uint32_t lane = 0; lane < mask; lane += block_lanes<T>) {
            const uint32_t count = std::min<uint32_t>(block_lanes<T>, uint32_t(mask) - lane);
            const T* x = read_elements<T>(operation, source0, a.element<T>(r, lane), count);
            const T* y = read_elements<T>(operation, source1, b.element<T>(r, lane), count);
            T* out = write_elements<T>(operation, destination, to.element<T>(r, lane), count);
            for (uint32_t i = 0; i < count; ++i) out[i] = compute(x[i], y[i], T());
        }
    count_repeats(operation.on(), repeats);
}

// The sum as the unit forms it: pairs, then pairs of those, each rounded to the type.
template <typename T>
T tree_sum(const T* values, uint64_t count) {
    if (count == 0) return T(0);
    if (count == 1) return values[0];
    uint64_t half_count = 1;
    while (half_count * 2 < count) half_count *= 2;
    return T(Wide<T>(tree_sum(values, half_count)) + Wide<T>(tree_sum(values + half_count, count - half_count)));
}

template <typename T>
constexpr bool is_floating = std::is_same_v<T, half> || std::is_same_v<T, float>;
template <typename T>
constexpr bool is_arithmetic = is_floating<T> || std::is_same_v<T, int16_t> || std::is_same_v<T, int32_t>;

template <typename T> constexpr const char* type_name = "?";
template <> inline constexpr const char* type_name<half> = "f16";
template <> inline constexpr const char* type_name<float> = "f32";
template <> inline constexpr const char* type_name<bfloat16_t> = "bf16";
template <> inline constexpr const char* type_name<int8_t> = "s8";
template <> inline constexpr const char* type_name<uint8_t> = "u8";
template <> inline constexpr const char* type_name<int16_t> = "s16";
template <> inline constexpr const char* type_name<int32_t> = "s32";
template <> inline constexpr const char* type_name<int64_t> = "s64";

// Fails with a dtype fault for a pair or a rounding that the chip does not take.
void check_cast(const char* to, const char* from, AscendC::RoundMode mode);
// What Cast from s32 to f16 multiplies by; 1 for all other pairs. Fails when SetDeqScale was not called.
float deq_scale_for(const char* to, const char* from);

double round_to_integer(double value, AscendC::RoundMode mode);

template <typename D, typename S>
D convert(S value, AscendC::RoundMode mode) {
    if constexpr (std::is_integral_v<D> && std::is_integral_v<S>) {
        return D(value);
    } else if constexpr (std::is_integral_v<D>) {
        const double rounded = round_to_integer(double(float(value)), mode);
        const double low = double(std::numeric_limits<D>::lowest()), high = double(std::numeric_limits<D>::max());
        if (std::isnan(rounded)) return D(0);
        return rounded <= low ? std::numeric_limits<D>::lowest()
               : rounded >= high ? std::numeric_limits<D>::max()
                                 : D(rounded);
    } else if constexpr (std::is_same_v<D, half>) {
        half result;
        result.bits = float_to_half(float(value), mode);
        return result;
    } else if constexpr (std::is_same_v<D, bfloat16_t>) {
        bfloat16_t result;
        result.bits = float_to_bfloat16(float(value), mode);
        return result;
    } else if constexpr (std::is_same_v<S, float>) {
        return float(round_to_integer(value, mode));  // f32 to f32 takes the whole part
    } else {
        return D(value);
    }
}

// The index of a maximum is kept in the bits of the data's type.
inline void store_index(half* at, uint32_t index) { at->bits = uint16_t(index); }
inline void store_index(float* at, uint32_t index) { *at = bits_to_float(index); }

template <typename T>
bool compares(T a, T b, AscendC::CMPMODE mode) {
    const Wide<T> x = a, y = b;
    switch (mode) {
        case AscendC::CMPMODE::LT: return x < y;
        case AscendC::CMPMODE::GT: return x > y;
        case AscendC::CMPMODE::EQ: return x == y;
        case AscendC::CMPMODE::LE: return x <= y;
        case AscendC::CMPMODE::GE: return x >= y;
        case AscendC::CMPMODE::NE: return x != y;
    }
    return false;
}

// One bit for each element, lowest first. Elements behind the last 256 bytes would not be compared.
template <typename T>
void compare(const View& destination, const View& source0, const View* source1, T scalar, AscendC::CMPMODE mode, uint32_t count) {
    Operation operation(pipe_v, "Compare");
    static_assert(is_floating<T> || std::is_same_v<T, int32_t>, "Compare does not take this type");
    if (std::is_same_v<T, int32_t> && mode != AscendC::CMPMODE::EQ) fail(FaultKind::dtype, "Compare of s32 takes EQ only");
    if (count * sizeof(T) % repeat_bytes != 0)
        fail(FaultKind::limit, "Compare of %u elements: their bytes must be a multiple of 256", count);
    const T* a = read_elements<T>(operation, source0, 0, count);
    const T* b = source1 ? read_elements<T>(operation, *source1, 0, count) : nullptr;
    uint8_t* to = write_elements<uint8_t>(operation, destination, 0, count / 8);
    for (uint32_t i = 0; i < count; i += 8) {
        uint8_t bits = 0;
        for (uint32_t j = 0; j < 8; ++j) bits |= compares(a[i + j], b ? b[i + j] : scalar, mode) << j;
        to[i / 8] = bits;
    }
    count_repeats(operation.on(), count / lanes<T>);
}

// A bit of 1 takes the first source.
template <typename T>
void select(const View& destination, const View& mask, const View& source0, const View* source1, T scalar, AscendC::SELMODE mode,
            uint32_t count) {
    static_assert(is_floating<T>, "Select does not take this type");
    Operation operation(pipe_v, "Select");
    if ((source1 == nullptr) != (mode == AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE))
        fail(FaultKind::limit, "Select: the mode does not fit the second source");
    // Mode 0 uses the mask of one repeat in all of them.
    const bool repeats_mask = mode == AscendC::SELMODE::VSEL_CMPMASK_SPR;
    const uint32_t bits = repeats_mask ? std::min(count, lanes<T>) : count;
    const uint8_t* chosen = read_elements<uint8_t>(operation, mask, 0, (bits + 7) / 8);
    const T* a = read_elements<T>(operation, source0, 0, count);
    const T* b = source1 ? read_elements<T>(operation, *source1, 0, count) : nullptr;
    T* to = write_elements<T>(operation, destination, 0, count);
    for (uint32_t i = 0; i < count; ++i) {
        const uint32_t bit = repeats_mask ? i % lanes<T> : i;
        to[i] = chosen[bit / 8] >> (bit % 8) & 1 ? a[i] : b ? b[i] : scalar;
    }
    count_repeats(operation.on(), (count + lanes<T> - 1) / lanes<T>);
}

}  // namespace hew_ascend

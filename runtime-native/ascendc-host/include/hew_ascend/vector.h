// The vector unit. Instructions work in repeats of 256 bytes; those with a count work on consecutive elements.
#pragma once
#include "hew_ascend/vector_unit.h"

namespace AscendC {

#define HEW_ASCEND_UNARY(Name, allowed, expression)                                                                        \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count) {                                \
        static_assert(allowed, #Name " does not take this type");                                                          \
        hew_ascend::map_elements<T, T>(#Name, dst.view, src.view, count, [](T in) {                                        \
            const hew_ascend::Wide<T> x = in;                                                                              \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }                                                                                                                      \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask, uint8_t repeats,                        \
              const UnaryRepeatParams& params) {                                                                           \
        static_assert(allowed, #Name " does not take this type");                                                          \
        hew_ascend::map_repeats<T>(#Name, dst.view, src.view, mask, repeats, params, [](T in) {                            \
            const hew_ascend::Wide<T> x = in;                                                                              \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }

HEW_ASCEND_UNARY(Exp, hew_ascend::is_floating<T>, std::exp(x))
HEW_ASCEND_UNARY(Ln, hew_ascend::is_floating<T>, std::log(x))
HEW_ASCEND_UNARY(Abs, hew_ascend::is_floating<T>, std::fabs(x))
HEW_ASCEND_UNARY(Sqrt, hew_ascend::is_floating<T>, std::sqrt(x))
HEW_ASCEND_UNARY(Rsqrt, hew_ascend::is_floating<T>, 1.0f / std::sqrt(x))
HEW_ASCEND_UNARY(Reciprocal, hew_ascend::is_floating<T>, 1.0f / x)
HEW_ASCEND_UNARY(Relu, (hew_ascend::is_floating<T> || std::is_same_v<T, int32_t>), x > 0 ? x : hew_ascend::Wide<T>(0))
HEW_ASCEND_UNARY(Not, (std::is_same_v<T, uint16_t> || std::is_same_v<T, int16_t>), ~x)

#define HEW_ASCEND_BINARY(Name, allowed, expression)                                                                       \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, const int32_t& count) {   \
        static_assert(allowed, #Name " does not take this type");                                                          \
        hew_ascend::map_pairs<T, T>(#Name, dst.view, src0.view, src1.view, count, [](T in0, T in1, T) {                    \
            const hew_ascend::Wide<T> a = in0, b = in1;                                                                    \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }                                                                                                                      \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, uint64_t mask,            \
              uint8_t repeats, const BinaryRepeatParams& params) {                                                         \
        static_assert(allowed, #Name " does not take this type");                                                          \
        hew_ascend::map_repeat_pairs<T>(#Name, dst.view, src0.view, src1.view, mask, repeats, params, [](T in0, T in1, T) { \
            const hew_ascend::Wide<T> a = in0, b = in1;                                                                    \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }

HEW_ASCEND_BINARY(Add, hew_ascend::is_arithmetic<T>, a + b)
HEW_ASCEND_BINARY(Sub, hew_ascend::is_arithmetic<T>, a - b)
HEW_ASCEND_BINARY(Mul, hew_ascend::is_arithmetic<T>, a * b)
HEW_ASCEND_BINARY(Div, hew_ascend::is_floating<T>, a / b)
HEW_ASCEND_BINARY(Max, hew_ascend::is_arithmetic<T>, a > b ? a : b)
HEW_ASCEND_BINARY(Min, hew_ascend::is_arithmetic<T>, a < b ? a : b)
HEW_ASCEND_BINARY(And, (std::is_same_v<T, uint16_t> || std::is_same_v<T, int16_t>), a & b)
HEW_ASCEND_BINARY(Or, (std::is_same_v<T, uint16_t> || std::is_same_v<T, int16_t>), a | b)

// dst = src0 * src1 + dst
template <typename T>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, const int32_t& count) {
    static_assert(hew_ascend::is_floating<T>, "MulAddDst does not take this type");
    hew_ascend::Operation operation(hew_ascend::pipe_v, "MulAddDst");
    const T* a = hew_ascend::read_elements<T>(operation, src0.view, 0, count);
    const T* b = hew_ascend::read_elements<T>(operation, src1.view, 0, count);
    hew_ascend::read_elements<T>(operation, dst.view, 0, count);
    T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, count);
    for (int32_t i = 0; i < count; ++i) to[i] = T(float(a[i]) * float(b[i]) + float(to[i]));
    hew_ascend::count_repeats(operation.on(), (count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>);
}

#define HEW_ASCEND_SCALAR(Name, allowed, expression)                                                                       \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalar, const int32_t& count) {               \
        static_assert(allowed, #Name " does not take this type");                                                          \
        const hew_ascend::Wide<T> b = scalar;                                                                              \
        hew_ascend::map_elements<T, T>(#Name, dst.view, src.view, count, [b](T in) {                                       \
            const hew_ascend::Wide<T> a = in;                                                                              \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }                                                                                                                      \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalar, uint64_t mask, uint8_t repeats,       \
              const UnaryRepeatParams& params) {                                                                           \
        static_assert(allowed, #Name " does not take this type");                                                          \
        const hew_ascend::Wide<T> b = scalar;                                                                              \
        hew_ascend::map_repeats<T>(#Name, dst.view, src.view, mask, repeats, params, [b](T in) {                           \
            const hew_ascend::Wide<T> a = in;                                                                              \
            return T(expression);                                                                                          \
        });                                                                                                                \
    }

HEW_ASCEND_SCALAR(Adds, hew_ascend::is_arithmetic<T>, a + b)
HEW_ASCEND_SCALAR(Muls, hew_ascend::is_arithmetic<T>, a * b)
HEW_ASCEND_SCALAR(Maxs, hew_ascend::is_arithmetic<T>, a > b ? a : b)
HEW_ASCEND_SCALAR(Mins, hew_ascend::is_arithmetic<T>, a < b ? a : b)
HEW_ASCEND_SCALAR(LeakyRelu, hew_ascend::is_floating<T>, a > 0 ? a : a * b)

#undef HEW_ASCEND_UNARY
#undef HEW_ASCEND_BINARY
#undef HEW_ASCEND_SCALAR

// dst += src * scalar
template <typename T, typename U>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalar, const int32_t& count) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "Axpy");
    const U* from = hew_ascend::read_elements<U>(operation, src.view, 0, count);
    hew_ascend::read_elements<T>(operation, dst.view, 0, count);
    T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, count);
    for (int32_t i = 0; i < count; ++i) to[i] = T(float(from[i]) * float(scalar) + float(to[i]));
    hew_ascend::count_repeats(operation.on(), (count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>);
}

template <typename T>
void Duplicate(const LocalTensor<T>& dst, const T& value, const int32_t& count) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "Duplicate");
    hew_ascend::check_vector(dst.view, "Duplicate");
    T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, count);
    std::fill_n(to, count, value);
    hew_ascend::count_repeats(operation.on(), (count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>);
}

template <typename T>
void CreateVecIndex(const LocalTensor<T>& dst, const T& first, uint32_t count) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "CreateVecIndex");
    T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, count);
    for (uint32_t i = 0; i < count; ++i) to[i] = T(hew_ascend::Wide<T>(first) + hew_ascend::Wide<T>(T(float(i))));
    hew_ascend::count_repeats(operation.on(), (count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>);
}

template <typename D, typename S>
void Cast(const LocalTensor<D>& dst, const LocalTensor<S>& src, const RoundMode& mode, const uint32_t count) {
    hew_ascend::check_cast(hew_ascend::type_name<D>, hew_ascend::type_name<S>, mode);
    const float scale = hew_ascend::deq_scale_for(hew_ascend::type_name<D>, hew_ascend::type_name<S>);
    hew_ascend::map_elements<D, S>("Cast", dst.view, src.view, count, [mode, scale](S in) {
        if constexpr (std::is_same_v<S, int32_t> && std::is_same_v<D, half>) {
            return half(float(in) * scale);
        } else {
            return hew_ascend::convert<D, S>(in, mode);
        }
    });
}
inline void SetDeqScale(half scale) {
    hew_ascend::core().deq_scale = scale;
    hew_ascend::core().has_deq_scale = true;
}

template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>&, const int32_t count) {
    static_assert(hew_ascend::is_floating<T>, "ReduceSum does not take this type");
    hew_ascend::Operation operation(hew_ascend::pipe_v, "ReduceSum");
    const T* from = hew_ascend::read_elements<T>(operation, src.view, 0, count);
    const T sum = hew_ascend::tree_sum(from, count);
    *hew_ascend::write_elements<T>(operation, dst.view, 0, 1) = sum;
    hew_ascend::count_repeats(operation.on(), 2 * ((count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>));
}

#define HEW_ASCEND_REDUCE(Name, better)                                                                                    \
    template <typename T>                                                                                                  \
    void Name(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>&, const int32_t count,            \
              bool calIndex = false) {                                                                                     \
        static_assert(hew_ascend::is_floating<T>, #Name " does not take this type");                                       \
        hew_ascend::Operation operation(hew_ascend::pipe_v, #Name);                                                        \
        const T* from = hew_ascend::read_elements<T>(operation, src.view, 0, count);                                       \
        int32_t best = 0;                                                                                                  \
        for (int32_t i = 1; i < count; ++i)                                                                                \
            if (float(from[i]) better float(from[best])) best = i;                                                         \
        const T value = from[best];                                                                                        \
        T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, calIndex ? 2 : 1);                                   \
        to[0] = value;                                                                                                     \
        if (calIndex) hew_ascend::store_index(&to[1], best);                                                               \
        hew_ascend::count_repeats(operation.on(), 2 * ((count + hew_ascend::lanes<T> - 1) / hew_ascend::lanes<T>));        \
    }
HEW_ASCEND_REDUCE(ReduceMax, >)
HEW_ASCEND_REDUCE(ReduceMin, <)
#undef HEW_ASCEND_REDUCE

template <typename T>
void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask, const int32_t repeats,
                    const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "WholeReduceSum");
    hew_ascend::check_repeat(mask, repeats, hew_ascend::lanes<T>, "WholeReduceSum");
    const hew_ascend::RepeatStride from{uint32_t(srcBlkStride), uint32_t(srcRepStride)};
    T row[hew_ascend::lanes<T>];
    for (int32_t r = 0; r < repeats; ++r) {
        for (int32_t lane = 0; lane < mask; ++lane) row[lane] = hew_ascend::read_lane<T>(operation, src.view, from, r, lane);
        *hew_ascend::write_elements<T>(operation, dst.view, uint64_t(r) * dstRepStride, 1) = hew_ascend::tree_sum(row, mask);
    }
    hew_ascend::count_repeats(operation.on(), repeats);
}

template <typename T>
void BlockReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeats, const int32_t mask,
                    const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "BlockReduceSum");
    hew_ascend::check_repeat(mask, repeats, hew_ascend::lanes<T>, "BlockReduceSum");
    constexpr uint32_t per_block = hew_ascend::block_bytes / sizeof(T);
    const hew_ascend::RepeatStride from{uint32_t(srcBlkStride), uint32_t(srcRepStride)};
    T block[per_block];
    for (int32_t r = 0; r < repeats; ++r)
        for (uint32_t first = 0; first < uint32_t(mask); first += per_block) {
            const uint32_t count = std::min(per_block, uint32_t(mask) - first);
            for (uint32_t i = 0; i < count; ++i) block[i] = hew_ascend::read_lane<T>(operation, src.view, from, r, first + i);
            const uint64_t at = uint64_t(r) * dstRepStride * per_block + first / per_block;
            *hew_ascend::write_elements<T>(operation, dst.view, at, 1) = hew_ascend::tree_sum(block, count);
        }
    hew_ascend::count_repeats(operation.on(), repeats);
}

template <typename T>
void WholeReduceMax(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask, const int32_t repeats,
                    const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,
                    ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX) {
    hew_ascend::Operation operation(hew_ascend::pipe_v, "WholeReduceMax");
    hew_ascend::check_repeat(mask, repeats, hew_ascend::lanes<T>, "WholeReduceMax");
    const hew_ascend::RepeatStride from{uint32_t(srcBlkStride), uint32_t(srcRepStride)};
    const bool pairs = order == ReduceOrder::ORDER_VALUE_INDEX;
    if (!pairs && order != ReduceOrder::ORDER_ONLY_VALUE)
        hew_ascend::fail(hew_ascend::FaultKind::model, "WholeReduceMax: this order is not modelled");
    for (int32_t r = 0; r < repeats; ++r) {
        T best = hew_ascend::read_lane<T>(operation, src.view, from, r, 0);
        uint32_t best_lane = 0;
        for (int32_t lane = 1; lane < mask; ++lane) {
            const T value = hew_ascend::read_lane<T>(operation, src.view, from, r, lane);
            if (float(value) > float(best)) {
                best = value;
                best_lane = lane;
            }
        }
        const uint64_t at = uint64_t(r) * dstRepStride * (pairs ? 2 : 1);
        T* to = hew_ascend::write_elements<T>(operation, dst.view, at, pairs ? 2 : 1);
        to[0] = best;
        if (pairs) hew_ascend::store_index(&to[1], best_lane);
    }
    hew_ascend::count_repeats(operation.on(), repeats);
}

template <typename T, typename U>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src, const T scalar, CMPMODE mode, uint32_t count) {
    hew_ascend::compare<T>(dst.view, src.view, nullptr, scalar, mode, count);
}
template <typename T, typename U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE mode, uint32_t count) {
    hew_ascend::compare<T>(dst.view, src0.view, &src1.view, T(0), mode, count);
}
template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& mask, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
            SELMODE mode, uint32_t count) {
    hew_ascend::select<T>(dst.view, mask.view, src0.view, &src1.view, T(0), mode, count);
}
template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& mask, const LocalTensor<T>& src0, T scalar, SELMODE mode,
            uint32_t count) {
    hew_ascend::select<T>(dst.view, mask.view, src0.view, nullptr, scalar, mode, count);
}

// Eight scalars of each repeat become eight blocks.
template <typename T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint8_t repeats, const BrcbRepeatParams& params) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Brcb does not take this type");
    hew_ascend::Operation operation(hew_ascend::pipe_v, "Brcb");
    if (params.dstBlkStride == 0) hew_ascend::fail(hew_ascend::FaultKind::limit, "Brcb with a block stride of 0");
    constexpr uint32_t per_block = hew_ascend::block_bytes / sizeof(T);
    for (uint32_t r = 0; r < repeats; ++r) {
        const T* from = hew_ascend::read_elements<T>(operation, src.view, uint64_t(r) * 8, 8);
        for (uint32_t i = 0; i < 8; ++i) {
            const uint64_t block = uint64_t(r) * params.dstRepStride + uint64_t(i) * params.dstBlkStride;
            std::fill_n(hew_ascend::write_elements<T>(operation, dst.view, block * per_block, per_block), per_block, from[i]);
        }
    }
    hew_ascend::count_repeats(operation.on(), repeats);
}

template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& offsets, const uint32_t base,
            const uint32_t count) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4, "Gather does not take this type");
    hew_ascend::Operation operation(hew_ascend::pipe_v, "Gather");
    const uint32_t* at = hew_ascend::read_elements<uint32_t>(operation, offsets.view, 0, count);
    T* to = hew_ascend::write_elements<T>(operation, dst.view, 0, count);
    for (uint32_t i = 0; i < count; ++i) {
        if ((base + at[i]) % sizeof(T) != 0)
            hew_ascend::fail(hew_ascend::FaultKind::alignment, "Gather at byte offset %u", base + at[i]);
        to[i] = *hew_ascend::read_elements<T>(operation, src.view, (base + at[i]) / sizeof(T), 1);
    }
    // One element of a block and cycle.
    hew_ascend::count_repeats(operation.on(), count / 8 + 1);
}

}  // namespace AscendC

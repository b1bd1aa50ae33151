// half, bfloat16_t and the rounding of casts. Arithmetic on both is done in float and rounded once per operation, as the
// vector unit does.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace AscendC {

enum class RoundMode {
    CAST_NONE = 0,
    CAST_RINT,
    CAST_FLOOR,
    CAST_CEIL,
    CAST_ROUND,
    CAST_TRUNC,
    CAST_ODD,
};

}  // namespace AscendC

namespace hew_ascend {

// All 65536 values of half, as floats.
extern const float* const half_values;

// Rounds to a 16-bit format whose bit patterns grow with their magnitude: `low` is the pattern towards zero.
uint16_t float_to_half(float value, AscendC::RoundMode mode);
uint16_t float_to_bfloat16(float value, AscendC::RoundMode mode);

inline float bits_to_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

inline uint32_t float_to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

}  // namespace hew_ascend

struct half {
    uint16_t bits;
    half() = default;
    half(float value) : bits(hew_ascend::float_to_half(value, AscendC::RoundMode::CAST_RINT)) {}
    operator float() const { return hew_ascend::half_values[bits]; }
};

struct bfloat16_t {
    uint16_t bits;
    bfloat16_t() = default;
    explicit bfloat16_t(float value)
        : bits(hew_ascend::float_to_bfloat16(value, AscendC::RoundMode::CAST_RINT)) {}
    explicit operator float() const { return hew_ascend::bits_to_float(uint32_t(bits) << 16); }
};

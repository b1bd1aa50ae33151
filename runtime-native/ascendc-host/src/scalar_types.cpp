#include "hew_ascend/scalar_types.h"

#include <vector>

namespace hew_ascend {
namespace {

using AscendC::RoundMode;

float decode_half(uint16_t bits) {
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    const int exponent = bits >> 10 & 31;
    const int mantissa = bits & 1023;
    if (exponent == 31) return mantissa ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(float(mantissa), -24);
    return sign * std::ldexp(float(1024 + mantissa), exponent - 25);
}

const std::vector<float> decoded = [] {
    std::vector<float> values(65536);
    for (uint32_t bits = 0; bits < 65536; ++bits) values[bits] = decode_half(uint16_t(bits));
    return values;
}();

// Whether the magnitude between two neighbours goes to the upper one. `rest` is the part of one step above the lower
// neighbour, in [0, 1).
bool rounds_up(double rest, bool lower_is_odd, bool negative, RoundMode mode) {
    switch (mode) {
        case RoundMode::CAST_FLOOR: return negative && rest > 0;
        case RoundMode::CAST_CEIL: return !negative && rest > 0;
        case RoundMode::CAST_TRUNC: return false;
        case RoundMode::CAST_ROUND: return rest >= 0.5;
        case RoundMode::CAST_ODD: return rest > 0 && !lower_is_odd;
        case RoundMode::CAST_NONE:
        case RoundMode::CAST_RINT: break;
    }
    return rest > 0.5 || (rest == 0.5 && lower_is_odd);
}

}  // namespace

const float* const half_values = decoded.data();

// To nearest, ties to even: the usual case, by integer arithmetic on the float's bits.
static uint16_t nearest_half(float value) {
    const uint32_t all = float_to_bits(value);
    const uint16_t sign = all >> 16 & 0x8000;
    const uint32_t bits = all & 0x7fffffff;
    if (bits > 0x7f800000) return sign | 0x7e00;
    if (bits >= 0x47800000) return sign | 0x7c00;  // 2^16 and more
    if (bits < 0x38800000) {                       // below 2^-14: adding 0.5 aligns the last place to 2^-24
        return sign | uint16_t(float_to_bits(bits_to_float(bits) + 0.5f) - 0x3f000000);
    }
    const uint32_t rebiased = bits - (112u << 23);
    return sign | uint16_t((rebiased + 0xfff + (bits >> 13 & 1)) >> 13);
}

uint16_t float_to_half(float value, RoundMode mode) {
    if (mode == RoundMode::CAST_NONE || mode == RoundMode::CAST_RINT) return nearest_half(value);
    const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
    if (std::isnan(value)) return sign | 0x7e00;
    const double magnitude = std::fabs(double(value));
    if (std::isinf(value)) return sign | 0x7c00;
    int exponent;
    std::frexp(magnitude, &exponent);
    // The step between halves around this magnitude: 2^-24 for subnormal ones.
    const int step = exponent - 11 < -24 ? -24 : exponent - 11;
    const double scaled = std::ldexp(magnitude, -step);
    const double low = std::floor(scaled);
    const uint32_t pattern =
        step == -24 ? uint32_t(low) : (uint32_t(step + 24) << 10) + uint32_t(low);
    const uint32_t rounded = pattern + (rounds_up(scaled - low, pattern & 1, sign != 0, mode) ? 1 : 0);
    return sign | uint16_t(rounded > 0x7c00 ? 0x7c00 : rounded);
}

uint16_t float_to_bfloat16(float value, RoundMode mode) {
    const uint32_t bits = float_to_bits(value);
    if (std::isnan(value)) return uint16_t(bits >> 16) | 0x40;
    const double rest = (bits & 0xffff) / 65536.0;
    const bool up = rounds_up(rest, bits >> 16 & 1, std::signbit(value), mode);
    return uint16_t((bits >> 16) + (up ? 1 : 0));
}

}  // namespace hew_ascend

#include "hew_ascend/vector_unit.h"

namespace hew_ascend {
namespace {

using AscendC::RoundMode;

// Roundings of a pair of types, one letter each: n NONE, i RINT, f FLOOR, c CEIL, r ROUND, t TRUNC, o ODD.
struct CastPair {
    const char* from;
    const char* to;
    const char* split;  // null for a pair the chip does not take
    const char* fused;
};

constexpr CastPair cast_pairs[] = {
    {"s8", "f16", "n", "n"},          {"u8", "f16", "n", "n"},         {"s16", "f16", "nifcrt", "nifcrt"},
    {"s16", "f32", "n", "n"},         {"f16", "s8", "nifcrt", "nfcrt"}, {"f16", "u8", "nifcrt", "nfcrt"},
    {"f16", "s16", "ifcrt", "ifcrt"}, {"f16", "s32", "ifcrt", "ifcrt"}, {"f16", "f32", "n", "n"},
    {"bf16", "f32", "n", nullptr},    {"bf16", "s32", "ifcrt", nullptr}, {"s32", "s16", "n", nullptr},
    {"s32", "s64", "n", nullptr},     {"s32", "f32", "nifcrt", "n"},    {"s32", "f16", "nifcrto", "nifcrto"},
    {"f32", "s16", "ifcrt", nullptr}, {"f32", "s32", "ifcrt", nullptr}, {"f32", "s64", "ifcrt", nullptr},
    {"f32", "bf16", "ifcrt", nullptr}, {"f32", "f32", "ifcrt", nullptr}, {"f32", "f16", "ifcrton", "on"},
    {"s64", "s32", "n", nullptr},     {"s64", "f32", "ifcrt", nullptr},
};

constexpr char letters[] = "nifcrto";

}  // namespace

void check_cast(const char* to, const char* from, RoundMode mode) {
    const bool split = core().chip->layout == Layout::split;
    for (const CastPair& pair : cast_pairs) {
        if (std::strcmp(pair.from, from) != 0 || std::strcmp(pair.to, to) != 0) continue;
        const char* modes = split ? pair.split : pair.fused;
        if (modes != nullptr && std::strchr(modes, letters[int(mode)]) != nullptr) return;
        fail(FaultKind::dtype, "Cast from %s to %s with rounding %c is not on %s", from, to, letters[int(mode)], core().chip->name);
    }
    fail(FaultKind::dtype, "Cast from %s to %s is on no chip", from, to);
}

float deq_scale_for(const char* to, const char* from) {
    if (std::strcmp(from, "s32") != 0 || std::strcmp(to, "f16") != 0) return 1;
    if (!core().has_deq_scale) fail(FaultKind::queue, "Cast from s32 to f16 before SetDeqScale");
    return core().deq_scale;
}

double round_to_integer(double value, RoundMode mode) {
    switch (mode) {
        case RoundMode::CAST_FLOOR: return std::floor(value);
        case RoundMode::CAST_CEIL: return std::ceil(value);
        case RoundMode::CAST_ROUND: return std::round(value);
        case RoundMode::CAST_TRUNC: return std::trunc(value);
        default: return std::nearbyint(value);
    }
}

void check_repeat(uint64_t mask, uint64_t repeats, uint32_t most_lanes, const char* name) {
    if (repeats > most_repeats) fail(FaultKind::limit, "%s of %llu repeats, more than 255", name, (unsigned long long)repeats);
    if (mask == 0 || mask > most_lanes)
        fail(FaultKind::limit, "%s with a mask of %llu, not in 1 to %u", name, (unsigned long long)mask, most_lanes);
}

void check_vector(const View& view, const char* name) {
    if (view.space != Space::ub) fail(FaultKind::model, "%s on %s; the vector unit works on UB", name, space_name(view.space));
    if (view.offset % block_bytes != 0)
        fail(FaultKind::alignment, "%s at UB offset %u, which is no multiple of 32", name, view.offset);
}

void check_overlap(const View& destination, uint64_t bytes, const View& source, uint64_t source_bytes, const char* name) {
    // At the same place only elements of the same size stay behind what is read.
    if (destination.offset == source.offset && bytes <= source_bytes) return;
    const uint64_t end = destination.offset + bytes, source_end = source.offset + source_bytes;
    if (destination.offset < source_end && source.offset < end) {
        fail(FaultKind::hazard, "%s: source [%u, %llu) and destination [%u, %llu) overlap in part", name, source.offset,
             (unsigned long long)source_end, destination.offset, (unsigned long long)end);
    }
}

}  // namespace hew_ascend

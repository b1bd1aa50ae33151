#include "hew_ascend/chip.h"

#include <cstring>

namespace hew_ascend {
namespace {

constexpr uint32_t KiB = 1024;

constexpr Chip split_chip(const char* name, uint32_t cubes) {
    return {name,     Layout::split, cubes,    2 * cubes, 192 * KiB - 256, 512 * KiB - 256, 64 * KiB,
            64 * KiB, 128 * KiB,     1 * KiB,  7 * KiB,   true,            true,            true};
}

constexpr Chip chips[] = {
    split_chip("910b1", 24),
    split_chip("910b2", 24),
    split_chip("910b3", 20),
    split_chip("910b4", 20),
    split_chip("910_9391", 24),
    split_chip("910_9381", 24),
    split_chip("910_9372", 20),
    split_chip("910_9362", 20),
    {"310p3", Layout::fused, 8, 8, 256 * KiB, 1024 * KiB, 64 * KiB, 64 * KiB, 256 * KiB, 0, 0, false, false, false},
};

}  // namespace

const Chip* find_chip(const char* name) {
    for (const Chip& chip : chips)
        if (std::strcmp(chip.name, name) == 0) return &chip;
    return nullptr;
}

}  // namespace hew_ascend

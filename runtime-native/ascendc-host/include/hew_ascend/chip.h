// What the model knows of a chip: sizes of its memories and how its cores are built. Sizes in bytes.
#pragma once
#include <cstdint>

namespace hew_ascend {

enum class Layout : uint8_t {
    split,  // cube (AIC) and vector (AIV) cores are separate and meet in global memory
    fused,  // one core has both
};

struct Chip {
    const char* name;
    Layout layout;
    uint32_t cube_cores;
    uint32_t vector_cores;
    uint32_t ub;
    uint32_t l1;
    uint32_t l0a;
    uint32_t l0b;
    uint32_t l0c;
    uint32_t bias_table;
    uint32_t fixpipe_buffer;
    bool has_bf16;
    bool has_fixpipe;
    bool has_data_copy_pad;
};

// Null for a name that is not known.
const Chip* find_chip(const char* name);

}  // namespace hew_ascend

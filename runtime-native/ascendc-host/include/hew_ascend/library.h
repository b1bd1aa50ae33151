// Kernels as a shared object: what a program calls that runs them on the model of the chip, and has no header of it. A
// bundle's kernels are compiled with a table of them, `hew_ascend_kernels`; the rest is in library/library.cpp.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {

// One kernel of the table; the last entry has no name.
struct hew_ascend_kernel {
    const char* name;
    void* function;
    // As KERNEL_TASK_TYPE_DEFAULT names it, without KERNEL_TYPE_.
    const char* type;
};
extern const hew_ascend_kernel hew_ascend_kernels[];

// Work of one launch: bytes by route and cycles, of all cores together and of the busiest one. `gm_read` and
// `gm_written` count every byte of global memory once, however often cores touch it; `weights_read` is a part of `gm_read`.
struct hew_ascend_counters {
    uint64_t gm_to_ub, ub_to_gm, gm_to_l1, l1_to_l0, l0c_out, vector_cycles, cube_cycles, scalar_accesses;
};
struct hew_ascend_work {
    hew_ascend_counters total, busiest;
    uint64_t gm_read, gm_written, weights_read;
};

// Global memory that kernels may touch; it takes the place of what was named before.
__attribute__((visibility("default"))) void hew_ascend_memory(const void* begin, uint64_t bytes, uint64_t read_only_bytes);

// Runs a kernel; `words` are its arguments. Null, or what went wrong, until the next call.
__attribute__((visibility("default"))) const char* hew_ascend_launch(const char* chip, const char* kernel, uint32_t blocks, const uint64_t* words, size_t count,
                              hew_ascend_work* work);
}

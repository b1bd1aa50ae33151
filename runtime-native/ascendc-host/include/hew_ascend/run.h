// Running a kernel on all cores of a launch. Cores take turns on one thread: each runs until it ends or waits for
// another, so a run is the same every time.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "hew_ascend/core.h"
#include "hew_ascend/queue.h"

namespace hew_ascend {

enum class KernelType : uint8_t { aicore, mix_vector_core, aiv_only, aic_only, mix_aiv_1_0, mix_aic_1_0, mix_aic_1_1, mix_aic_1_2 };

struct LaunchResult {
    bool has_fault = false;
    Fault fault;
    uint32_t core = 0;  // where the fault was
    Counters total;
    Counters busiest;  // largest value of each counter over the cores
};

// Runs `kernel` on `block_count` blocks. The cores' local memories hold NaN patterns at the start.
LaunchResult launch(const Chip& chip, KernelType type, uint32_t block_count, const std::function<void()>& kernel);

// Called by a kernel that declares its type; it must be the one it was launched as.
void declare_kernel_type(KernelType type);

// Waits until every core (of the same role, or of all) has come here.
void sync_all(bool vector_only);
void cross_core_set(int mode, Pipe pipe, int flag);
void cross_core_wait(int mode, int flag);
void barrier(int pipe);  // pipe_count for all

}  // namespace hew_ascend

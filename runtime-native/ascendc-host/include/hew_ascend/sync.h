// Barriers, cross-core synchronisation and what a kernel asks about its place.
#pragma once
#include "hew_ascend/run.h"

#define PIPE_S 0
#define PIPE_V 1
#define PIPE_M 2
#define PIPE_MTE1 3
#define PIPE_MTE2 4
#define PIPE_MTE3 5
#define PIPE_FIX 6
#define PIPE_ALL 7

#define ASCEND_IS_AIC (hew_ascend::core().role != hew_ascend::Role::aiv)
#define ASCEND_IS_AIV (hew_ascend::core().role != hew_ascend::Role::aic)

#define KERNEL_TYPE_AICORE hew_ascend::KernelType::aicore
#define KERNEL_TYPE_MIX_VECTOR_CORE hew_ascend::KernelType::mix_vector_core
#define KERNEL_TYPE_AIV_ONLY hew_ascend::KernelType::aiv_only
#define KERNEL_TYPE_AIC_ONLY hew_ascend::KernelType::aic_only
#define KERNEL_TYPE_MIX_AIV_1_0 hew_ascend::KernelType::mix_aiv_1_0
#define KERNEL_TYPE_MIX_AIC_1_0 hew_ascend::KernelType::mix_aic_1_0
#define KERNEL_TYPE_MIX_AIC_1_1 hew_ascend::KernelType::mix_aic_1_1
#define KERNEL_TYPE_MIX_AIC_1_2 hew_ascend::KernelType::mix_aic_1_2
#define KERNEL_TASK_TYPE_DEFAULT(type) hew_ascend::declare_kernel_type(type)

namespace AscendC {

template <int pipe>
void PipeBarrier() {
    hew_ascend::barrier(pipe);
}
template <bool isAIVOnly = true>
void SyncAll() {
    hew_ascend::sync_all(isAIVOnly);
}
template <uint8_t modeId, int pipe>
void CrossCoreSetFlag(uint16_t flag) {
    hew_ascend::cross_core_set(modeId, hew_ascend::Pipe(pipe), flag);
}
template <uint8_t modeId = 0, int pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t flag) {
    hew_ascend::cross_core_wait(modeId, flag);
}
inline int64_t GetBlockIdx() { return hew_ascend::core().block; }
inline int64_t GetBlockNum() { return hew_ascend::core().block_count; }
inline int64_t GetSubBlockIdx() { return hew_ascend::core().sub_block; }

}  // namespace AscendC

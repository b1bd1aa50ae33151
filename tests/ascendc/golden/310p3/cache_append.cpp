// cache_append on 310p3
//
//   in0   f16[C, 2, 203]
//   in1   f16[T, 2, 203]
//   in2   i32[]
//   out0  f16[C, 2, 203]
//
// Blocks of the rows go round the cores, from memory through the unified buffer to memory.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kTile = 16384;  // elements of one copy

class CacheAppend1 {
public:
    __aicore__ inline CacheAppend1(uint32_t C, uint32_t T, TPipe* pipe)
        : C(C), T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (C * 406));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (T * 406));
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(in2), 1);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (C * 406));
        pipe_->InitBuffer(buffer_, 2 * kTile * sizeof(half));
    }

    __aicore__ inline void Process() {
        const int64_t start = in2Gm_.GetValue(0);
        const bool fits = start >= 0 && start + T <= C;
        const uint64_t first = fits ? start * 406 : 0;
        const uint64_t added = fits ? static_cast<uint64_t>(T) * 406 : 0;
        Copy(out0Gm_[first], in1Gm_, added);
        if (out0Gm_.GetPhyAddr() == in0Gm_.GetPhyAddr()) return;
        const uint64_t behind = first + added;
        Copy(out0Gm_, in0Gm_, first);
        Copy(out0Gm_[behind], in0Gm_[behind], static_cast<uint64_t>(C) * 406 - behind);
    }

private:
    __aicore__ inline void Copy(const GlobalTensor<half>& to, const GlobalTensor<half>& from, uint64_t elements) {
        for (int32_t side = 0; side < 2; ++side) SetFlag<HardEvent::MTE3_MTE2>(side);
        uint32_t side = 0;
        for (uint64_t at = GetBlockIdx() * kTile; at < elements; at += GetBlockNum() * kTile) {
            CopyBlock(to[at], from[at], Minimum(kTile, elements - at), side);
            side = 1 - side;
        }
        for (int32_t side = 0; side < 2; ++side) WaitFlag<HardEvent::MTE3_MTE2>(side);
    }

    __aicore__ inline void CopyBlock(const GlobalTensor<half>& to, const GlobalTensor<half>& from, uint32_t count, uint32_t side) {
        LocalTensor<half> block = buffer_.GetWithOffset<half>(kTile, side * kTile * sizeof(half));
        const int32_t event = static_cast<int32_t>(side);
        WaitFlag<HardEvent::MTE3_MTE2>(event);
        Load(block, from, count);
        SetFlag<HardEvent::MTE2_MTE3>(event);
        WaitFlag<HardEvent::MTE2_MTE3>(event);
        Store(to, block, count);
        SetFlag<HardEvent::MTE3_MTE2>(event);
    }

    const uint32_t C;
    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<int32_t> in2Gm_;
    GlobalTensor<half> out0Gm_;
    TBuf<TPosition::VECCALC> buffer_;
};

}  // namespace

extern "C" __global__ __aicore__ void cache_append_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t C, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    CacheAppend1 kernel(C, T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

// argmax on 910_9391
//
//   in0   f16[T, 203]
//   out0  i32[T]
//
// Rows go round the cores; the scalar unit chooses.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 1;

class Argmax1 {
public:
    __aicore__ inline Argmax1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(out0), T);
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(indicesQueue_, 2, CeilDiv(1 * sizeof(int32_t), 32) * 32);
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            CopyIn(row, kWidth);
            Compute(kWidth);
            CopyOut(row);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[row * kWidth], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<int32_t> indices = indicesQueue_.AllocTensor<int32_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Adds(work0, work0, 0.0f, count);
        tile0Queue_.FreeTensor(tile0);
        LocalTensor<float> values = work0;
        WaitForVector();
        const Candidate last{kInfinity, kNowhere};
        Candidate best{-kInfinity, kNowhere};
        for (uint32_t at = 0; at < count; ++at) {
            const Candidate candidate{values.GetValue(at), at};
            if ((last.at == kNowhere || last.Before(candidate)) && candidate.Before(best)) best = candidate;
        }
        indices.SetValue(0, best.at == kNowhere ? 0 : static_cast<int32_t>(best.at));
        WaitForScalar();
        indicesQueue_.EnQue(indices);
    }

    __aicore__ inline void CopyOut(uint32_t row) {
        LocalTensor<int32_t> indices = indicesQueue_.DeQue<int32_t>();
        Store(out0Gm_[row * 1], indices, 1);
        indicesQueue_.FreeTensor(indices);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<int32_t> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TBuf<TPosition::VECCALC> work_;
    TQue<TPosition::VECOUT, 1> indicesQueue_;
};

}  // namespace

extern "C" __global__ __aicore__ void argmax_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Argmax1 kernel(T, &pipe);
    kernel.Init(in0, out0, scratch);
    kernel.Process();
}

// reduce_mean on 910_9391
//
//   in0   f16[T, 203]
//   out0  f16[T]
//
// Rows of the result go round the cores; each becomes one number.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class ReduceMean1 {
public:
    __aicore__ inline ReduceMean1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), T);
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, 32);
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            float total = 0.0f;
            for (uint32_t step = 0; step < 1; ++step) {
                for (uint32_t column = 0; column < kWidth; column += kTile) {
                    const uint32_t count = Minimum(kTile, kWidth - column);
                    CopyIn(row, step, column, count);
                    total = Compute(total, count);
                }
            }
            CopyOut(row, total / static_cast<float>(kWidth));
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline float Compute(float total, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        ReduceSum(work1, work0, work1, count);
        WaitForVector();
        const float part = work1.GetValue(0);
        total = total + part;
        WaitForScalar();
        tile0Queue_.FreeTensor(tile0);
        return total;
    }

    __aicore__ inline void CopyOut(uint32_t row, float value) {
        constexpr uint32_t count = 1;
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(total, value, count);
        PipeBarrier<PIPE_V>();
        Cast(result, total, RoundMode::CAST_RINT, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<half>();
        Store(out0Gm_[row], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void reduce_mean_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    ReduceMean1 kernel(T, &pipe);
    kernel.Init(in0, out0, scratch);
    kernel.Process();
}

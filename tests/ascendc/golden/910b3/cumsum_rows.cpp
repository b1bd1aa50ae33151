// cumsum on 910b3
//
//   in0   f16[T, 203]
//   out0  f16[T, 203]
//
// Rows go round the cores; the scalar unit adds from left to right.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 1;

class Cumsum1 {
public:
    __aicore__ inline Cumsum1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            sum_ = 0.0f;
            for (uint32_t column = 0; column < kWidth; column += kTile) {
                const uint32_t count = Minimum(kTile, kWidth - column);
                CopyIn(row, column, count);
                Compute(count);
                CopyOut(row, column, count);
            }
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Adds(work0, work0, 0.0f, count);
        WaitForVector();
        for (uint32_t i = 0; i < count; ++i) {
            sum_ += work0.GetValue(i);
            work0.SetValue(i, sum_);
        }
        WaitForScalar();
        Cast(result, work0, RoundMode::CAST_RINT, count);
        tile0Queue_.FreeTensor(tile0);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> result = outQueue_.DeQue<half>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    float sum_;
};

}  // namespace

extern "C" __global__ __aicore__ void cumsum_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Cumsum1 kernel(T, &pipe);
    kernel.Init(in0, out0, scratch);
    kernel.Process();
}

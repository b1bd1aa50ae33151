// dynamic_quantize on 910_9391
//
//   in0   f16[T, 203]
//   out0  i8[T, 203]
//   out1  f32[T, 1]
//
// Rows go round the cores; each is measured, then quantized.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;
constexpr uint32_t kMaskSlots = 1;
constexpr uint32_t kMaskBytes = CeilDiv(kTile / 8, 32) * 32;  // a bit for each element

class DynamicQuantize1 {
public:
    __aicore__ inline DynamicQuantize1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR out1, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(out0), (T * 203));
        out1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out1), T);
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(int8_t));
        pipe_->InitBuffer(scaleQueue_, 2, 32);
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(masks_, kMaskSlots * kMaskBytes);
        Duplicate(work_.Get<float>(), 0.0f, kWorkSlots * kTile);
        PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            greatest_ = 0.0f;
            for (uint32_t column = 0; column < kWidth; column += kTile) {
                const uint32_t count = Minimum(kTile, kWidth - column);
                CopyIn(row, column, count);
                Measure(count);
            }
            scale_ = greatest_ / 127.0f;
            if (scale_ == 0.0f) scale_ = 1.0f;
            CopyScaleOut(row);
            for (uint32_t column = 0; column < kWidth; column += kTile) {
                const uint32_t count = Minimum(kTile, kWidth - column);
                CopyIn(row, column, count);
                Compute(row, column, count);
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

    __aicore__ inline void Measure(uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Abs(work0, work0, count);
        PipeBarrier<PIPE_V>();
        ReduceMax(work1, work0, work1, count);
        WaitForVector();
        const float greatest = work1.GetValue(0);
        if (greatest > greatest_) greatest_ = greatest;
        WaitForScalar();
        tile0Queue_.FreeTensor(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<int8_t> result = outQueue_.AllocTensor<int8_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<uint8_t> mask0 = masks_.GetWithOffset<uint8_t>(kMaskBytes, 0 * kMaskBytes);
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        Duplicate(work1, scale_, count);
        PipeBarrier<PIPE_V>();
        Div(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(work0, work0, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        Compare(mask0, work0, work0, CMPMODE::EQ, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Select(work1, mask0, work0, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, count);
        PipeBarrier<PIPE_V>();
        Maxs(work0, work1, -128.0f, count);
        PipeBarrier<PIPE_V>();
        Mins(work0, work0, 127.0f, count);
        PipeBarrier<PIPE_V>();
        Cast(work1.ReinterpretCast<half>(), work0, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work1.ReinterpretCast<half>(), RoundMode::CAST_NONE, count);
        tile0Queue_.FreeTensor(tile0);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<int8_t> result = outQueue_.DeQue<int8_t>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    __aicore__ inline void CopyScaleOut(uint32_t row) {
        constexpr uint32_t count = 1;
        LocalTensor<float> scale = scaleQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(work0, scale_, count);
        PipeBarrier<PIPE_V>();
        Adds(scale, work0, 0.0f, count);
        scaleQueue_.EnQue(scale);
        scale = scaleQueue_.DeQue<float>();
        Store(out1Gm_[row], scale, count);
        scaleQueue_.FreeTensor(scale);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<int8_t> out0Gm_;
    GlobalTensor<float> out1Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TQue<TPosition::VECOUT, 1> scaleQueue_;
    TBuf<TPosition::VECCALC> work_;
    TBuf<TPosition::VECCALC> masks_;
    float greatest_;
    float scale_;
};

}  // namespace

extern "C" __global__ __aicore__ void dynamic_quantize_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR out1, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    DynamicQuantize1 kernel(T, &pipe);
    kernel.Init(in0, out0, out1, scratch);
    kernel.Process();
}

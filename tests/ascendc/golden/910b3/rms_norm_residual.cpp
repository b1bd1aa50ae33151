// rms_norm, add on 910b3
//
//   in0   f16[T, 203]
//   in1   f16[203]
//   in2   f16[T, 203]
//   out0  f16[T, 203]
//
// Rows go round the cores; a row is one tile and is read once.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class RmsNormAdd1 {
public:
    __aicore__ inline RmsNormAdd1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), kWidth);
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in2), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile2Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            CopyIn(row, 0, kWidth);
            Compute(row, 0, kWidth);
            CopyOut(row, 0, kWidth);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<half> tile1 = tile1Queue_.AllocTensor<half>();
        Load(tile1, in1Gm_[column], count);
        tile1Queue_.EnQue(tile1);
        LocalTensor<half> tile2 = tile2Queue_.AllocTensor<half>();
        Load(tile2, in2Gm_[row * kWidth + column], count);
        tile2Queue_.EnQue(tile2);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<half> tile1 = tile1Queue_.DeQue<half>();
        LocalTensor<half> tile2 = tile2Queue_.DeQue<half>();
        squares_ = 0.0f;
        {
            LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
            LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
            PipeBarrier<PIPE_V>();
            Cast(work0, tile0, RoundMode::CAST_NONE, count);
            PipeBarrier<PIPE_V>();
            Mul(work0, work0, work0, count);
            PipeBarrier<PIPE_V>();
            ReduceSum(work1, work0, work1, count);
            WaitForVector();
            const float part = work1.GetValue(0);
            WaitForScalar();
            squares_ += part;
        }
        factor_ = 1.0f / ScalarSqrt(squares_ / static_cast<float>(kWidth) + 0.00000999999975f);
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work0, factor_, count);
        Cast(work1, tile1, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Mul(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(work1, tile2, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Add(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work0, RoundMode::CAST_RINT, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        tile2Queue_.FreeTensor(tile2);
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
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> in2Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECIN, 1> tile2Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    float squares_;
    float factor_;
};

}  // namespace

extern "C" __global__ __aicore__ void rms_norm_add_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    RmsNormAdd1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

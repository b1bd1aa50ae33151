// layer_norm, mul, add on 910b1
//
//   in0   f32[T, 203]
//   in1   f32[203]
//   in2   f32[203]
//   out0  f32[T, 203]
//
// Rows go round the cores; a row is one tile and is read once.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class LayerNormMulAdd1 {
public:
    __aicore__ inline LayerNormMulAdd1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), kWidth);
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in2), kWidth);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile2Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
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
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<float> tile1 = tile1Queue_.AllocTensor<float>();
        Load(tile1, in1Gm_[column], count);
        tile1Queue_.EnQue(tile1);
        LocalTensor<float> tile2 = tile2Queue_.AllocTensor<float>();
        Load(tile2, in2Gm_[column], count);
        tile2Queue_.EnQue(tile2);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> tile1 = tile1Queue_.DeQue<float>();
        LocalTensor<float> tile2 = tile2Queue_.DeQue<float>();
        total_ = 0.0f;
        squares_ = 0.0f;
        {
            LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
            PipeBarrier<PIPE_V>();
            ReduceSum(work0, tile0, work0, count);
            WaitForVector();
            const float part = work0.GetValue(0);
            WaitForScalar();
            total_ += part;
        }
        mean_ = total_ / static_cast<float>(kWidth);
        {
            LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
            LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
            Adds(work0, tile0, -mean_, count);
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
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        Adds(work0, tile0, -mean_, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work0, factor_, count);
        PipeBarrier<PIPE_V>();
        Mul(work0, work0, tile1, count);
        PipeBarrier<PIPE_V>();
        Add(work0, work0, tile2, count);
        PipeBarrier<PIPE_V>();
        Adds(result, work0, 0.0f, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        tile2Queue_.FreeTensor(tile2);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> in2Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECIN, 1> tile2Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    float total_;
    float squares_;
    float mean_;
    float factor_;
};

}  // namespace

extern "C" __global__ __aicore__ void layer_norm_mul_add_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    LayerNormMulAdd1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

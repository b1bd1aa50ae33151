// quantize on 310p3
//
//   in0   f32[T, 203]
//   in1   f32[T, 1]
//   out0  i8[T, 203]
//
// Tiles of up to 256 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;
constexpr uint32_t kMaskSlots = 1;
constexpr uint32_t kMaskBytes = CeilDiv(kTile / 8, 32) * 32;  // a bit for each element

class Quantize1 {
public:
    __aicore__ inline Quantize1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), T);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(int8_t));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(masks_, kMaskSlots * kMaskBytes);
        Duplicate(work_.Get<float>(), 0.0f, kWorkSlots * kTile);
        PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        const uint32_t units = T * tiles;
        for (uint32_t unit = GetBlockIdx(); unit < units; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kWidth - column);
            CopyIn(row, column, count);
            Compute(row, column, count);
            CopyOut(row, column, count);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        const float scalar1 = ToFloat(in1Gm_.GetValue(row));
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<int8_t> result = outQueue_.AllocTensor<int8_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<uint8_t> mask0 = masks_.GetWithOffset<uint8_t>(kMaskBytes, 0 * kMaskBytes);
        Duplicate(work0, scalar1, count);
        PipeBarrier<PIPE_V>();
        Div(work1, tile0, work0, count);
        PipeBarrier<PIPE_V>();
        Adds(work0, work1, 12582912.0f, count);
        PipeBarrier<PIPE_V>();
        Adds(work0, work0, -12582912.0f, count);
        Abs(work2, work1, count);
        PipeBarrier<PIPE_V>();
        CompareScalar(mask0, work2, 4194304.0f, CMPMODE::LT, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Select(work2, mask0, work0, work1, SELMODE::VSEL_TENSOR_TENSOR_MODE, count);
        PipeBarrier<PIPE_V>();
        Compare(mask0, work2, work2, CMPMODE::EQ, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Select(work0, mask0, work2, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, count);
        PipeBarrier<PIPE_V>();
        Maxs(work0, work0, -128.0f, count);
        PipeBarrier<PIPE_V>();
        Mins(work0, work0, 127.0f, count);
        PipeBarrier<PIPE_V>();
        Cast(work1.ReinterpretCast<half>(), work0, RoundMode::CAST_NONE, count);
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

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<int8_t> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    TBuf<TPosition::VECCALC> masks_;
};

}  // namespace

extern "C" __global__ __aicore__ void quantize_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Quantize1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

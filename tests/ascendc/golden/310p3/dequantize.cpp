// dequantize on 310p3
//
//   in0   i8[63, 203]
//   in1   f16[63]
//   out0  f32[63, 203]
//
// Tiles of up to 256 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class Dequantize1 {
public:
    __aicore__ inline Dequantize1(TPipe* pipe)
        : pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(in0), 12789);
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), 63);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), 12789);
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(int8_t));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        const uint32_t units = 63 * tiles;
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
        LocalTensor<int8_t> tile0 = tile0Queue_.AllocTensor<int8_t>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        const float scalar1 = ToFloat(in1Gm_.GetValue(row));
        LocalTensor<int8_t> tile0 = tile0Queue_.DeQue<int8_t>();
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0.ReinterpretCast<half>(), tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Cast(work1, work0.ReinterpretCast<half>(), RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work1, scalar1, count);
        PipeBarrier<PIPE_V>();
        Adds(result, work0, 0.0f, count);
        tile0Queue_.FreeTensor(tile0);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    TPipe* pipe_;
    GlobalTensor<int8_t> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void dequantize_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Dequantize1 kernel(&pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

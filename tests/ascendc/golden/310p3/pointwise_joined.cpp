// concat on 310p3
//
//   in0   f16[T, 63]
//   in1   f16[T, 17]
//   out0  f16[T, 80]
//
// Tiles of up to 128 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 80;
constexpr uint32_t kTile = 128;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class Concat1 {
public:
    __aicore__ inline Concat1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 63));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (T * 17));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 80));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
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
        WaitForVector();
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        for (uint32_t lane = 0; lane < count; ++lane) {
            if ((column + lane) < 63) {
                tile0.SetValue(lane, in0Gm_.GetValue(row * 63 + (column + lane)));
            } else {
                tile0.SetValue(lane, in1Gm_.GetValue(row * 17 + ((column + lane) - 63)));
            }
        }
        WaitForScalar();
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work0, RoundMode::CAST_NONE, count);
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
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void concat_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Concat1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

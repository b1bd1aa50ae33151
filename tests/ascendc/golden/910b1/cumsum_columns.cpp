// cumsum on 910b1
//
//   in0   f32[T, 203]
//   out0  f32[T, 203]
//
// Sums so far are written after every step along the axis.
// Tiles of up to 256 elements of the result go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class Cumsum1 {
public:
    __aicore__ inline Cumsum1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        for (uint32_t unit = GetBlockIdx(); unit < tiles; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kWidth - column);
            Start(count);
            for (uint32_t step = 0; step < T; ++step) {
                CopyIn(row, step, column, count);
                Compute(row, step, column, count);
                CopyOut(row, step, column, count);
            }
        }
    }

private:
    __aicore__ inline void Start(uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(total, 0.0f, count);
    }

    __aicore__ inline void CopyIn(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in0Gm_[step * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Add(total, total, tile0, count);
        tile0Queue_.FreeTensor(tile0);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Adds(result, total, 0.0f, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<float>();
        Store(out0Gm_[step * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void cumsum_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Cumsum1 kernel(T, &pipe);
    kernel.Init(in0, out0, scratch);
    kernel.Process();
}

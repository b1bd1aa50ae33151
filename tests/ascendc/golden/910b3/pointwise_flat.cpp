// silu, mul on 910b3
//
//   in0   f16[T, 203]
//   in1   f16[T, 203]
//   out0  f16[T, 203]
//
// Tiles of up to 4096 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kTile = 4096;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class SiluMul1 {
public:
    __aicore__ inline SiluMul1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv((T * 203), kTile);
        const uint32_t units = tiles;
        for (uint32_t unit = GetBlockIdx(); unit < units; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, (T * 203) - column);
            CopyIn(row, column, count);
            Compute(row, column, count);
            CopyOut(row, column, count);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<half> tile1 = tile1Queue_.AllocTensor<half>();
        Load(tile1, in1Gm_[column], count);
        tile1Queue_.EnQue(tile1);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<half> tile1 = tile1Queue_.DeQue<half>();
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Muls(work1, work0, -1.0f, count);
        PipeBarrier<PIPE_V>();
        Exp(work1, work1, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work1, 1.0f, count);
        Duplicate(work2, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Div(work2, work2, work1, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work2, work0, count);
        PipeBarrier<PIPE_V>();
        Cast(work0, tile1, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work1, work0, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work1, RoundMode::CAST_RINT, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<half> result = outQueue_.DeQue<half>();
        Store(out0Gm_[row * (T * 203) + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void silu_mul_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    SiluMul1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

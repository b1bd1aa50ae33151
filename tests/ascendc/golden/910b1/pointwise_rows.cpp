// gelu_tanh, add on 910b1
//
//   in0   bf16[T, 203]
//   in1   bf16[203]
//   out0  bf16[T, 203]
//
// Tiles of up to 256 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class GeluTanhAdd1 {
public:
    __aicore__ inline GeluTanhAdd1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(in1), kWidth);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(bfloat16_t));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(bfloat16_t));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(bfloat16_t));
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
        LocalTensor<bfloat16_t> tile0 = tile0Queue_.AllocTensor<bfloat16_t>();
        Load(tile0, in0Gm_[row * kWidth + column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<bfloat16_t> tile1 = tile1Queue_.AllocTensor<bfloat16_t>();
        Load(tile1, in1Gm_[column], count);
        tile1Queue_.EnQue(tile1);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<bfloat16_t> tile0 = tile0Queue_.DeQue<bfloat16_t>();
        LocalTensor<bfloat16_t> tile1 = tile1Queue_.DeQue<bfloat16_t>();
        LocalTensor<bfloat16_t> result = outQueue_.AllocTensor<bfloat16_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work0, work0, count);
        PipeBarrier<PIPE_V>();
        Muls(work1, work1, 0.0356774081f, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work1, 0.797884561f, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work1, work0, count);
        PipeBarrier<PIPE_V>();
        Mins(work1, work1, 15.0f, count);
        PipeBarrier<PIPE_V>();
        Maxs(work1, work1, -15.0f, count);
        PipeBarrier<PIPE_V>();
        Muls(work1, work1, 2.0f, count);
        PipeBarrier<PIPE_V>();
        Exp(work1, work1, count);
        Duplicate(work2, -2.0f, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work1, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Div(work2, work2, work1, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work2, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work1, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work1, work0, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work1, 0.5f, count);
        PipeBarrier<PIPE_V>();
        Cast(work1, tile1, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Add(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work0, RoundMode::CAST_RINT, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<bfloat16_t> result = outQueue_.DeQue<bfloat16_t>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<bfloat16_t> in0Gm_;
    GlobalTensor<bfloat16_t> in1Gm_;
    GlobalTensor<bfloat16_t> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void gelu_tanh_add_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    GeluTanhAdd1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

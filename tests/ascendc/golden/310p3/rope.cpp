// rope on 310p3
//
//   in0   f16[T, 3, 80]
//   in1   f16[T, 40]
//   in2   f16[T, 40]
//   out0  f16[T, 3, 80]
//
// Rows, one for each token and head, go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kHalf = 40;
constexpr uint32_t kWidth = 80;
constexpr uint32_t kTile = 64;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 6;

class Rope1 {
public:
    __aicore__ inline Rope1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 240));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (T * 40));
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in2), (T * 40));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 240));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile2Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(tile3Queue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(firstQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(secondQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < (T * 3); row += GetBlockNum()) {
            CopyIn(row, kHalf);
            Compute(kHalf);
            CopyOut(row, kHalf);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t count) {
        const uint32_t i0 = row / 3;
        const uint32_t i1 = row % 3;
        LocalTensor<half> tile0 = tile0Queue_.AllocTensor<half>();
        Load(tile0, in0Gm_[i0 * 3 * kWidth + i1 * kWidth], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<half> tile1 = tile1Queue_.AllocTensor<half>();
        Load(tile1, in0Gm_[i0 * 3 * kWidth + i1 * kWidth + kHalf], count);
        tile1Queue_.EnQue(tile1);
        LocalTensor<half> tile2 = tile2Queue_.AllocTensor<half>();
        Load(tile2, in1Gm_[i0 * kHalf], count);
        tile2Queue_.EnQue(tile2);
        LocalTensor<half> tile3 = tile3Queue_.AllocTensor<half>();
        Load(tile3, in2Gm_[i0 * kHalf], count);
        tile3Queue_.EnQue(tile3);
    }

    __aicore__ inline void Compute(uint32_t count) {
        LocalTensor<half> tile0 = tile0Queue_.DeQue<half>();
        LocalTensor<half> tile1 = tile1Queue_.DeQue<half>();
        LocalTensor<half> tile2 = tile2Queue_.DeQue<half>();
        LocalTensor<half> tile3 = tile3Queue_.DeQue<half>();
        LocalTensor<half> first = firstQueue_.AllocTensor<half>();
        LocalTensor<half> second = secondQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<float> work3 = work_.GetWithOffset<float>(kTile, 3 * kTile * sizeof(float));
        LocalTensor<float> work4 = work_.GetWithOffset<float>(kTile, 4 * kTile * sizeof(float));
        LocalTensor<float> work5 = work_.GetWithOffset<float>(kTile, 5 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        Cast(work1, tile1, RoundMode::CAST_NONE, count);
        Cast(work2, tile2, RoundMode::CAST_NONE, count);
        Cast(work3, tile3, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Mul(work4, work0, work2, count);
        Mul(work5, work1, work3, count);
        PipeBarrier<PIPE_V>();
        Sub(work4, work4, work5, count);
        Mul(work1, work1, work2, count);
        Mul(work0, work0, work3, count);
        PipeBarrier<PIPE_V>();
        Add(work1, work1, work0, count);
        PipeBarrier<PIPE_V>();
        Cast(first, work4, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Cast(second, work1, RoundMode::CAST_NONE, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        tile2Queue_.FreeTensor(tile2);
        tile3Queue_.FreeTensor(tile3);
        firstQueue_.EnQue(first);
        secondQueue_.EnQue(second);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t count) {
        LocalTensor<half> first = firstQueue_.DeQue<half>();
        LocalTensor<half> second = secondQueue_.DeQue<half>();
        Store(out0Gm_[row * 2 * kHalf], first, count);
        Store(out0Gm_[row * 2 * kHalf + kHalf], second, count);
        firstQueue_.FreeTensor(first);
        secondQueue_.FreeTensor(second);
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
    TQue<TPosition::VECIN, 1> tile3Queue_;
    TQue<TPosition::VECOUT, 1> firstQueue_;
    TQue<TPosition::VECOUT, 1> secondQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void rope_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Rope1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

// rope on 910b3
//
//   in0   f32[T, 3, 80]
//   in1   f32[T, 40]
//   in2   f32[T, 40]
//   out0  f32[T, 3, 80]
//
// Rows, one for each token and head, go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kHalf = 40;
constexpr uint32_t kWidth = 80;
constexpr uint32_t kTile = 64;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class Rope1 {
public:
    __aicore__ inline Rope1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 240));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), (T * 40));
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in2), (T * 40));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 240));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile2Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile3Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(firstQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(secondQueue_, 2, kTile * sizeof(float));
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
        LocalTensor<float> tile2 = tile2Queue_.AllocTensor<float>();
        Load(tile2, in1Gm_[i0 * kHalf], count);
        tile2Queue_.EnQue(tile2);
        LocalTensor<float> tile3 = tile3Queue_.AllocTensor<float>();
        Load(tile3, in2Gm_[i0 * kHalf], count);
        tile3Queue_.EnQue(tile3);
        WaitForVector();
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        for (uint32_t lane = 0; lane < count; ++lane) {
            tile0.SetValue(lane, in0Gm_.GetValue(i0 * 3 * kWidth + i1 * kWidth + (lane * 2)));
        }
        tile0Queue_.EnQue(tile0);
        LocalTensor<float> tile1 = tile1Queue_.AllocTensor<float>();
        for (uint32_t lane = 0; lane < count; ++lane) {
            tile1.SetValue(lane, in0Gm_.GetValue(i0 * 3 * kWidth + i1 * kWidth + (1 + lane * 2)));
        }
        WaitForScalar();
        tile1Queue_.EnQue(tile1);
    }

    __aicore__ inline void Compute(uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> tile1 = tile1Queue_.DeQue<float>();
        LocalTensor<float> tile2 = tile2Queue_.DeQue<float>();
        LocalTensor<float> tile3 = tile3Queue_.DeQue<float>();
        LocalTensor<float> first = firstQueue_.AllocTensor<float>();
        LocalTensor<float> second = secondQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Mul(work0, tile0, tile2, count);
        Mul(work1, tile1, tile3, count);
        PipeBarrier<PIPE_V>();
        Sub(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, tile1, tile2, count);
        Mul(work2, tile0, tile3, count);
        PipeBarrier<PIPE_V>();
        Add(work1, work1, work2, count);
        PipeBarrier<PIPE_V>();
        Adds(first, work0, 0.0f, count);
        PipeBarrier<PIPE_V>();
        Adds(second, work1, 0.0f, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        tile2Queue_.FreeTensor(tile2);
        tile3Queue_.FreeTensor(tile3);
        firstQueue_.EnQue(first);
        secondQueue_.EnQue(second);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t count) {
        LocalTensor<float> first = firstQueue_.DeQue<float>();
        LocalTensor<float> second = secondQueue_.DeQue<float>();
        StoreStrided(out0Gm_[row * 2 * kHalf + 0], first, count, 2);
        StoreStrided(out0Gm_[row * 2 * kHalf + 1], second, count, 2);
        firstQueue_.FreeTensor(first);
        secondQueue_.FreeTensor(second);
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
    TQue<TPosition::VECIN, 1> tile3Queue_;
    TQue<TPosition::VECOUT, 1> firstQueue_;
    TQue<TPosition::VECOUT, 1> secondQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void rope_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Rope1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

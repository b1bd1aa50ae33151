// lt, where on 910b1
//
//   in0   f32[T, 203]
//   in1   f32[T, 203]
//   out0  f32[T, 203]
//
// Tiles of up to 4096 elements go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kTile = 4096;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;
constexpr uint32_t kMaskSlots = 1;
constexpr uint32_t kMaskBytes = CeilDiv(kTile / 8, 32) * 32;  // a bit for each element

class LtWhere1 {
public:
    __aicore__ inline LtWhere1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 203));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), (T * 203));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 203));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(masks_, kMaskSlots * kMaskBytes);
        Duplicate(work_.Get<float>(), 0.0f, kWorkSlots * kTile);
        PipeBarrier<PIPE_V>();
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
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in0Gm_[column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<float> tile1 = tile1Queue_.AllocTensor<float>();
        Load(tile1, in1Gm_[column], count);
        tile1Queue_.EnQue(tile1);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> tile1 = tile1Queue_.DeQue<float>();
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<uint8_t> mask0 = masks_.GetWithOffset<uint8_t>(kMaskBytes, 0 * kMaskBytes);
        PipeBarrier<PIPE_V>();
        Adds(work0, tile0, 0.0f, count);
        Adds(work1, tile1, 0.0f, count);
        PipeBarrier<PIPE_V>();
        Compare(mask0, work0, work1, CMPMODE::LT, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Duplicate(work0, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Select(work1, mask0, work0, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, count);
        PipeBarrier<PIPE_V>();
        CompareScalar(mask0, work1, 0.5f, CMPMODE::GT, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Select(work0, mask0, tile0, tile1, SELMODE::VSEL_TENSOR_TENSOR_MODE, count);
        PipeBarrier<PIPE_V>();
        Adds(result, work0, 0.0f, count);
        tile0Queue_.FreeTensor(tile0);
        tile1Queue_.FreeTensor(tile1);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * (T * 203) + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    TBuf<TPosition::VECCALC> masks_;
};

}  // namespace

extern "C" __global__ __aicore__ void lt_where_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    LtWhere1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

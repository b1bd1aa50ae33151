// matmul on 910b3
//
//   in0   f32[2, T, 63]
//   in1   f32[63, 203]
//   out0  f32[2, T, 203]
//
// Rows of the second matrix, times elements of a row of the first, are added up.
// Tiles of up to 256 elements of the result go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 203;
constexpr uint32_t kTile = 256;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class Matmul1 {
public:
    __aicore__ inline Matmul1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 126));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), 12789);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 406));
        pipe_->InitBuffer(tile1Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        for (uint32_t unit = GetBlockIdx(); unit < (T * 2) * tiles; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kWidth - column);
            Start(count);
            for (uint32_t step = 0; step < 63; ++step) {
                CopyIn(row, step, column, count);
                Compute(row, step, column, count);
            }
            CopyOut(row, 0, column, count);
        }
    }

private:
    __aicore__ inline void Start(uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(total, 0.0f, count);
    }

    __aicore__ inline void CopyIn(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i0 = row / T;
        const uint32_t i1 = row % T;
        LocalTensor<float> tile1 = tile1Queue_.AllocTensor<float>();
        Load(tile1, in1Gm_[step * kWidth + column], count);
        tile1Queue_.EnQue(tile1);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i0 = row / T;
        const uint32_t i1 = row % T;
        const float scalar0 = ToFloat(in0Gm_.GetValue(i0 * T * 63 + i1 * 63 + step));
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<float> tile1 = tile1Queue_.DeQue<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Muls(work0, tile1, scalar0, count);
        PipeBarrier<PIPE_V>();
        Add(total, total, work0, count);
        tile1Queue_.FreeTensor(tile1);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i0 = row / T;
        const uint32_t i1 = row % T;
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Adds(result, total, 0.0f, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> tile1Queue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void matmul_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Matmul1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

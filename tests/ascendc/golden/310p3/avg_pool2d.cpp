// avg_pool2d on 310p3
//
//   in0   f16[1, 3, 5, 163]
//   out0  f16[1, 3, 3, 82]
//
// Rows of the image under each tap of the window are folded.
// Tiles of up to 128 elements of the result go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 82;
constexpr uint32_t kTile = 128;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class AvgPool2d1 {
public:
    __aicore__ inline AvgPool2d1(TPipe* pipe)
        : pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), 2445);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), 738);
        pipe_->InitBuffer(windowQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(half));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        for (uint32_t unit = GetBlockIdx(); unit < 9 * tiles; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kWidth - column);
            Start(count);
            for (uint32_t step = 0; step < 9; ++step) {
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
        const uint32_t i1 = row / 3;
        const uint32_t i2 = row % 3;
        const uint32_t j0 = step / 3;
        const uint32_t j1 = step % 3;
        const uint32_t imageRow = i2 * 2 + j0 - 1;
        const uint32_t imageColumn = column * 2 + j1 - 1;
        WaitForVector();
        LocalTensor<half> window = windowQueue_.AllocTensor<half>();
        for (uint32_t lane = 0; lane < count; ++lane) {
            if (imageRow < 5 && imageColumn + lane * 2 < 163) {
                window.SetValue(lane, in0Gm_.GetValue(((i1) * 5 + imageRow) * 163 + imageColumn + lane * 2));
            } else {
                window.SetValue(lane, static_cast<half>(0.0f));
            }
        }
        WaitForScalar();
        windowQueue_.EnQue(window);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<half> window = windowQueue_.DeQue<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, window, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Add(total, total, work0, count);
        windowQueue_.FreeTensor(window);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i1 = row / 3;
        const uint32_t i2 = row % 3;
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        WaitForVector();
        for (uint32_t lane = 0; lane < count; ++lane) {
            float elements = 0.0f;
            for (uint32_t down = 0; down < 3; ++down) {
                for (uint32_t across = 0; across < 3; ++across) {
                    const uint32_t imageRow = i2 * 2 + down - 1;
                    const uint32_t imageColumn = (column + lane) * 2 + across - 1;
                    if (imageRow < 5 && imageColumn < 163) elements += 1.0f;
                }
            }
            total.SetValue(lane, total.GetValue(lane) / elements);
        }
        WaitForScalar();
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(result, total, RoundMode::CAST_NONE, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<half>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> windowQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void avg_pool2d_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR scratch) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    AvgPool2d1 kernel(&pipe);
    kernel.Init(in0, out0, scratch);
    kernel.Process();
}

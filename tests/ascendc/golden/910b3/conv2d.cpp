// conv2d, relu on 910b3
//
//   in0   f32[1, 3, 17, 63]
//   in1   f32[5, 3, 3, 3]
//   in2   f32[5]
//   out0  f32[1, 5, 17, 63]
//
// Rows of the image under each tap, times the tap, are added up.
// Tiles of up to 64 elements of the result go round the cores.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 63;
constexpr uint32_t kTile = 64;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class Conv2dRelu1 {
public:
    __aicore__ inline Conv2dRelu1(TPipe* pipe)
        : pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), 3213);
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), 135);
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in2), 5);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), 5355);
        pipe_->InitBuffer(windowQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t tiles = CeilDiv(kWidth, kTile);
        for (uint32_t unit = GetBlockIdx(); unit < 85 * tiles; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kWidth - column);
            Start(count);
            for (uint32_t step = 0; step < 27; ++step) {
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
        const uint32_t i1 = row / 17;
        const uint32_t i2 = row % 17;
        const uint32_t j0 = step / (3 * 3);
        const uint32_t j1 = step / 3 % 3;
        const uint32_t j2 = step % 3;
        const uint32_t imageRow = i2 + j1 - 1;
        const uint32_t imageColumn = column + j2 - 1;
        WaitForVector();
        LocalTensor<float> window = windowQueue_.AllocTensor<float>();
        for (uint32_t lane = 0; lane < count; ++lane) {
            if (imageRow < 17 && imageColumn + lane < kWidth) {
                window.SetValue(lane, in0Gm_.GetValue(((j0) * 17 + imageRow) * kWidth + imageColumn + lane));
            } else {
                window.SetValue(lane, static_cast<float>(0.0f));
            }
        }
        WaitForScalar();
        windowQueue_.EnQue(window);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i1 = row / 17;
        const uint32_t i2 = row % 17;
        const uint32_t j0 = step / (3 * 3);
        const uint32_t j1 = step / 3 % 3;
        const uint32_t j2 = step % 3;
        const uint32_t imageRow = i2 + j1 - 1;
        const uint32_t imageColumn = column + j2 - 1;
        const float scalar1 = ToFloat(in1Gm_.GetValue(i1 * 3 * 3 * 3 + j0 * 3 * 3 + j1 * 3 + j2));
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<float> window = windowQueue_.DeQue<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Muls(work0, window, scalar1, count);
        PipeBarrier<PIPE_V>();
        Add(total, total, work0, count);
        windowQueue_.FreeTensor(window);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t step, uint32_t column, uint32_t count) {
        const uint32_t i1 = row / 17;
        const uint32_t i2 = row % 17;
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        const float epilogueScalar0 = ToFloat(in2Gm_.GetValue(i1));
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Adds(work0, total, epilogueScalar0, count);
        PipeBarrier<PIPE_V>();
        Relu(work0, work0, count);
        PipeBarrier<PIPE_V>();
        Adds(result, work0, 0.0f, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * kWidth + column], result, count);
        outQueue_.FreeTensor(result);
    }

    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> in2Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECIN, 1> windowQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
};

}  // namespace

extern "C" __global__ __aicore__ void conv2d_relu_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
    TPipe pipe;
    Conv2dRelu1 kernel(&pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

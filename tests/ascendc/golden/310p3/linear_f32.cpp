// linear on 310p3
//
//   in0   f32[T, 100]
//   in1   f32[63, 100]
//   out0  f32[T, 63]
//
// Rows of x times rows of the weight, in steps of 128; 64 outputs at a time.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kN = 63;
constexpr uint32_t kK = 100;
constexpr uint32_t kDepth = 128;  // elements of a row at a time
constexpr uint32_t kTile = 64;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 2;

class Linear1 {
public:
    __aicore__ inline Linear1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 100));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), 6300);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 63));
        pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(rowQueue_, 2, kDepth * sizeof(float));
        pipe_->InitBuffer(weightQueue_, 2, kDepth * sizeof(float));
        pipe_->InitBuffer(wideRowBuffer_, kDepth * sizeof(float));
        pipe_->InitBuffer(termsBuffer_, kDepth * sizeof(float));
        pipe_->InitBuffer(partBuffer_, 32);
    }

    __aicore__ inline void Process() {
        constexpr uint32_t tiles = CeilDiv(kN, kTile);
        for (uint32_t unit = GetBlockIdx(); unit < T * tiles; unit += GetBlockNum()) {
            const uint32_t row = unit / tiles;
            const uint32_t column = unit % tiles * kTile;
            const uint32_t count = Minimum(kTile, kN - column);
            Start(count);
            for (uint32_t k = 0; k < kK; k += kDepth) Compute(row, column, count, k, Minimum(kDepth, kK - k));
            CopyOut(row, column, count);
        }
    }

private:
    __aicore__ inline void Start(uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(total, 0.0f, count);
    }

    __aicore__ inline void CopyIn(uint32_t output, uint32_t row, uint32_t k, uint32_t depth) {
        LocalTensor<float> weights = weightQueue_.AllocTensor<float>();
        Load(weights, in1Gm_[static_cast<uint64_t>(output) * kK + k], depth);
        weightQueue_.EnQue(weights);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count, uint32_t k, uint32_t depth) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> wideRow = wideRowBuffer_.Get<float>();
        LocalTensor<float> values = rowQueue_.AllocTensor<float>();
        Load(values, in0Gm_[static_cast<uint64_t>(row) * kK + k], depth);
        rowQueue_.EnQue(values);
        values = rowQueue_.DeQue<float>();
        PipeBarrier<PIPE_V>();
        Adds(wideRow, values, 0.0f, depth);
        rowQueue_.FreeTensor(values);
        for (uint32_t i = 0; i < count; ++i) {
            CopyIn(column + i, row, k, depth);
            const float part = Dot(depth);
            total.SetValue(i, total.GetValue(i) + part);
            WaitForScalar();
        }
    }

    // The sum over a part of a row.
    __aicore__ inline float Dot(uint32_t depth) {
        LocalTensor<float> wideRow = wideRowBuffer_.Get<float>();
        LocalTensor<float> terms = termsBuffer_.Get<float>();
        LocalTensor<float> part = partBuffer_.Get<float>();
        LocalTensor<float> weights = weightQueue_.DeQue<float>();
        PipeBarrier<PIPE_V>();
        Adds(terms, weights, 0.0f, depth);
        weightQueue_.FreeTensor(weights);
        PipeBarrier<PIPE_V>();
        Mul(terms, terms, wideRow, depth);
        PipeBarrier<PIPE_V>();
        ReduceSum(part, terms, part, depth);
        WaitForVector();
        return part.GetValue(0);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> total = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> result = outQueue_.AllocTensor<float>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Adds(result, total, 0.0f, count);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<float>();
        Store(out0Gm_[row * kN + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    TQue<TPosition::VECIN, 1> rowQueue_;
    TQue<TPosition::VECIN, 1> weightQueue_;
    TBuf<TPosition::VECCALC> wideRowBuffer_;
    TBuf<TPosition::VECCALC> termsBuffer_;
    TBuf<TPosition::VECCALC> partBuffer_;
};

}  // namespace

extern "C" __global__ __aicore__ void linear_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Linear1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

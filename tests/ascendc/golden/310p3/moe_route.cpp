// moe_route on 310p3
//
//   in0   f32[T, 48]
//   out0  f32[T, 8]
//   out1  i32[T, 8]
//
// Rows go round the cores; the scalar unit chooses.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kWidth = 48;
constexpr uint32_t kTile = 64;  // elements of the last axis at a time
constexpr uint32_t kWorkSlots = 3;

class MoeRoute1 {
public:
    __aicore__ inline MoeRoute1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR out0, GM_ADDR out1, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 48));
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 8));
        out1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(out1), (T * 8));
        pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
        pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        pipe_->InitBuffer(weightsQueue_, 2, CeilDiv(8 * sizeof(float), 32) * 32);
        pipe_->InitBuffer(indicesQueue_, 2, CeilDiv(8 * sizeof(int32_t), 32) * 32);
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < T; row += GetBlockNum()) {
            CopyIn(row, kWidth);
            Compute(kWidth);
            CopyOut(row);
        }
    }

private:
    __aicore__ inline void CopyIn(uint32_t row, uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in0Gm_[row * kWidth], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t count) {
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> weights = weightsQueue_.AllocTensor<float>();
        LocalTensor<int32_t> indices = indicesQueue_.AllocTensor<int32_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        Adds(work0, tile0, 0.0f, count);
        PipeBarrier<PIPE_V>();
        ReduceMax(work1, work0, work1, count);
        PipeBarrier<PIPE_V>();
        ExpOfDifference(work2, work0, work1, count);
        PipeBarrier<PIPE_V>();
        ReduceSum(work1, work2, work1, count);
        tile0Queue_.FreeTensor(tile0);
        LocalTensor<float> values = work0;
        LocalTensor<float> scores = work2;
        LocalTensor<float> total = work1;
        WaitForVector();
        float sum = 0.0f;
        for (uint32_t group = 0; group < 4; ++group) {
            Candidate last{kInfinity, kNowhere};
            for (uint32_t k = 0; k < 2; ++k) {
                Candidate best{-kInfinity, kNowhere};
                for (uint32_t at = group * 12; at < (group + 1) * 12; ++at) {
                    const Candidate candidate{values.GetValue(at), at};
                    if ((last.at == kNowhere || last.Before(candidate)) && candidate.Before(best)) best = candidate;
                }
                last = best;
                const float weight = scores.GetValue(best.at) / total.GetValue(0);
                sum += weight;
                weights.SetValue(group * 2 + k, weight);
                indices.SetValue(group * 2 + k, static_cast<int32_t>(best.at));
            }
        }
        WaitForScalar();
        weightsQueue_.EnQue(weights);
        indicesQueue_.EnQue(indices);
    }

    __aicore__ inline void CopyOut(uint32_t row) {
        LocalTensor<float> weights = weightsQueue_.DeQue<float>();
        Store(out0Gm_[row * 8], weights, 8);
        weightsQueue_.FreeTensor(weights);
        LocalTensor<int32_t> indices = indicesQueue_.DeQue<int32_t>();
        Store(out1Gm_[row * 8], indices, 8);
        indicesQueue_.FreeTensor(indices);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> out0Gm_;
    GlobalTensor<int32_t> out1Gm_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TBuf<TPosition::VECCALC> work_;
    TQue<TPosition::VECOUT, 1> weightsQueue_;
    TQue<TPosition::VECOUT, 1> indicesQueue_;
};

}  // namespace

extern "C" __global__ __aicore__ void moe_route_1(GM_ADDR in0, GM_ADDR out0, GM_ADDR out1, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    MoeRoute1 kernel(T, &pipe);
    kernel.Init(in0, out0, out1, scratch);
    kernel.Process();
}

// attention on 310p3
//
//   in0   f16[1, 4, 72]
//   in1   f16[C, 2, 72]
//   in2   f16[C, 2, 72]
//   in3   i32[]
//   out0  f16[1, 4, 72]
//
// Query rows go round the cores; keys come in tiles of 64.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kKeys = 64;
constexpr uint32_t kPitch = 80;  // elements of a key in the unified buffer
constexpr uint32_t kValuePitch = 80;
constexpr float kScale = 0.119999997f;

class Attention1 {
public:
    __aicore__ inline Attention1(uint32_t C, TPipe* pipe)
        : C(C), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), 288);
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (C * 144));
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in2), (C * 144));
        in3Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(in3), 1);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), 288);
        pipe_->InitBuffer(queryQueue_, 1, kPitch * sizeof(half));
        pipe_->InitBuffer(keysQueue_, 2, kKeys * kPitch * sizeof(half));
        pipe_->InitBuffer(valuesQueue_, 2, kKeys * kValuePitch * sizeof(half));
        pipe_->InitBuffer(outQueue_, 2, kValuePitch * sizeof(half));
        pipe_->InitBuffer(queryBuffer_, kPitch * sizeof(float));
        pipe_->InitBuffer(keysBuffer_, kKeys * kPitch * sizeof(float));
        pipe_->InitBuffer(valuesBuffer_, kKeys * kValuePitch * sizeof(float));
        pipe_->InitBuffer(scoresBuffer_, kKeys * sizeof(float));
        pipe_->InitBuffer(partBuffer_, kKeys * sizeof(float));
        pipe_->InitBuffer(spreadBuffer_, kKeys * 32);
        pipe_->InitBuffer(sumBuffer_, kValuePitch * sizeof(float));
    }

    __aicore__ inline void Process() {
        for (uint32_t row = GetBlockIdx(); row < 4; row += GetBlockNum()) {
            const uint32_t kvHead = row * 2 / 4;
            const int64_t seen = static_cast<int64_t>(in3Gm_.GetValue(0)) + 0 + 1;
            const uint32_t end = seen < 0 ? 0 : seen < C ? static_cast<uint32_t>(seen) : C;
            const uint32_t begin = 0;
            Start(row);
            for (uint32_t key = begin; key < end; key += kKeys) {
                const uint32_t count = Minimum(kKeys, end - key);
                CopyIn(row, key, kvHead, count);
                Compute(count);
            }
            CopyOut(row);
        }
    }

private:
    __aicore__ inline void Start(uint32_t row) {
        LocalTensor<half> query = queryQueue_.AllocTensor<half>();
        Load(query, in0Gm_[row * 72], 72);
        queryQueue_.EnQue(query);
        query = queryQueue_.DeQue<half>();
        PipeBarrier<PIPE_V>();
        Cast(queryBuffer_.Get<float>(), query, RoundMode::CAST_NONE, 72);
        queryQueue_.FreeTensor(query);
        PipeBarrier<PIPE_V>();
        Muls(queryBuffer_.Get<float>(), queryBuffer_.Get<float>(), kScale, 72);
        Duplicate(sumBuffer_.Get<float>(), 0.0f, kValuePitch);
        PipeBarrier<PIPE_V>();
        greatest_ = -kInfinity;
        total_ = 0.0f;
    }

    __aicore__ inline void CopyIn(uint32_t row, uint32_t key, uint32_t kvHead, uint32_t count) {
        LocalTensor<half> keys = keysQueue_.AllocTensor<half>();
        LoadRows(keys, in1Gm_[(key * 2 + kvHead) * 72], count, 72, (2 - 1) * 72);
        keysQueue_.EnQue(keys);
        LocalTensor<half> values = valuesQueue_.AllocTensor<half>();
        LoadRows(values, in2Gm_[(key * 2 + kvHead) * 72], count, 72, (2 - 1) * 72);
        valuesQueue_.EnQue(values);
    }

    __aicore__ inline void Compute(uint32_t count) {
        Score(count);
        const float factor = Weigh(count);
        AddValues(count, factor);
    }

    // scores[j] = query . keys[j]
    __aicore__ inline void Score(uint32_t count) {
        LocalTensor<float> query = queryBuffer_.Get<float>();
        LocalTensor<float> wide = keysBuffer_.Get<float>();
        LocalTensor<float> scores = scoresBuffer_.Get<float>();
        LocalTensor<float> part = partBuffer_.Get<float>();
        LocalTensor<half> keys = keysQueue_.DeQue<half>();
        PipeBarrier<PIPE_V>();
        Cast(wide, keys, RoundMode::CAST_NONE, count * kPitch);
        keysQueue_.FreeTensor(keys);
        // What lies behind the last key must not count.
        Duplicate(scores, -kInfinity, kKeys);
        PipeBarrier<PIPE_V>();
        Mul(wide[0], wide[0], query[0], 64, count, BinaryRepeatParams(1, 1, 1, kPitch / 8, kPitch / 8, 0));
        Mul(wide[64], wide[64], query[64], 8, count, BinaryRepeatParams(1, 1, 1, kPitch / 8, kPitch / 8, 0));
        PipeBarrier<PIPE_V>();
        WholeReduceSum(scores, wide, 64, count, 1, 1, kPitch / 8);
        WholeReduceSum(part, wide[64], 8, count, 1, 1, kPitch / 8);
        PipeBarrier<PIPE_V>();
        Add(scores, scores, part, count);
        PipeBarrier<PIPE_V>();
        PipeBarrier<PIPE_V>();
    }

    // scores become exp(scores - greatest); returns what earlier sums are to be multiplied by.
    __aicore__ inline float Weigh(uint32_t count) {
        LocalTensor<float> scores = scoresBuffer_.Get<float>();
        LocalTensor<float> part = partBuffer_.Get<float>();
        ReduceMax(part, scores, part, count);
        WaitForVector();
        const float own = part.GetValue(0);
        const float greatest = own > greatest_ ? own : greatest_;
        WaitForScalar();
        // All scores so far are minus infinity: there is nothing to weigh.
        const float base = greatest == -kInfinity ? 0.0f : greatest;
        Duplicate(part, greatest_ - base, 8);
        Adds(scores, scores, -base, kKeys);
        PipeBarrier<PIPE_V>();
        Exp(scores, scores, kKeys);
        Exp(part, part, 8);
        WaitForVector();
        const float factor = part.GetValue(0);
        WaitForScalar();
        ReduceSum(part, scores, part, kKeys);
        WaitForVector();
        total_ = total_ * factor + part.GetValue(0);
        WaitForScalar();
        greatest_ = greatest;
        return factor;
    }

    // sum = sum * factor + scores . values
    __aicore__ inline void AddValues(uint32_t count, float factor) {
        LocalTensor<float> scores = scoresBuffer_.Get<float>();
        LocalTensor<float> spread = spreadBuffer_.Get<float>();
        LocalTensor<float> wide = valuesBuffer_.Get<float>();
        LocalTensor<float> sum = sumBuffer_.Get<float>();
        LocalTensor<half> values = valuesQueue_.DeQue<half>();
        PipeBarrier<PIPE_V>();
        Cast(wide, values, RoundMode::CAST_NONE, count * kValuePitch);
        Brcb(spread, scores, CeilDiv(count, 8), BrcbRepeatParams(1, 8));
        Muls(sum, sum, factor, kValuePitch);
        valuesQueue_.FreeTensor(values);
        PipeBarrier<PIPE_V>();
        Mul(wide[0], wide[0], spread, 64, count, BinaryRepeatParams(1, 1, 0, kValuePitch / 8, kValuePitch / 8, 1));
        Mul(wide[64], wide[64], spread, 8, count, BinaryRepeatParams(1, 1, 0, kValuePitch / 8, kValuePitch / 8, 1));
        for (uint32_t left = count; left > 1;) {
            const uint32_t half = CeilDiv(left, 2);
            PipeBarrier<PIPE_V>();
            Add(wide, wide, wide[half * kValuePitch], (left - half) * kValuePitch);
            left = half;
        }
        PipeBarrier<PIPE_V>();
        Add(sum, sum, wide, 72);
        PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void CopyOut(uint32_t row) {
        LocalTensor<float> sum = sumBuffer_.Get<float>();
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        Muls(sum, sum, total_ == 0.0f ? 0.0f : 1.0f / total_, 72);
        PipeBarrier<PIPE_V>();
        Cast(result, sum, RoundMode::CAST_NONE, 72);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<half>();
        Store(out0Gm_[row * 72], result, 72);
        outQueue_.FreeTensor(result);
    }

    const uint32_t C;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> in2Gm_;
    GlobalTensor<int32_t> in3Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::VECIN, 1> queryQueue_;
    TQue<TPosition::VECIN, 1> keysQueue_;
    TQue<TPosition::VECIN, 1> valuesQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> queryBuffer_;
    TBuf<TPosition::VECCALC> keysBuffer_;
    TBuf<TPosition::VECCALC> valuesBuffer_;
    TBuf<TPosition::VECCALC> scoresBuffer_;
    TBuf<TPosition::VECCALC> partBuffer_;
    TBuf<TPosition::VECCALC> spreadBuffer_;
    TBuf<TPosition::VECCALC> sumBuffer_;
    float greatest_;
    float total_;
};

}  // namespace

extern "C" __global__ __aicore__ void attention_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR out0, GM_ADDR scratch, uint32_t C) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AICORE);
    TPipe pipe;
    Attention1 kernel(C, &pipe);
    kernel.Init(in0, in1, in2, in3, out0, scratch);
    kernel.Process();
}

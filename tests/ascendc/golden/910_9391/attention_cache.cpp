// attention on 910_9391
//
//   in0   f16[T, 4, 72]
//   in1   f16[C, 2, 72]
//   in2   f16[C, 2, 72]
//   in3   i32[]
//   out0  f16[T, 4, 72]
//
// Tiles of 96 queries of one head go round the groups of cores, over tiles of 128 keys.
// The cube core multiplies, its two vector cores weigh the scores of half of the queries each.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kQueries = 96;
constexpr uint32_t kKeys = 128;
constexpr uint32_t kWidth = 72;
constexpr uint32_t kValues = 72;
constexpr uint32_t kValuePitch = Align16(kValues);
constexpr uint32_t kHeads = 4;
constexpr uint32_t kKeyHeads = 2;
constexpr uint32_t kRows = kQueries / 2;  // of a vector core
constexpr uint32_t kC0 = 16;  // elements of one row of a fractal
constexpr uint32_t kFractal = 16 * kC0;
constexpr uint32_t kSlots = 2;  // tiles of a kind between a cube core and its vector cores
constexpr float kScale = 0.119999997f;
constexpr float kHidden = -1e30f;  // below all scores, and far from what floats can hold
constexpr uint16_t kScoresReady = 0;  // flags of a tile
constexpr uint16_t kWeightsReady = 1;
constexpr uint16_t kSumsReady = 2;

class Attention1 {
public:
    __aicore__ inline Attention1(uint32_t C, uint32_t T, TPipe* pipe)
        : C(C), T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 288));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), (C * 144));
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in2), (C * 144));
        in3Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(in3), 1);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 288));
        const uint32_t groups = GetBlockNum();
        const uint32_t scores = groups * kSlots * kQueries * kKeys;
        const uint32_t sums = groups * kSlots * kQueries * kValuePitch;
        scoresGm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scratch), scores);
        sumsGm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scratch) + scores, sums);
        weightsGm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(reinterpret_cast<__gm__ float*>(scratch) + scores + sums), scores);
        if ASCEND_IS_AIC {
            pipe_->InitBuffer(queryQueue_, 1, kQueries * Align16(kWidth) * sizeof(half));
            pipe_->InitBuffer(keysQueue_, 2, kKeys * Align16(kWidth) * sizeof(half));
            pipe_->InitBuffer(valuesQueue_, 2, kKeys * kValuePitch * sizeof(half));
            pipe_->InitBuffer(weightsQueue_, 2, kQueries * kKeys * sizeof(half));
            pipe_->InitBuffer(leftQueue_, 2, kQueries * 128 * sizeof(half));
            pipe_->InitBuffer(rightQueue_, 2, kKeys * 80 * sizeof(half));
            pipe_->InitBuffer(productQueue_, 2, kQueries * 128 * sizeof(float));
        }
        if ASCEND_IS_AIV {
            pipe_->InitBuffer(scoresQueue_, 2, kRows * kKeys * sizeof(float));
            pipe_->InitBuffer(outQueue_, 1, kRows * 128 * sizeof(half));
            pipe_->InitBuffer(sumsQueue_, 1, kRows * kValuePitch * sizeof(float));
            pipe_->InitBuffer(totalBuffer_, kRows * kValuePitch * sizeof(float));
            pipe_->InitBuffer(spreadBuffer_, kRows * 32);
            pipe_->InitBuffer(numbersBuffer_, 6 * kRows * sizeof(float));
            pipe_->InitBuffer(maskBuffer_, kRows * 64 * sizeof(float));
            pipe_->InitBuffer(columnsBuffer_, kKeys * sizeof(float));
            CreateVecIndex(columnsBuffer_.Get<float>(), 0.0f, kKeys);
        }
    }

    __aicore__ inline void Process() {
        if ASCEND_IS_AIC { ProcessCube(); }
        if ASCEND_IS_AIV { ProcessVector(); }
    }

private:
    __aicore__ inline void ProcessCube() {
        tiles_ = 0;  // of keys, of all units
        const uint32_t queryTiles = CeilDiv(T, kQueries);
        for (uint32_t unit = GetBlockIdx(); unit < 4 * queryTiles; unit += GetBlockNum()) {
            const uint32_t head = unit / queryTiles % kHeads;
            const uint32_t batch = unit / queryTiles / kHeads;
            const uint32_t token = unit % queryTiles * kQueries;
            const uint32_t m = Minimum(kQueries, T - token);
            const int64_t seen = static_cast<int64_t>(in3Gm_.GetValue(0)) + token + 1;  // keys of the first query
            const uint32_t end = seen + m - 1 < 0 ? 0 : seen + m - 1 < C ? static_cast<uint32_t>(seen + m - 1) : C;
            const uint32_t begin = 0;
            const uint32_t keyHead = head * kKeyHeads / kHeads;
            LocalTensor<half> query = CopyQueries(batch, head, token, m);
            if (begin < end) Score(query, batch, keyHead, m, begin, Minimum(kKeys, end - begin), tiles_ % kSlots);
            for (uint32_t key = begin; key < end; key += kKeys) {
                const uint32_t next = key + kKeys;
                if (next < end) Score(query, batch, keyHead, m, next, Minimum(kKeys, end - next), (tiles_ + 1) % kSlots);
                MultiplyValues(batch, keyHead, m, key, Minimum(kKeys, end - key), tiles_ % kSlots);
                ++tiles_;
            }
            queryQueue_.FreeTensor(query);
        }
    }

    __aicore__ inline LocalTensor<half> CopyQueries(uint32_t batch, uint32_t head, uint32_t token, uint32_t m) {
        LocalTensor<half> query = queryQueue_.AllocTensor<half>();
        const uint64_t row = (static_cast<uint64_t>(batch) * T + token) * kHeads + head;
        CopyLeft(query, in0Gm_[row * kWidth], m, kWidth, kHeads * kWidth);
        queryQueue_.EnQue(query);
        return queryQueue_.DeQue<half>();
    }

    // Rows of a left factor, as fractals.
    __aicore__ inline void CopyLeft(const LocalTensor<half>& to, const GlobalTensor<half>& from, uint32_t m, uint32_t depth, uint32_t pitch) {
        const uint16_t rows = Align16(m);
        DataCopy(to, from, Nd2NzParams(1, m, depth, 0, pitch, rows, 1, 0));
        // A product of one row would read plain rows: the row is there twice.
        if (m == 1) DataCopy(to[kC0], from, Nd2NzParams(1, 1, depth, 0, pitch, rows, 1, 0));
    }

    __aicore__ inline void LoadLeft(const LocalTensor<half>& from, uint32_t m, uint32_t depth) {
        LocalTensor<half> left = leftQueue_.AllocTensor<half>();
        const uint32_t rows = Align16(m) / 16;
        const uint32_t fractals = CeilDiv(depth, kC0);
        for (uint32_t i = 0; i < rows; ++i) {
            LoadData2DParams load;
            load.startIndex = i;
            load.repeatTimes = fractals;
            load.srcStride = rows;
            LoadData(left[i * fractals * kFractal], from, load);
        }
        leftQueue_.EnQue(left);
    }

    // scores = query . keys
    __aicore__ inline void Score(const LocalTensor<half>& query, uint32_t batch, uint32_t keyHead, uint32_t m, uint32_t key, uint32_t count, uint32_t slot) {
        LocalTensor<half> keys = keysQueue_.AllocTensor<half>();
        const uint64_t row = (static_cast<uint64_t>(batch) * C + key) * kKeyHeads + keyHead;
        DataCopy(keys, in1Gm_[row * kWidth], Nd2NzParams(1, count, kWidth, 0, kKeyHeads * kWidth, Align16(count), 1, 0));
        keysQueue_.EnQue(keys);
        keys = keysQueue_.DeQue<half>();
        LocalTensor<half> right = rightQueue_.AllocTensor<half>();
        LoadData2DParams load;
        load.repeatTimes = CeilDiv(kWidth, kC0) * (Align16(count) / 16);
        load.srcStride = 1;
        LoadData(right, keys, load);
        rightQueue_.EnQue(right);
        keysQueue_.FreeTensor(keys);
        LoadLeft(query, m, kWidth);
        Multiply(m, count, kWidth);
        CopyOut(scoresGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kKeys], m, Align16(count));
        CrossCoreSetFlag<2, PIPE_FIX>(kScoresReady);
    }

    // sums = weights . values
    __aicore__ inline void MultiplyValues(uint32_t batch, uint32_t keyHead, uint32_t m, uint32_t key, uint32_t count, uint32_t slot) {
        LocalTensor<half> values = valuesQueue_.AllocTensor<half>();
        const uint64_t row = (static_cast<uint64_t>(batch) * C + key) * kKeyHeads + keyHead;
        DataCopy(values, in2Gm_[row * kValues], Nd2NzParams(1, count, kValues, 0, kKeyHeads * kValues, Align16(count), 1, 0));
        valuesQueue_.EnQue(values);
        values = valuesQueue_.DeQue<half>();
        LoadRight(values, count, kValues);
        valuesQueue_.FreeTensor(values);
        CrossCoreWaitFlag<2, PIPE_MTE2>(kWeightsReady);
        LocalTensor<half> weights = weightsQueue_.AllocTensor<half>();
        CopyLeft(weights, weightsGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kKeys], m, count, Align16(count));
        weightsQueue_.EnQue(weights);
        weights = weightsQueue_.DeQue<half>();
        LoadLeft(weights, m, count);
        weightsQueue_.FreeTensor(weights);
        Multiply(m, kValuePitch, count);
        CopyOut(sumsGm_[(GetBlockIdx() * kSlots + slot) * kQueries * kValuePitch], m, kValuePitch);
        CrossCoreSetFlag<2, PIPE_FIX>(kSumsReady);
    }

    // Rows of the inner axis of the product: their fractals are transposed.
    __aicore__ inline void LoadRight(const LocalTensor<half>& from, uint32_t depth, uint32_t n) {
        LocalTensor<half> right = rightQueue_.AllocTensor<half>();
        const uint32_t steps = Align16(depth) / 16;
        const uint32_t columns = Align16(n) / 16;
        for (uint32_t i = 0; i < steps; ++i) {
            LoadData2DParams load;
            load.startIndex = i;
            load.repeatTimes = columns;
            load.srcStride = steps;
            load.ifTranspose = true;
            LoadData(right[i * columns * kFractal], from, load);
        }
        rightQueue_.EnQue(right);
    }

    __aicore__ inline void Multiply(uint32_t m, uint32_t n, uint32_t depth) {
        LocalTensor<float> sums = productQueue_.AllocTensor<float>();
        LocalTensor<half> left = leftQueue_.DeQue<half>();
        LocalTensor<half> right = rightQueue_.DeQue<half>();
        MmadParams params;
        params.m = m == 1 ? 2 : m;
        params.n = n;
        params.k = depth;
        params.cmatrixInitVal = true;
        Mmad(sums, left, right, params);
        leftQueue_.FreeTensor(left);
        rightQueue_.FreeTensor(right);
        productQueue_.EnQue(sums);
    }

    __aicore__ inline void CopyOut(const GlobalTensor<float>& to, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = productQueue_.DeQue<float>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = Align16(m);
        out.dstStride = n;
        out.quantPre = NoQuant;
        Fixpipe<float, float, CFG_ROW_MAJOR>(to, sums, out);
        productQueue_.FreeTensor(sums);
    }

    __aicore__ inline void ProcessVector() {
        tiles_ = 0;  // of keys, of all units
        const uint32_t queryTiles = CeilDiv(T, kQueries);
        for (uint32_t unit = GetBlockIdx() / 2; unit < 4 * queryTiles; unit += GetBlockNum()) {
            const uint32_t head = unit / queryTiles % kHeads;
            const uint32_t batch = unit / queryTiles / kHeads;
            const uint32_t token = unit % queryTiles * kQueries;
            const uint32_t m = Minimum(kQueries, T - token);
            const int64_t seen = static_cast<int64_t>(in3Gm_.GetValue(0)) + token + 1;  // keys of the first query
            const uint32_t end = seen + m - 1 < 0 ? 0 : seen + m - 1 < C ? static_cast<uint32_t>(seen + m - 1) : C;
            const uint32_t begin = 0;
            const uint32_t share = CeilDiv(m, 2);
            const uint32_t first = GetSubBlockIdx() * share;
            const uint32_t rows = first < m ? Minimum(share, m - first) : 0;
            Start();
            for (uint32_t key = begin; key < end; key += kKeys) {
                const uint32_t count = Minimum(kKeys, end - key);
                Weigh(first, rows, count, tiles_ % kSlots, seen + first - 1 - key);
                if (key > begin) AddSums(first, rows, (tiles_ + 1) % kSlots);
                ++tiles_;
            }
            if (begin < end) AddSums(first, rows, (tiles_ + 1) % kSlots);
            if (rows > 0) CopyRows((static_cast<uint64_t>(batch) * T + token + first) * kHeads + head, rows);
        }
    }

    __aicore__ inline void Start() {
        LocalTensor<float> greatest = numbersBuffer_.GetWithOffset<float>(kRows, 0 * kRows * sizeof(float));
        LocalTensor<float> weight = numbersBuffer_.GetWithOffset<float>(kRows, 1 * kRows * sizeof(float));
        PipeBarrier<PIPE_V>();
        Duplicate(greatest, kHidden, kRows);
        Duplicate(weight, 0.0f, kRows);
        Duplicate(totalBuffer_.Get<float>(), 0.0f, kRows * kValuePitch);
        PipeBarrier<PIPE_V>();
    }

    // Scores become weights; the first row sees columns up to `limit`, each further row one more.
    __aicore__ inline void Weigh(uint32_t first, uint32_t rows, uint32_t count, uint32_t slot, int64_t limit) {
        CrossCoreWaitFlag<2, PIPE_MTE2>(kScoresReady);
        if (rows > 0) {
            const uint32_t pitch = Align16(count);
            const uint32_t at = (GetBlockIdx() / 2 * kSlots + slot) * kQueries * kKeys + first * pitch;
            LocalTensor<float> scores = scoresQueue_.AllocTensor<float>();
            Load(scores, scoresGm_[at], rows * pitch);
            scoresQueue_.EnQue(scores);
            scores = scoresQueue_.DeQue<float>();
            Muls(scores, scores, kScale, rows * pitch);
            PipeBarrier<PIPE_V>();
            if (limit + 1 < count) Hide(scores, rows, count, limit);
            Soften(scores, rows, count, slot);
            LocalTensor<half> weights = outQueue_.AllocTensor<half>();
            Cast(weights, scores, RoundMode::CAST_RINT, rows * pitch);
            scoresQueue_.FreeTensor(scores);
            outQueue_.EnQue(weights);
            weights = outQueue_.DeQue<half>();
            Store(weightsGm_[at], weights, rows * pitch);
            outQueue_.FreeTensor(weights);
        }
        CrossCoreSetFlag<2, PIPE_MTE3>(kWeightsReady);
    }

    __aicore__ inline void Hide(const LocalTensor<float>& scores, uint32_t rows, uint32_t count, int64_t limit) {
        LocalTensor<float> latest = numbersBuffer_.GetWithOffset<float>(kRows, 5 * kRows * sizeof(float));
        LocalTensor<float> spread = spreadBuffer_.Get<float>();
        LocalTensor<float> mask = maskBuffer_.Get<float>();
        LocalTensor<float> columns = columnsBuffer_.Get<float>();
        const uint32_t step = Align16(count) / 8;
        CreateVecIndex(latest, static_cast<float>(limit), rows);
        PipeBarrier<PIPE_V>();
        Brcb(spread, latest, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));
        PipeBarrier<PIPE_V>();
        for (uint32_t column = 0; column < count; column += 64) {
            const uint32_t lanes = Minimum(64, count - column);
            Sub(mask, spread, columns[column], lanes, rows, BinaryRepeatParams(1, 0, 1, 8, 1, 0));
            PipeBarrier<PIPE_V>();
            Mins(mask, mask, 0.0f, lanes, rows, UnaryRepeatParams(1, 1, 8, 8));
            PipeBarrier<PIPE_V>();
            Muls(mask, mask, -kHidden, lanes, rows, UnaryRepeatParams(1, 1, 8, 8));
            PipeBarrier<PIPE_V>();
            Add(scores[column], scores[column], mask, lanes, rows, BinaryRepeatParams(1, 1, 1, step, step, 8));
            PipeBarrier<PIPE_V>();
        }
    }

    // exp(scores - greatest), with the greatest score and the sum of each row so far; what earlier sums are multiplied by.
    __aicore__ inline void Soften(const LocalTensor<float>& scores, uint32_t rows, uint32_t count, uint32_t slot) {
        LocalTensor<float> greatest = numbersBuffer_.GetWithOffset<float>(kRows, 0 * kRows * sizeof(float));
        LocalTensor<float> weight = numbersBuffer_.GetWithOffset<float>(kRows, 1 * kRows * sizeof(float));
        LocalTensor<float> part = numbersBuffer_.GetWithOffset<float>(kRows, 4 * kRows * sizeof(float));
        LocalTensor<float> latest = numbersBuffer_.GetWithOffset<float>(kRows, 5 * kRows * sizeof(float));
        LocalTensor<float> factors = numbersBuffer_.GetWithOffset<float>(kRows, (2 + slot) * kRows * sizeof(float));
        LocalTensor<float> spread = spreadBuffer_.Get<float>();
        const uint32_t step = Align16(count) / 8;
        for (uint32_t column = 0; column < count; column += 64) {
            WholeReduceMax(part, scores[column], Minimum(64, count - column), rows, 1, 1, step, ReduceOrder::ORDER_ONLY_VALUE);
            PipeBarrier<PIPE_V>();
            if (column == 0) Max(latest, greatest, part, rows);
            if (column > 0) Max(latest, latest, part, rows);
            PipeBarrier<PIPE_V>();
        }
        Sub(factors, greatest, latest, rows);
        Brcb(spread, latest, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));
        PipeBarrier<PIPE_V>();
        Exp(factors, factors, rows);
        Adds(greatest, latest, 0.0f, rows);
        for (uint32_t column = 0; column < count; column += 64)
            Sub(scores[column], scores[column], spread, Minimum(64, count - column), rows, BinaryRepeatParams(1, 1, 0, step, step, 1));
        PipeBarrier<PIPE_V>();
        Mul(weight, weight, factors, rows);
        Exp(scores, scores, rows * Align16(count));
        PipeBarrier<PIPE_V>();
        for (uint32_t column = 0; column < count; column += 64) {
            WholeReduceSum(part, scores[column], Minimum(64, count - column), rows, 1, 1, step);
            PipeBarrier<PIPE_V>();
            Add(weight, weight, part, rows);
            PipeBarrier<PIPE_V>();
        }
    }

    // total = total * factor + sums
    __aicore__ inline void AddSums(uint32_t first, uint32_t rows, uint32_t slot) {
        CrossCoreWaitFlag<2, PIPE_MTE2>(kSumsReady);
        if (rows > 0) {
            LocalTensor<float> total = totalBuffer_.Get<float>();
            LocalTensor<float> factors = numbersBuffer_.GetWithOffset<float>(kRows, (2 + slot) * kRows * sizeof(float));
            const uint32_t at = ((GetBlockIdx() / 2 * kSlots + slot) * kQueries + first) * kValuePitch;
            LocalTensor<float> sums = sumsQueue_.AllocTensor<float>();
            Load(sums, sumsGm_[at], rows * kValuePitch);
            sumsQueue_.EnQue(sums);
            ScaleRows(total, factors, rows);
            sums = sumsQueue_.DeQue<float>();
            Add(total, total, sums, rows * kValuePitch);
            sumsQueue_.FreeTensor(sums);
        }
    }

    __aicore__ inline void ScaleRows(const LocalTensor<float>& total, const LocalTensor<float>& factors, uint32_t rows) {
        LocalTensor<float> spread = spreadBuffer_.Get<float>();
        Brcb(spread, factors, CeilDiv(rows, 8), BrcbRepeatParams(1, 8));
        PipeBarrier<PIPE_V>();
        for (uint32_t column = 0; column < kValuePitch; column += 64)
            Mul(total[column], total[column], spread, Minimum(64, kValuePitch - column), rows, BinaryRepeatParams(1, 1, 0, kValuePitch / 8, kValuePitch / 8, 1));
        PipeBarrier<PIPE_V>();
    }

    __aicore__ inline void CopyRows(uint64_t row, uint32_t rows) {
        LocalTensor<float> greatest = numbersBuffer_.GetWithOffset<float>(kRows, 0 * kRows * sizeof(float));
        LocalTensor<float> weight = numbersBuffer_.GetWithOffset<float>(kRows, 1 * kRows * sizeof(float));
        LocalTensor<float> part = numbersBuffer_.GetWithOffset<float>(kRows, 4 * kRows * sizeof(float));
        LocalTensor<float> total = totalBuffer_.Get<float>();
        // A row that sees no keys has no weights: what was added up for hidden ones is dropped.
        Adds(part, greatest, -0.5f * kHidden, rows);
        PipeBarrier<PIPE_V>();
        Maxs(part, part, 0.0f, rows);
        Maxs(weight, weight, 1e-30f, rows);
        PipeBarrier<PIPE_V>();
        Mins(part, part, 1.0f, rows);
        PipeBarrier<PIPE_V>();
        Div(part, part, weight, rows);
        PipeBarrier<PIPE_V>();
        ScaleRows(total, part, rows);
        LocalTensor<half> result = outQueue_.AllocTensor<half>();
        Cast(result, total, RoundMode::CAST_RINT, rows * kValuePitch);
        outQueue_.EnQue(result);
        result = outQueue_.DeQue<half>();
        StoreRows(out0Gm_[row * kValues], result, rows, kValues, (kHeads - 1) * kValues);
        outQueue_.FreeTensor(result);
    }

    const uint32_t C;
    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> in2Gm_;
    GlobalTensor<int32_t> in3Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::A1, 1> queryQueue_;
    TQue<TPosition::B1, 1> keysQueue_;
    TQue<TPosition::B1, 1> valuesQueue_;
    TQue<TPosition::A1, 1> weightsQueue_;
    TQue<TPosition::A2, 1> leftQueue_;
    TQue<TPosition::B2, 1> rightQueue_;
    TQue<TPosition::CO1, 1> productQueue_;
    TQue<TPosition::VECIN, 1> scoresQueue_;
    TQue<TPosition::VECIN, 1> sumsQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> totalBuffer_;
    TBuf<TPosition::VECCALC> spreadBuffer_;
    TBuf<TPosition::VECCALC> numbersBuffer_;
    TBuf<TPosition::VECCALC> maskBuffer_;
    TBuf<TPosition::VECCALC> columnsBuffer_;
    GlobalTensor<float> scoresGm_;
    GlobalTensor<float> sumsGm_;
    GlobalTensor<half> weightsGm_;
    uint32_t tiles_;
};

}  // namespace

extern "C" __global__ __aicore__ void attention_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR out0, GM_ADDR scratch, uint32_t C, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    TPipe pipe;
    Attention1 kernel(C, T, &pipe);
    kernel.Init(in0, in1, in2, in3, out0, scratch);
    kernel.Process();
}

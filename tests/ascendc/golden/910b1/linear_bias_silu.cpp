// linear, silu on 910b1
//
//   in0   bf16[T, 300]
//   in1   bf16[203, 300]
//   in2   bf16[203]
//   out0  bf16[T, 203]
//
// Tiles of 128 x 48, K in steps of 256 through L1 and 64 through L0.
// Two vector cores finish the tiles of each cube core.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kN = 203;
constexpr uint32_t kK = 300;
constexpr uint32_t kTileM = 128;
constexpr uint32_t kTileN = 48;
constexpr uint32_t kTileK = 256;  // in L1
constexpr uint32_t kStepK = 64;  // in L0
constexpr uint32_t kC0 = 16;  // elements of one row of a fractal
// Columns of a row of the tile, and room for comparisons behind them.
constexpr uint32_t kTile = WholeRepeats(kTileN);
constexpr uint32_t kWorkSlots = 3;
constexpr uint32_t kRing = 4;  // tiles between a cube core and its vector cores
constexpr uint16_t kReady = 0;  // flags of a slot of the ring
constexpr uint16_t kDone = 1;

class LinearSilu1 {
public:
    __aicore__ inline LinearSilu1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(in0), (T * 300));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(in1), 60900);
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(in2), 203);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ bfloat16_t*>(out0), (T * 203));
        productGm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scratch), kRing * kTileM * kTileN * GetBlockNum());
        if ASCEND_IS_AIC {
            pipe_->InitBuffer(leftQueue_, 2, kTileM * kTileK * sizeof(bfloat16_t));
            pipe_->InitBuffer(rightQueue_, 2, kTileN * kTileK * sizeof(bfloat16_t));
            pipe_->InitBuffer(leftStepQueue_, 2, kTileM * kStepK * sizeof(bfloat16_t));
            pipe_->InitBuffer(rightStepQueue_, 2, kTileN * kStepK * sizeof(bfloat16_t));
            pipe_->InitBuffer(sumQueue_, 1, kTileM * kTileN * sizeof(float));
        }
        if ASCEND_IS_AIV {
            pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(bfloat16_t));
            pipe_->InitBuffer(productQueue_, 2, kTile * sizeof(float));
            pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(bfloat16_t));
            pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
        }
    }

    __aicore__ inline void Process() {
        if ASCEND_IS_AIC { ProcessCube(); }
        if ASCEND_IS_AIV { ProcessVector(); }
    }

private:
    __aicore__ inline void ProcessCube() {
        constexpr uint32_t columnTiles = CeilDiv(kN, kTileN);
        const uint32_t rowTiles = CeilDiv(T, kTileM);
        uint32_t tiles = 0;
        for (uint32_t tile = GetBlockIdx(); tile < rowTiles * columnTiles; tile += GetBlockNum()) {
            const uint32_t row = tile % rowTiles * kTileM;
            const uint32_t column = tile / rowTiles * kTileN;
            const uint32_t m = Minimum(kTileM, T - row);
            const uint32_t n = Minimum(kTileN, kN - column);
            if (tiles >= kRing) CrossCoreWaitFlag<2, PIPE_FIX>(kDone);
            Multiply(row, column, m, n);
            CopyToRing(tiles % kRing, m, n);
            CrossCoreSetFlag<2, PIPE_FIX>(kReady);
            ++tiles;
        }
        for (uint32_t i = 0; i < Minimum(tiles, kRing); ++i) CrossCoreWaitFlag<2, PIPE_FIX>(kDone);
    }

    __aicore__ inline void ProcessVector() {
        constexpr uint32_t columnTiles = CeilDiv(kN, kTileN);
        const uint32_t rowTiles = CeilDiv(T, kTileM);
        uint32_t tiles = 0;
        for (uint32_t tile = GetBlockIdx() / 2; tile < rowTiles * columnTiles; tile += GetBlockNum()) {
            const uint32_t row = tile % rowTiles * kTileM;
            const uint32_t column = tile / rowTiles * kTileN;
            const uint32_t m = Minimum(kTileM, T - row);
            const uint32_t n = Minimum(kTileN, kN - column);
            CrossCoreWaitFlag<2>(kReady);
            const uint32_t half = CeilDiv(m, 2);
            const uint32_t first = GetSubBlockIdx() * half;
            for (uint32_t i = first; i < Minimum(first + half, m); ++i) {
                const uint32_t slot = (GetBlockIdx() / 2 * kRing + tiles % kRing) * kTileM * kTileN;
                CopyIn(row + i, column, n, slot + i * kTileN);
                Compute(row + i, column, n);
                CopyOut(row + i, column, n);
            }
            CrossCoreSetFlag<2, PIPE_MTE2>(kDone);
            ++tiles;
        }
    }

    __aicore__ inline void Multiply(uint32_t row, uint32_t column, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.AllocTensor<float>();
        for (uint32_t k = 0; k < kK; k += kTileK) {
            const uint32_t depth = Minimum(kTileK, kK - k);
            CopyLeft(in0Gm_[static_cast<uint64_t>(row) * kK + k], m, depth);
            CopyRight(in1Gm_[static_cast<uint64_t>(column) * kK + k], n, depth);
            LocalTensor<bfloat16_t> left = leftQueue_.DeQue<bfloat16_t>();
            LocalTensor<bfloat16_t> right = rightQueue_.DeQue<bfloat16_t>();
            for (uint32_t step = 0; step < depth; step += kStepK) {
                MultiplyStep(sums, left, right, m, n, step, Minimum(kStepK, depth - step), k + step == 0);
            }
            leftQueue_.FreeTensor(left);
            rightQueue_.FreeTensor(right);
        }
        sumQueue_.EnQue(sums);
    }

    __aicore__ inline void CopyLeft(const GlobalTensor<bfloat16_t>& from, uint32_t m, uint32_t depth) {
        LocalTensor<bfloat16_t> left = leftQueue_.AllocTensor<bfloat16_t>();
        const uint16_t rows = Align16(m);
        DataCopy(left, from, Nd2NzParams(1, m, depth, 0, kK, rows, 1, 0));
        // A product of one row would read plain rows: the row is there twice.
        if (m == 1) DataCopy(left[kC0], from, Nd2NzParams(1, 1, depth, 0, kK, rows, 1, 0));
        leftQueue_.EnQue(left);
    }

    __aicore__ inline void CopyRight(const GlobalTensor<bfloat16_t>& from, uint32_t n, uint32_t depth) {
        LocalTensor<bfloat16_t> right = rightQueue_.AllocTensor<bfloat16_t>();
        DataCopy(right, from, Nd2NzParams(1, n, depth, 0, kK, Align16(n), 1, 0));
        rightQueue_.EnQue(right);
    }

    __aicore__ inline void MultiplyStep(const LocalTensor<float>& sums, const LocalTensor<bfloat16_t>& left, const LocalTensor<bfloat16_t>& right, uint32_t m, uint32_t n, uint32_t step, uint32_t depth, bool isFirst) {
        const uint32_t rows = Align16(m) / 16;
        const uint32_t columns = Align16(n) / 16;
        const uint32_t fractals = CeilDiv(depth, kC0);
        const uint32_t fractal = 16 * kC0;
        LocalTensor<bfloat16_t> a = leftStepQueue_.AllocTensor<bfloat16_t>();
        LocalTensor<bfloat16_t> b = rightStepQueue_.AllocTensor<bfloat16_t>();
        for (uint32_t i = 0; i < rows; ++i) {
            LoadData2DParams load;
            load.startIndex = step / kC0 * rows + i;
            load.repeatTimes = fractals;
            load.srcStride = rows;
            LoadData(a[i * fractals * fractal], left, load);
        }
        LoadData2DParams load;
        load.startIndex = step / kC0 * columns;
        load.repeatTimes = fractals * columns;
        load.srcStride = 1;
        LoadData(b, right, load);
        leftStepQueue_.EnQue(a);
        rightStepQueue_.EnQue(b);
        a = leftStepQueue_.DeQue<bfloat16_t>();
        b = rightStepQueue_.DeQue<bfloat16_t>();
        MmadParams product;
        product.m = m == 1 ? 2 : m;
        product.n = n;
        product.k = depth;
        product.cmatrixInitVal = isFirst;
        // Larger products follow each other in order by themselves.
        if (rows * columns < 10) PipeBarrier<PIPE_M>();
        Mmad(sums, a, b, product);
        leftStepQueue_.FreeTensor(a);
        rightStepQueue_.FreeTensor(b);
    }

    __aicore__ inline void CopyToRing(uint32_t slot, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.DeQue<float>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = Align16(m);
        out.dstStride = kTileN;
        out.quantPre = NoQuant;
        Fixpipe<float, float, CFG_ROW_MAJOR>(productGm_[(GetBlockIdx() * kRing + slot) * kTileM * kTileN], sums, out);
        sumQueue_.FreeTensor(sums);
    }

    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count, uint32_t slot) {
        LocalTensor<float> product = productQueue_.AllocTensor<float>();
        Load(product, productGm_[slot], count);
        productQueue_.EnQue(product);
        LocalTensor<bfloat16_t> tile0 = tile0Queue_.AllocTensor<bfloat16_t>();
        Load(tile0, in2Gm_[column], count);
        tile0Queue_.EnQue(tile0);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<float> product = productQueue_.DeQue<float>();
        LocalTensor<bfloat16_t> tile0 = tile0Queue_.DeQue<bfloat16_t>();
        LocalTensor<bfloat16_t> result = outQueue_.AllocTensor<bfloat16_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        PipeBarrier<PIPE_V>();
        Cast(work0, tile0, RoundMode::CAST_NONE, count);
        PipeBarrier<PIPE_V>();
        Add(work1, product, work0, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work1, -1.0f, count);
        PipeBarrier<PIPE_V>();
        Exp(work0, work0, count);
        PipeBarrier<PIPE_V>();
        Adds(work0, work0, 1.0f, count);
        Duplicate(work2, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Div(work2, work2, work0, count);
        PipeBarrier<PIPE_V>();
        Mul(work0, work2, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work0, RoundMode::CAST_RINT, count);
        productQueue_.FreeTensor(product);
        tile0Queue_.FreeTensor(tile0);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<bfloat16_t> result = outQueue_.DeQue<bfloat16_t>();
        Store(out0Gm_[static_cast<uint64_t>(row) * kN + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<bfloat16_t> in0Gm_;
    GlobalTensor<bfloat16_t> in1Gm_;
    GlobalTensor<bfloat16_t> in2Gm_;
    GlobalTensor<bfloat16_t> out0Gm_;
    TQue<TPosition::A1, 1> leftQueue_;
    TQue<TPosition::B1, 1> rightQueue_;
    TQue<TPosition::A2, 1> leftStepQueue_;
    TQue<TPosition::B2, 1> rightStepQueue_;
    TQue<TPosition::CO1, 1> sumQueue_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> productQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    GlobalTensor<float> productGm_;
};

}  // namespace

extern "C" __global__ __aicore__ void linear_silu_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    TPipe pipe;
    LinearSilu1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, out0, scratch);
    kernel.Process();
}

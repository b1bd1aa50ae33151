// quantized_linear, silu, mul, quantize on 910_9391
//
//   in0   i8[T, 300]
//   in1   i8[203, 300]
//   in2   f32[]
//   in3   f32[203]
//   in4   f32[203]
//   in5   f32[T, 203]
//   in6   f32[]
//   out0  i8[T, 203]
//
// Tiles of 128 x 48, K in steps of 256 through L1 and 128 through L0.
// Two vector cores finish the tiles of each cube core.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kN = 203;
constexpr uint32_t kK = 300;
constexpr uint32_t kTileM = 128;
constexpr uint32_t kTileN = 48;
constexpr uint32_t kTileK = 256;  // in L1
constexpr uint32_t kStepK = 128;  // in L0
constexpr uint32_t kC0 = 32;  // elements of one row of a fractal
// Columns of a row of the tile, and room for comparisons behind them.
constexpr uint32_t kTile = WholeRepeats(kTileN);
constexpr uint32_t kWorkSlots = 3;
constexpr uint32_t kMaskSlots = 1;
constexpr uint32_t kMaskBytes = CeilDiv(kTile / 8, 32) * 32;  // a bit for each element
constexpr uint32_t kRing = 4;  // tiles between a cube core and its vector cores
constexpr uint16_t kReady = 0;  // flags of a slot of the ring
constexpr uint16_t kDone = 1;

class QuantizedLinearSiluMulQuantize1 {
public:
    __aicore__ inline QuantizedLinearSiluMulQuantize1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR in4, GM_ADDR in5, GM_ADDR in6, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(in0), (T * 300));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(in1), 60900);
        in2Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in2), 1);
        in3Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in3), 203);
        in4Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in4), 203);
        in5Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in5), (T * 203));
        in6Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in6), 1);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ int8_t*>(out0), (T * 203));
        productGm_.SetGlobalBuffer(reinterpret_cast<__gm__ int32_t*>(scratch), kRing * kTileM * kTileN * GetBlockNum());
        if ASCEND_IS_AIC {
            pipe_->InitBuffer(leftQueue_, 2, kTileM * kTileK * sizeof(int8_t));
            pipe_->InitBuffer(rightQueue_, 2, kTileN * kTileK * sizeof(int8_t));
            pipe_->InitBuffer(leftStepQueue_, 2, kTileM * kStepK * sizeof(int8_t));
            pipe_->InitBuffer(rightStepQueue_, 2, kTileN * kStepK * sizeof(int8_t));
            pipe_->InitBuffer(sumQueue_, 1, kTileM * kTileN * sizeof(int32_t));
        }
        if ASCEND_IS_AIV {
            pipe_->InitBuffer(tile0Queue_, 2, kTile * sizeof(float));
            pipe_->InitBuffer(tile2Queue_, 2, kTile * sizeof(float));
            pipe_->InitBuffer(tile3Queue_, 2, kTile * sizeof(float));
            pipe_->InitBuffer(productQueue_, 2, kTile * sizeof(int32_t));
            pipe_->InitBuffer(outQueue_, 2, kTile * sizeof(int8_t));
            pipe_->InitBuffer(work_, kWorkSlots * kTile * sizeof(float));
            pipe_->InitBuffer(masks_, kMaskSlots * kMaskBytes);
            Duplicate(work_.Get<float>(), 0.0f, kWorkSlots * kTile);
            PipeBarrier<PIPE_V>();
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
        LocalTensor<int32_t> sums = sumQueue_.AllocTensor<int32_t>();
        for (uint32_t k = 0; k < kK; k += kTileK) {
            const uint32_t depth = Minimum(kTileK, kK - k);
            CopyLeft(in0Gm_[static_cast<uint64_t>(row) * kK + k], m, depth);
            CopyRight(in1Gm_[static_cast<uint64_t>(column) * kK + k], n, depth);
            LocalTensor<int8_t> left = leftQueue_.DeQue<int8_t>();
            LocalTensor<int8_t> right = rightQueue_.DeQue<int8_t>();
            for (uint32_t step = 0; step < depth; step += kStepK) {
                MultiplyStep(sums, left, right, m, n, step, Minimum(kStepK, depth - step), k + step == 0);
            }
            leftQueue_.FreeTensor(left);
            rightQueue_.FreeTensor(right);
        }
        sumQueue_.EnQue(sums);
    }

    __aicore__ inline void CopyLeft(const GlobalTensor<int8_t>& from, uint32_t m, uint32_t depth) {
        LocalTensor<int8_t> left = leftQueue_.AllocTensor<int8_t>();
        const uint16_t rows = Align16(m);
        DataCopy(left, from, Nd2NzParams(1, m, depth, 0, kK, rows, 1, 0));
        // A product of one row would read plain rows: the row is there twice.
        if (m == 1) DataCopy(left[kC0], from, Nd2NzParams(1, 1, depth, 0, kK, rows, 1, 0));
        leftQueue_.EnQue(left);
    }

    __aicore__ inline void CopyRight(const GlobalTensor<int8_t>& from, uint32_t n, uint32_t depth) {
        LocalTensor<int8_t> right = rightQueue_.AllocTensor<int8_t>();
        DataCopy(right, from, Nd2NzParams(1, n, depth, 0, kK, Align16(n), 1, 0));
        rightQueue_.EnQue(right);
    }

    __aicore__ inline void MultiplyStep(const LocalTensor<int32_t>& sums, const LocalTensor<int8_t>& left, const LocalTensor<int8_t>& right, uint32_t m, uint32_t n, uint32_t step, uint32_t depth, bool isFirst) {
        const uint32_t rows = Align16(m) / 16;
        const uint32_t columns = Align16(n) / 16;
        const uint32_t fractals = CeilDiv(depth, kC0);
        const uint32_t fractal = 16 * kC0;
        LocalTensor<int8_t> a = leftStepQueue_.AllocTensor<int8_t>();
        LocalTensor<int8_t> b = rightStepQueue_.AllocTensor<int8_t>();
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
        a = leftStepQueue_.DeQue<int8_t>();
        b = rightStepQueue_.DeQue<int8_t>();
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
        LocalTensor<int32_t> sums = sumQueue_.DeQue<int32_t>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = Align16(m);
        out.dstStride = kTileN;
        out.quantPre = NoQuant;
        Fixpipe<int32_t, int32_t, CFG_ROW_MAJOR>(productGm_[(GetBlockIdx() * kRing + slot) * kTileM * kTileN], sums, out);
        sumQueue_.FreeTensor(sums);
    }

    __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t count, uint32_t slot) {
        LocalTensor<int32_t> product = productQueue_.AllocTensor<int32_t>();
        Load(product, productGm_[slot], count);
        productQueue_.EnQue(product);
        LocalTensor<float> tile0 = tile0Queue_.AllocTensor<float>();
        Load(tile0, in3Gm_[column], count);
        tile0Queue_.EnQue(tile0);
        LocalTensor<float> tile2 = tile2Queue_.AllocTensor<float>();
        Load(tile2, in4Gm_[column], count);
        tile2Queue_.EnQue(tile2);
        LocalTensor<float> tile3 = tile3Queue_.AllocTensor<float>();
        Load(tile3, in5Gm_[row * 203 + column], count);
        tile3Queue_.EnQue(tile3);
    }

    __aicore__ inline void Compute(uint32_t row, uint32_t column, uint32_t count) {
        const float scalar1 = ToFloat(in2Gm_.GetValue(0));
        const float scalar4 = ToFloat(in6Gm_.GetValue(0));
        LocalTensor<int32_t> product = productQueue_.DeQue<int32_t>();
        LocalTensor<float> tile0 = tile0Queue_.DeQue<float>();
        LocalTensor<float> tile2 = tile2Queue_.DeQue<float>();
        LocalTensor<float> tile3 = tile3Queue_.DeQue<float>();
        LocalTensor<int8_t> result = outQueue_.AllocTensor<int8_t>();
        LocalTensor<float> work0 = work_.GetWithOffset<float>(kTile, 0 * kTile * sizeof(float));
        LocalTensor<float> work1 = work_.GetWithOffset<float>(kTile, 1 * kTile * sizeof(float));
        LocalTensor<float> work2 = work_.GetWithOffset<float>(kTile, 2 * kTile * sizeof(float));
        LocalTensor<uint8_t> mask0 = masks_.GetWithOffset<uint8_t>(kMaskBytes, 0 * kMaskBytes);
        PipeBarrier<PIPE_V>();
        Cast(work0, product, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        Mul(work0, work0, tile0, count);
        PipeBarrier<PIPE_V>();
        Muls(work0, work0, scalar1, count);
        PipeBarrier<PIPE_V>();
        Add(work0, work0, tile2, count);
        PipeBarrier<PIPE_V>();
        Muls(work1, work0, -1.0f, count);
        PipeBarrier<PIPE_V>();
        Exp(work1, work1, count);
        PipeBarrier<PIPE_V>();
        Adds(work1, work1, 1.0f, count);
        Duplicate(work2, 1.0f, count);
        PipeBarrier<PIPE_V>();
        Div(work2, work2, work1, count);
        PipeBarrier<PIPE_V>();
        Mul(work1, work2, work0, count);
        PipeBarrier<PIPE_V>();
        Mul(work0, work1, tile3, count);
        PipeBarrier<PIPE_V>();
        Duplicate(work1, scalar4, count);
        PipeBarrier<PIPE_V>();
        Div(work0, work0, work1, count);
        PipeBarrier<PIPE_V>();
        Cast(work0, work0, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        Compare(mask0, work0, work0, CMPMODE::EQ, WholeRepeats(count));
        PipeBarrier<PIPE_V>();
        Select(work1, mask0, work0, 0.0f, SELMODE::VSEL_TENSOR_SCALAR_MODE, count);
        PipeBarrier<PIPE_V>();
        Maxs(work0, work1, -128.0f, count);
        PipeBarrier<PIPE_V>();
        Mins(work0, work0, 127.0f, count);
        PipeBarrier<PIPE_V>();
        Cast(work1.ReinterpretCast<half>(), work0, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        Cast(result, work1.ReinterpretCast<half>(), RoundMode::CAST_NONE, count);
        productQueue_.FreeTensor(product);
        tile0Queue_.FreeTensor(tile0);
        tile2Queue_.FreeTensor(tile2);
        tile3Queue_.FreeTensor(tile3);
        outQueue_.EnQue(result);
    }

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t count) {
        LocalTensor<int8_t> result = outQueue_.DeQue<int8_t>();
        Store(out0Gm_[static_cast<uint64_t>(row) * kN + column], result, count);
        outQueue_.FreeTensor(result);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<int8_t> in0Gm_;
    GlobalTensor<int8_t> in1Gm_;
    GlobalTensor<float> in2Gm_;
    GlobalTensor<float> in3Gm_;
    GlobalTensor<float> in4Gm_;
    GlobalTensor<float> in5Gm_;
    GlobalTensor<float> in6Gm_;
    GlobalTensor<int8_t> out0Gm_;
    TQue<TPosition::A1, 1> leftQueue_;
    TQue<TPosition::B1, 1> rightQueue_;
    TQue<TPosition::A2, 1> leftStepQueue_;
    TQue<TPosition::B2, 1> rightStepQueue_;
    TQue<TPosition::CO1, 1> sumQueue_;
    TQue<TPosition::VECIN, 1> tile0Queue_;
    TQue<TPosition::VECIN, 1> tile2Queue_;
    TQue<TPosition::VECIN, 1> tile3Queue_;
    TQue<TPosition::VECIN, 1> productQueue_;
    TQue<TPosition::VECOUT, 1> outQueue_;
    TBuf<TPosition::VECCALC> work_;
    TBuf<TPosition::VECCALC> masks_;
    GlobalTensor<int32_t> productGm_;
};

}  // namespace

extern "C" __global__ __aicore__ void quantized_linear_silu_mul_quantize_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR in2, GM_ADDR in3, GM_ADDR in4, GM_ADDR in5, GM_ADDR in6, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    TPipe pipe;
    QuantizedLinearSiluMulQuantize1 kernel(T, &pipe);
    kernel.Init(in0, in1, in2, in3, in4, in5, in6, out0, scratch);
    kernel.Process();
}

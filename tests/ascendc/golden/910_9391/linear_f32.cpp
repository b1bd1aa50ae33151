// linear on 910_9391
//
//   in0   f32[T, 100]
//   in1   f32[63, 100]
//   out0  f32[T, 63]
//
// Tiles of 128 x 16, K in steps of 128 through L1 and 32 through L0.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kN = 63;
constexpr uint32_t kK = 100;
constexpr uint32_t kTileM = 128;
constexpr uint32_t kTileN = 16;
constexpr uint32_t kTileK = 128;  // in L1
constexpr uint32_t kStepK = 32;  // in L0
constexpr uint32_t kC0 = 8;  // elements of one row of a fractal

class Linear1 {
public:
    __aicore__ inline Linear1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in0), (T * 100));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(in1), 6300);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(out0), (T * 63));
        pipe_->InitBuffer(leftQueue_, 2, kTileM * kTileK * sizeof(float));
        pipe_->InitBuffer(rightQueue_, 2, kTileN * kTileK * sizeof(float));
        pipe_->InitBuffer(leftStepQueue_, 2, kTileM * kStepK * sizeof(float));
        pipe_->InitBuffer(rightStepQueue_, 2, kTileN * kStepK * sizeof(float));
        pipe_->InitBuffer(sumQueue_, 1, kTileM * kTileN * sizeof(float));
    }

    __aicore__ inline void Process() {
        constexpr uint32_t columnTiles = CeilDiv(kN, kTileN);
        const uint32_t rowTiles = CeilDiv(T, kTileM);
        for (uint32_t tile = GetBlockIdx(); tile < rowTiles * columnTiles; tile += GetBlockNum()) {
            const uint32_t row = tile % rowTiles * kTileM;
            const uint32_t column = tile / rowTiles * kTileN;
            const uint32_t m = Minimum(kTileM, T - row);
            const uint32_t n = Minimum(kTileN, kN - column);
            Multiply(row, column, m, n);
            CopyOut(row, column, m, n);
        }
    }

private:
    __aicore__ inline void Multiply(uint32_t row, uint32_t column, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.AllocTensor<float>();
        for (uint32_t k = 0; k < kK; k += kTileK) {
            const uint32_t depth = Minimum(kTileK, kK - k);
            CopyLeft(in0Gm_[static_cast<uint64_t>(row) * kK + k], m, depth);
            CopyRight(in1Gm_[static_cast<uint64_t>(column) * kK + k], n, depth);
            LocalTensor<float> left = leftQueue_.DeQue<float>();
            LocalTensor<float> right = rightQueue_.DeQue<float>();
            for (uint32_t step = 0; step < depth; step += kStepK) {
                MultiplyStep(sums, left, right, m, n, step, Minimum(kStepK, depth - step), k + step == 0);
            }
            leftQueue_.FreeTensor(left);
            rightQueue_.FreeTensor(right);
        }
        sumQueue_.EnQue(sums);
    }

    __aicore__ inline void CopyLeft(const GlobalTensor<float>& from, uint32_t m, uint32_t depth) {
        LocalTensor<float> left = leftQueue_.AllocTensor<float>();
        const uint16_t rows = Align16(m);
        DataCopy(left, from, Nd2NzParams(1, m, depth, 0, kK, rows, 1, 0));
        // A product of one row would read plain rows: the row is there twice.
        if (m == 1) DataCopy(left[kC0], from, Nd2NzParams(1, 1, depth, 0, kK, rows, 1, 0));
        leftQueue_.EnQue(left);
    }

    __aicore__ inline void CopyRight(const GlobalTensor<float>& from, uint32_t n, uint32_t depth) {
        LocalTensor<float> right = rightQueue_.AllocTensor<float>();
        DataCopy(right, from, Nd2NzParams(1, n, depth, 0, kK, Align16(n), 1, 0));
        rightQueue_.EnQue(right);
    }

    __aicore__ inline void MultiplyStep(const LocalTensor<float>& sums, const LocalTensor<float>& left, const LocalTensor<float>& right, uint32_t m, uint32_t n, uint32_t step, uint32_t depth, bool isFirst) {
        const uint32_t rows = Align16(m) / 16;
        const uint32_t columns = Align16(n) / 16;
        const uint32_t fractals = CeilDiv(depth, kC0);
        const uint32_t fractal = 16 * kC0;
        LocalTensor<float> a = leftStepQueue_.AllocTensor<float>();
        LocalTensor<float> b = rightStepQueue_.AllocTensor<float>();
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
        a = leftStepQueue_.DeQue<float>();
        b = rightStepQueue_.DeQue<float>();
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

    __aicore__ inline void CopyOut(uint32_t row, uint32_t column, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.DeQue<float>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = Align16(m);
        out.dstStride = kN;
        out.quantPre = NoQuant;
        Fixpipe<float, float, CFG_ROW_MAJOR>(out0Gm_[static_cast<uint64_t>(row) * kN + column], sums, out);
        sumQueue_.FreeTensor(sums);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<float> in0Gm_;
    GlobalTensor<float> in1Gm_;
    GlobalTensor<float> out0Gm_;
    TQue<TPosition::A1, 1> leftQueue_;
    TQue<TPosition::B1, 1> rightQueue_;
    TQue<TPosition::A2, 1> leftStepQueue_;
    TQue<TPosition::B2, 1> rightStepQueue_;
    TQue<TPosition::CO1, 1> sumQueue_;
};

}  // namespace

extern "C" __global__ __aicore__ void linear_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    TPipe pipe;
    Linear1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

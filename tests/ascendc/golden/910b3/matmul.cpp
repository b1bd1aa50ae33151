// matmul on 910b3
//
//   in0   f16[2, T, 63]
//   in1   f16[63, 203]
//   out0  f16[2, T, 203]
//
// Tiles of 128 x 96, with 64 of the inner axis at a time.
#include "hew_kernel.h"

namespace {

using namespace AscendC;

constexpr uint32_t kTileM = 128;
constexpr uint32_t kTileN = 96;
constexpr uint32_t kDepth = 64;
constexpr uint32_t kC0 = 16;  // elements of one row of a fractal
constexpr uint32_t kFractal = 16 * kC0;

class Matmul1 {
public:
    __aicore__ inline Matmul1(uint32_t T, TPipe* pipe)
        : T(T), pipe_(pipe) {}

    __aicore__ inline void Init(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch) {
        in0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in0), (T * 126));
        in1Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(in1), 12789);
        out0Gm_.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out0), (T * 406));
        pipe_->InitBuffer(rowsQueue_, 2, kTileM * kDepth * sizeof(half));
        pipe_->InitBuffer(columnsQueue_, 2, kDepth * kTileN * sizeof(half));
        pipe_->InitBuffer(leftQueue_, 2, kTileM * kDepth * sizeof(half));
        pipe_->InitBuffer(rightQueue_, 2, kDepth * kTileN * sizeof(half));
        pipe_->InitBuffer(sumQueue_, 2, kTileM * kTileN * sizeof(float));
    }

    __aicore__ inline void Process() {
        const uint32_t rowTiles = CeilDiv(T, kTileM);
        const uint32_t tiles = rowTiles * CeilDiv(203, kTileN);
        for (uint32_t unit = GetBlockIdx(); unit < 2 * tiles; unit += GetBlockNum()) {
            const uint32_t matrix = unit / tiles;
            const uint32_t row = unit % tiles % rowTiles * kTileM;
            const uint32_t column = unit % tiles / rowTiles * kTileN;
            const uint32_t m = Minimum(kTileM, T - row);
            const uint32_t n = Minimum(kTileN, 203 - column);
            Multiply((static_cast<uint64_t>(matrix) * T + static_cast<uint64_t>(row)) * 63, column, m, n);
            CopyOut((matrix * T + static_cast<uint64_t>(row)) * 203 + column, m, n);
        }
    }

private:
    __aicore__ inline void Multiply(uint64_t leftAt, uint64_t rightAt, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.AllocTensor<float>();
        for (uint32_t k = 0; k < 63; k += kDepth) MultiplyStep(sums, leftAt, rightAt, m, n, k, Minimum(kDepth, 63 - k));
        sumQueue_.EnQue(sums);
    }

    __aicore__ inline void MultiplyStep(const LocalTensor<float>& sums, uint64_t leftAt, uint64_t rightAt, uint32_t m, uint32_t n, uint32_t k, uint32_t depth) {
        LocalTensor<half> rows = rowsQueue_.AllocTensor<half>();
        CopyLeft(rows, in0Gm_[leftAt + k], m, depth, 63);
        rowsQueue_.EnQue(rows);
        LocalTensor<half> columns = columnsQueue_.AllocTensor<half>();
        DataCopy(columns, in1Gm_[rightAt + static_cast<uint64_t>(k) * 203], Nd2NzParams(1, depth, n, 0, 203, Align16(depth), 1, 0));
        columnsQueue_.EnQue(columns);
        rows = rowsQueue_.DeQue<half>();
        LoadLeft(rows, m, depth);
        rowsQueue_.FreeTensor(rows);
        columns = columnsQueue_.DeQue<half>();
        LoadRight(columns, depth, n);
        columnsQueue_.FreeTensor(columns);
        // Larger products follow each other in order by themselves.
        if (Align16(m) / 16 * (Align16(n) / 16) < 10) PipeBarrier<PIPE_M>();
        LocalTensor<half> left = leftQueue_.DeQue<half>();
        LocalTensor<half> right = rightQueue_.DeQue<half>();
        MmadParams params;
        params.m = m == 1 ? 2 : m;
        params.n = n;
        params.k = depth;
        params.cmatrixInitVal = k == 0;
        Mmad(sums, left, right, params);
        leftQueue_.FreeTensor(left);
        rightQueue_.FreeTensor(right);
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

    __aicore__ inline void CopyOut(uint64_t at, uint32_t m, uint32_t n) {
        LocalTensor<float> sums = sumQueue_.DeQue<float>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = Align16(m);
        out.dstStride = 203;
        out.quantPre = F322F16;
        Fixpipe<half, float, CFG_ROW_MAJOR>(out0Gm_[at], sums, out);
        sumQueue_.FreeTensor(sums);
    }

    const uint32_t T;
    TPipe* pipe_;
    GlobalTensor<half> in0Gm_;
    GlobalTensor<half> in1Gm_;
    GlobalTensor<half> out0Gm_;
    TQue<TPosition::A1, 1> rowsQueue_;
    TQue<TPosition::B1, 1> columnsQueue_;
    TQue<TPosition::A2, 1> leftQueue_;
    TQue<TPosition::B2, 1> rightQueue_;
    TQue<TPosition::CO1, 1> sumQueue_;
};

}  // namespace

extern "C" __global__ __aicore__ void matmul_1(GM_ADDR in0, GM_ADDR in1, GM_ADDR out0, GM_ADDR scratch, uint32_t T) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
    TPipe pipe;
    Matmul1 kernel(T, &pipe);
    kernel.Init(in0, in1, out0, scratch);
    kernel.Process();
}

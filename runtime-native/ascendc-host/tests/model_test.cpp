// What the model promises: right results for right kernels, and a fault of the right kind for each planted mistake.
#include <cmath>
#include <vector>

#include "check.h"
#include "kernel_operator.h"

using namespace AscendC;
using hew_ascend::FaultKind;
using hew_ascend::KernelType;
using hew_ascend::LaunchResult;

namespace {

const hew_ascend::Chip& chip(const char* name = "910b3") { return *hew_ascend::find_chip(name); }

// Mistakes that a scaling kernel can be given.
enum class Mistake { none, no_enqueue, no_free, wrong_order, no_barrier, over_read, unaligned, too_large, two_cores_one_place };

constexpr int32_t tile = 64;

struct Scale {
    Mistake mistake;
    GlobalTensor<half> x, y;
    TQue<TPosition::VECIN, 1> in;
    TQue<TPosition::VECOUT, 1> out;
    TBuf<TPosition::VECCALC> work;

    void run(TPipe& pipe, GM_ADDR x_address, GM_ADDR y_address, int32_t count) {
        x.SetGlobalBuffer(reinterpret_cast<half*>(x_address), count);
        y.SetGlobalBuffer(reinterpret_cast<half*>(y_address), count);
        pipe.InitBuffer(in, 2, (mistake == Mistake::too_large ? 100000 : tile) * sizeof(half));
        pipe.InitBuffer(out, 2, tile * sizeof(half));
        pipe.InitBuffer(work, tile * sizeof(float));
        const int32_t own = mistake == Mistake::two_cores_one_place ? 0 : GetBlockIdx() * tile;
        const int32_t step = GetBlockNum() * tile;
        for (int32_t at = own; at < count; at += step) one(at, count - at < tile ? count - at : tile);
    }

    void one(int32_t at, int32_t count) {
        const DataCopyExtParams row{1, uint32_t(count * sizeof(half)), 0, 0, 0};
        LocalTensor<half> source = in.AllocTensor<half>();
        DataCopyPad(source, x[mistake == Mistake::over_read ? at + 1 : at], row, {false, 0, 0, half(0.0f)});
        if (mistake == Mistake::no_enqueue) {
            compute(source, count);
        } else {
            in.EnQue(source);
            compute(in.DeQue<half>(), count);
        }
        LocalTensor<half> result = out.DeQue<half>();
        DataCopyPad(y[at], result, row);
        out.FreeTensor(result);
    }

    void compute(LocalTensor<half> source, int32_t count) {
        LocalTensor<float> wide = work.Get<float>();
        LocalTensor<half> result = out.AllocTensor<half>();
        PipeBarrier<PIPE_V>();
        Cast(wide, source, RoundMode::CAST_NONE, count);
        if (mistake != Mistake::no_barrier) PipeBarrier<PIPE_V>();
        Muls(wide, mistake == Mistake::unaligned ? wide[1] : wide, 3.0f, count - 1 + (mistake == Mistake::unaligned ? 0 : 1));
        PipeBarrier<PIPE_V>();
        Cast(result, wide, RoundMode::CAST_RINT, count);
        if (mistake != Mistake::no_free) in.FreeTensor(source);
        out.EnQue(result);
    }
};

LaunchResult run_scale(Mistake mistake, int32_t count, uint32_t blocks, std::vector<half>& y) {
    std::vector<half> x(count);
    for (int32_t i = 0; i < count; ++i) x[i] = half(float(i % 100));
    y.assign(count, half(-1.0f));
    hew_ascend::forget_global();
    hew_ascend::register_global(x.data(), count * sizeof(half), false);
    hew_ascend::register_global(y.data(), count * sizeof(half), true);
    return hew_ascend::launch(chip(), KernelType::aiv_only, blocks, [&] {
        KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
        TPipe pipe;
        Scale kernel{mistake, {}, {}, {}, {}, {}};
        kernel.run(pipe, reinterpret_cast<GM_ADDR>(x.data()), reinterpret_cast<GM_ADDR>(y.data()), count);
    });
}

void expect_fault(const char* what, const LaunchResult& result, FaultKind kind) {
    const bool holds = result.has_fault && result.fault.kind == kind;
    if (!holds) std::printf("  %s: %s\n", what, result.has_fault ? result.fault.message.c_str() : "no fault");
    check(holds, what);
}

void vector_kernels() {
    for (const int32_t count : {1, 63, 64, 203, 1000}) {
        std::vector<half> y;
        const LaunchResult result = run_scale(Mistake::none, count, 3, y);
        if (result.has_fault) std::printf("  %s\n", result.fault.message.c_str());
        check(!result.has_fault, "a right kernel has no fault");
        bool right = true;
        for (int32_t i = 0; i < count; ++i) right = right && float(y[i]) == 3 * (i % 100);
        check(right, "a right kernel computes what it says");
        check(result.total.gm_to_ub == count * sizeof(half), "bytes into UB are counted");
    }
    std::vector<half> y;
    expect_fault("no EnQue", run_scale(Mistake::no_enqueue, 203, 3, y), FaultKind::hazard);
    expect_fault("no FreeTensor", run_scale(Mistake::no_free, 64, 1, y), FaultKind::queue);
    expect_fault("no PipeBarrier", run_scale(Mistake::no_barrier, 203, 3, y), FaultKind::hazard);
    expect_fault("a read beyond the tensor", run_scale(Mistake::over_read, 203, 3, y), FaultKind::bounds);
    expect_fault("an unaligned operand", run_scale(Mistake::unaligned, 203, 3, y), FaultKind::alignment);
    expect_fault("buffers larger than UB", run_scale(Mistake::too_large, 203, 3, y), FaultKind::limit);
    expect_fault("two cores write one place", run_scale(Mistake::two_cores_one_place, 203, 3, y), FaultKind::hazard);
    expect_fault("more blocks than cores", run_scale(Mistake::none, 203, 41, y), FaultKind::limit);
}

// y[block] = sum of what all blocks wrote before SyncAll.
void synchronisation() {
    for (const bool synchronised : {true, false}) {
        std::vector<float> shared(8 * 16), sums(8 * 16);
        hew_ascend::forget_global();
        hew_ascend::register_global(shared.data(), shared.size() * 4, true);
        hew_ascend::register_global(sums.data(), sums.size() * 4, true);
        const LaunchResult result = hew_ascend::launch(chip(), KernelType::mix_aiv_1_0, 8, [&] {
            TPipe pipe;
            TBuf<TPosition::VECCALC> buffer;
            pipe.InitBuffer(buffer, 8 * 16 * 4);
            GlobalTensor<float> from, to;
            from.SetGlobalBuffer(shared.data(), shared.size());
            to.SetGlobalBuffer(sums.data(), sums.size());
            LocalTensor<float> work = buffer.Get<float>();
            Duplicate(work, float(GetBlockIdx()), 8);
            SetFlag<HardEvent::V_MTE3>(0);
            WaitFlag<HardEvent::V_MTE3>(0);
            DataCopy(from[GetBlockIdx() * 16], work, 8);
            if (synchronised) SyncAll();
            PipeBarrier<PIPE_ALL>();
            DataCopy(work, from, DataCopyParams{8, 1, 1, 0});
            SetFlag<HardEvent::MTE2_V>(1);
            WaitFlag<HardEvent::MTE2_V>(1);
            ReduceSum(work, work, work, 64);
            PipeBarrier<PIPE_ALL>();
            DataCopy(to[GetBlockIdx() * 16], work, 8);
        });
        if (synchronised) {
            if (result.has_fault) std::printf("  %s\n", result.fault.message.c_str());
            check(!result.has_fault && sums[0] == 8 * 28 && sums[7 * 16] == 8 * 28, "SyncAll makes all blocks' writes visible");
        } else {
            expect_fault("no SyncAll", result, FaultKind::hazard);
        }
    }
    const LaunchResult alone = hew_ascend::launch(chip(), KernelType::mix_aiv_1_0, 4, [] {
        if (GetBlockIdx() != 2) SyncAll();
    });
    expect_fault("a core that does not come to SyncAll", alone, FaultKind::deadlock);
    const LaunchResult wrong_type = hew_ascend::launch(chip(), KernelType::aiv_only, 4, [] { SyncAll(); });
    expect_fault("SyncAll in a kernel without hardware synchronisation", wrong_type, FaultKind::deadlock);
}

// C[m, n] = A[m, k] B[n, k]ᵀ with the whole problem in one tile, K in two steps.
template <typename T, typename C>
void cube_kernel(int m, int n, int k, const char* what) {
    constexpr int c0 = 32 / sizeof(T);
    const int m16 = (m + 15) / 16 * 16, n16 = (n + 15) / 16 * 16, half_k = (k / 2 + c0 - 1) / c0 * c0;
    std::vector<T> a(m * k), b(n * k);
    std::vector<C> c(m * n, C(-1));
    for (size_t i = 0; i < a.size(); ++i) a[i] = T(float(int(i * 7 % 11) - 5));
    for (size_t i = 0; i < b.size(); ++i) b[i] = T(float(int(i * 5 % 13) - 6));
    hew_ascend::forget_global();
    hew_ascend::register_global(a.data(), a.size() * sizeof(T), false);
    hew_ascend::register_global(b.data(), b.size() * sizeof(T), false);
    hew_ascend::register_global(c.data(), c.size() * sizeof(C), true);
    const LaunchResult result = hew_ascend::launch(chip(), KernelType::aic_only, 1, [&] {
        TPipe pipe;
        TQue<TPosition::A1, 1> a1;
        TQue<TPosition::B1, 1> b1;
        TQue<TPosition::A2, 1> a2;
        TQue<TPosition::B2, 1> b2;
        TQue<TPosition::CO1, 1> co1;
        pipe.InitBuffer(a1, 2, m16 * half_k * sizeof(T));
        pipe.InitBuffer(b1, 2, n16 * half_k * sizeof(T));
        pipe.InitBuffer(a2, 2, m16 * half_k * sizeof(T));
        pipe.InitBuffer(b2, 2, n16 * half_k * sizeof(T));
        pipe.InitBuffer(co1, 1, m16 * n16 * 4);
        GlobalTensor<T> a_gm, b_gm;
        GlobalTensor<C> c_gm;
        a_gm.SetGlobalBuffer(a.data(), a.size());
        b_gm.SetGlobalBuffer(b.data(), b.size());
        c_gm.SetGlobalBuffer(c.data(), c.size());
        LocalTensor<C> sums = co1.template AllocTensor<C>();
        for (int first = 0; first < k; first += half_k) {
            const int depth = std::min(half_k, k - first), steps = (depth + c0 - 1) / c0;
            LocalTensor<T> al = a1.template AllocTensor<T>(), bl = b1.template AllocTensor<T>();
            DataCopy(al, a_gm[first], Nd2NzParams(1, m, depth, 0, k, m16, 1, 0));
            DataCopy(bl, b_gm[first], Nd2NzParams(1, n, depth, 0, k, n16, 1, 0));
            a1.EnQue(al);
            b1.EnQue(bl);
            al = a1.template DeQue<T>();
            bl = b1.template DeQue<T>();
            LocalTensor<T> a0 = a2.template AllocTensor<T>(), b0 = b2.template AllocTensor<T>();
            for (int i = 0; i < m16 / 16; ++i) {
                LoadData2DParams rows;
                rows.startIndex = i;
                rows.repeatTimes = steps;
                rows.srcStride = m16 / 16;
                LoadData(a0[i * steps * 16 * c0], al, rows);
            }
            LoadData2DParams all;
            all.repeatTimes = steps * (n16 / 16);
            all.srcStride = 1;
            LoadData(b0, bl, all);
            a1.FreeTensor(al);
            b1.FreeTensor(bl);
            a2.EnQue(a0);
            b2.EnQue(b0);
            a0 = a2.template DeQue<T>();
            b0 = b2.template DeQue<T>();
            MmadParams product;
            product.m = m;
            product.n = n;
            product.k = depth;
            product.cmatrixInitVal = first == 0;
            PipeBarrier<PIPE_M>();
            Mmad(sums, a0, b0, product);
            a2.FreeTensor(a0);
            b2.FreeTensor(b0);
        }
        co1.EnQue(sums);
        sums = co1.template DeQue<C>();
        FixpipeParamsV220 out;
        out.nSize = n;
        out.mSize = m;
        out.srcStride = m16;
        out.dstStride = n;
        Fixpipe(c_gm, sums, out);
        co1.FreeTensor(sums);
    });
    if (result.has_fault) std::printf("  %s\n", result.fault.message.c_str());
    bool right = !result.has_fault;
    for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
            C sum = 0;
            for (int x = 0; x < k; ++x) sum += C(float(a[i * k + x])) * C(float(b[j * k + x]));
            right = right && c[i * n + j] == sum;
        }
    check(right, what);
}

void casts() {
    check(half(65504.0f).bits == 0x7bff && half(65520.0f).bits == 0x7c00, "half rounds to infinity from 65520 on");
    check(half(5.9604645e-8f).bits == 1 && half(2.9802322e-8f).bits == 0, "half has subnormal numbers, and ties go to even");
    bool round_trip = true;
    for (uint32_t bits = 0; bits < 65536; ++bits) {
        half value;
        value.bits = uint16_t(bits);
        if (std::isnan(float(value))) continue;
        round_trip = round_trip && half(float(value)).bits == bits;
    }
    check(round_trip, "every half is itself after float");
    check(hew_ascend::convert<int8_t, half>(half(2.5f), RoundMode::CAST_RINT) == 2, "CAST_RINT is to even");
    check(hew_ascend::convert<int8_t, half>(half(-2.5f), RoundMode::CAST_FLOOR) == -3, "CAST_FLOOR is down");
    check(hew_ascend::convert<half, float>(1.0f + 1.0f / 4096, RoundMode::CAST_CEIL).bits == half(1.0f).bits + 1, "CAST_CEIL of f32 is up");
}

}  // namespace

int main() {
    casts();
    vector_kernels();
    synchronisation();
    cube_kernel<half, float>(17, 40, 96, "a product of halfs");
    cube_kernel<int8_t, int32_t>(33, 20, 100, "a product of 8-bit integers");
    cube_kernel<float, float>(16, 16, 24, "a product of floats");
    return report();
}

#include "hew_ascend/cube.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace hew_ascend {
namespace {

using AscendC::QuantMode_t;

constexpr uint32_t fractal_bytes = 512;
constexpr uint32_t fractal_rows = 16;
constexpr uint32_t most_extent = 4095;
constexpr uint32_t barrier_free_fractals = 10;

uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

uint32_t element_bytes(CubeType type) { return type == CubeType::s8 ? 1 : type == CubeType::f32 ? 4 : 2; }

float as_float(const uint8_t* at, CubeType type) {
    switch (type) {
        case CubeType::f32: {
            float value;
            std::memcpy(&value, at, 4);
            return value;
        }
        case CubeType::s8: return float(int8_t(*at));
        default: {
            uint16_t bits;
            std::memcpy(&bits, at, 2);
            return type == CubeType::f16 ? half_values[bits] : bits_to_float(uint32_t(bits) << 16);
        }
    }
}

// A matrix of fractals as floats, [rows, depth] for A and [depth, rows] for B; integers of 8 bits are exact in them. The
// fractals of 16 rows and c0 columns lie row by row for A (Zz); for B (Zn) they lie by rows of K, with n the outer index
// inside.
std::vector<float> unpack(const uint8_t* from, CubeType type, uint32_t rows, uint32_t depth, bool is_a) {
    const uint32_t size = element_bytes(type), c0 = block_bytes / size;
    const uint32_t row_fractals = ceil_div(rows, fractal_rows), depth_fractals = ceil_div(depth, c0);
    std::vector<float> matrix(size_t(rows) * depth);
    for (uint32_t row = 0; row < rows; ++row)
        for (uint32_t k = 0; k < depth; ++k) {
            const uint32_t row_block = row / fractal_rows, k_block = k / c0;
            const uint32_t fractal = is_a ? row_block * depth_fractals + k_block : k_block * row_fractals + row_block;
            const uint8_t* at = from + size_t(fractal) * fractal_bytes + (row % fractal_rows * c0 + k % c0) * size;
            matrix[is_a ? size_t(row) * depth + k : size_t(k) * rows + row] = as_float(at, type);
        }
    return matrix;
}

// The rows of the fractals that a product uses; a row is one block.
const uint8_t* read_fractals(Operation& operation, const View& view, uint32_t rows, uint32_t depth_fractals, bool is_a) {
    const uint32_t row_fractals = ceil_div(rows, fractal_rows);
    const LocalSpan all = span_of(view, 0, uint64_t(row_fractals) * depth_fractals * fractal_bytes, "Mmad");
    for (uint32_t block = 0; block < row_fractals; ++block)
        for (uint32_t k = 0; k < depth_fractals; ++k) {
            const uint32_t fractal = is_a ? block * depth_fractals + k : k * row_fractals + block;
            const uint32_t used = std::min(fractal_rows, rows - block * fractal_rows);
            operation.reads({all.space, all.offset + fractal * fractal_bytes, used * block_bytes});
        }
    return operation.on().memory(all.space).bytes.data() + all.offset;
}

// L0C holds fractals of 16 by 16, column block by column block.
size_t l0c_index(uint32_t row, uint32_t column, uint32_t padded_rows) {
    return (size_t(column / 16) * padded_rows + row) * 16 + column % 16;
}

template <typename T>
void accumulate(T* c, const std::vector<float>& a, const std::vector<float>& b, const T* bias, const AscendC::MmadParams& p) {
    const uint32_t padded_rows = ceil_div(p.m, 16) * 16;
    std::vector<T> sums(p.n);
    // A is [m, k] and B [k, n]; the sum of an element runs over k in the order of memory.
    for (uint32_t i = 0; i < p.m; ++i) {
        std::fill(sums.begin(), sums.end(), T(0));
        for (uint32_t k = 0; k < p.k; ++k) {
            const T x = T(a[size_t(i) * p.k + k]);
            const float* y = &b[size_t(k) * p.n];
            for (uint32_t j = 0; j < p.n; ++j) sums[j] += x * T(y[j]);
        }
        for (uint32_t j = 0; j < p.n; ++j) {
            T& out = c[l0c_index(i, j, padded_rows)];
            out = (p.cmatrixInitVal ? (bias ? bias[j] : T(0)) : out) + sums[j];
        }
    }
}

}  // namespace

void load_fractals(const View& destination, const View& source, const AscendC::LoadData2DParams& p, uint32_t element) {
    Operation operation(pipe_mte1, "LoadData");
    if (source.space != Space::l1 || (destination.space != Space::l0a && destination.space != Space::l0b))
        fail(FaultKind::model, "LoadData from %s to %s", space_name(source.space), space_name(destination.space));
    if (destination.offset % fractal_bytes != 0)
        fail(FaultKind::alignment, "LoadData to %s offset %u, which is no multiple of 512", space_name(destination.space), destination.offset);
    if (source.offset % block_bytes != 0)
        fail(FaultKind::alignment, "LoadData from L1 offset %u, which is no multiple of 32", source.offset);
    if (p.ifTranspose && element != 2) fail(FaultKind::dtype, "LoadData transposes elements of 16 bits only");
    for (uint32_t i = 0; i < p.repeatTimes; ++i) {
        const uint64_t from_at = (uint64_t(p.startIndex) + uint64_t(i) * p.srcStride) * fractal_bytes;
        const uint64_t to_at = uint64_t(i) * (p.dstGap + 1) * fractal_bytes;
        const LocalSpan from_span = span_of(source, from_at, fractal_bytes, operation.name());
        const LocalSpan to_span = span_of(destination, to_at, fractal_bytes, operation.name());
        if (!p.ifTranspose) {
            for (uint32_t row = 0; row < fractal_bytes; row += block_bytes)
                operation.moves({from_span.space, from_span.offset + row, block_bytes}, {to_span.space, to_span.offset + row, block_bytes});
        } else {
            operation.transposes(from_span, to_span);
        }
        operation.on().counters.l1_to_l0 += fractal_bytes;
    }
}

void multiply(const View& c, const View& a, const View& b, const View* bias, CubeType type, const AscendC::MmadParams& p) {
    Operation operation(pipe_m, "Mmad");
    Core& on = operation.on();
    if (a.space != Space::l0a || b.space != Space::l0b || c.space != Space::l0c)
        fail(FaultKind::model, "Mmad takes A in L0A, B in L0B and C in L0C");
    if (type == CubeType::bf16 && !on.chip->has_bf16) fail(FaultKind::dtype, "Mmad of bf16 is not on %s", on.chip->name);
    if (type == CubeType::f32 && on.chip->layout == Layout::fused) fail(FaultKind::dtype, "Mmad of f32 is not on %s", on.chip->name);
    if (p.m == 0 || p.n == 0 || p.k == 0 || p.m > most_extent || p.n > most_extent || p.k > most_extent)
        fail(FaultKind::limit, "Mmad of m %u, n %u, k %u", p.m, p.n, p.k);
    if (p.m == 1 && on.chip->layout == Layout::split)
        fail(FaultKind::model, "Mmad with m = 1 reads A as plain rows on %s: pad m to 2 or more", on.chip->name);
    if (c.offset % 1024 != 0) fail(FaultKind::alignment, "Mmad to L0C offset %u, which is no multiple of 1024", c.offset);
    const uint32_t size = element_bytes(type), c0 = block_bytes / size;
    const uint32_t m_fractals = ceil_div(p.m, 16), n_fractals = ceil_div(p.n, 16), k_fractals = ceil_div(p.k, c0);
    // The unit keeps products into one tile in order by itself only when a product takes long enough.
    if (!p.cmatrixInitVal && m_fractals * n_fractals >= barrier_free_fractals) operation.follows_own_pipe();
    const uint8_t* left = read_fractals(operation, a, p.m, k_fractals, true);
    const uint8_t* right = read_fractals(operation, b, p.n, k_fractals, false);
    const uint64_t c_bytes = uint64_t(m_fractals) * n_fractals * 256 * 4;
    const LocalSpan tile = span_of(c, 0, c_bytes, "Mmad");
    if (!p.cmatrixInitVal) operation.reads(tile);
    uint8_t* sums = operation.writes(tile);
    const uint8_t* added = bias && p.cmatrixInitVal ? operation.reads(span_of(*bias, 0, uint64_t(p.n) * 4, "Mmad")) : nullptr;
    const std::vector<float> x = unpack(left, type, p.m, p.k, true);
    const std::vector<float> y = unpack(right, type, p.n, p.k, false);
    if (type == CubeType::s8) {
        accumulate(reinterpret_cast<int32_t*>(sums), x, y, reinterpret_cast<const int32_t*>(added), p);
    } else {
        accumulate(reinterpret_cast<float*>(sums), x, y, reinterpret_cast<const float*>(added), p);
    }
    // One fractal of A times one of B a cycle; f32 takes four.
    on.counters.cube_cycles += uint64_t(m_fractals) * n_fractals * k_fractals * (type == CubeType::f32 ? 4 : 1);
}

namespace {

// Fixpipe drops the low 13 bits of a scale's mantissa.
float scale_of(uint64_t bits) {
    const float scale = bits_to_float(uint32_t(bits) & 0xffffe000u);
    if (!std::isnormal(scale)) fail(FaultKind::limit, "Fixpipe with a scale that is not finite and normal");
    return scale;
}

bool takes(QuantMode_t mode, bool from_integer, OutType to) {
    switch (mode) {
        case AscendC::NoQuant: return from_integer ? to == OutType::s32 : to == OutType::f32;
        case AscendC::F322F16: return !from_integer && to == OutType::f16;
        case AscendC::F322BF16: return !from_integer && to == OutType::bf16;
        case AscendC::DEQF16:
        case AscendC::VDEQF16: return from_integer && to == OutType::f16;
        case AscendC::REQ8:
        case AscendC::VREQ8: return from_integer && to == OutType::s8;
        case AscendC::QF322B8_PRE:
        case AscendC::VQF322B8_PRE: return !from_integer && to == OutType::s8;
    }
    return false;
}

bool is_vector_mode(QuantMode_t mode) {
    return mode == AscendC::VDEQF16 || mode == AscendC::VREQ8 || mode == AscendC::VQF322B8_PRE;
}

bool is_scaled(QuantMode_t mode) {
    return mode != AscendC::NoQuant && mode != AscendC::F322F16 && mode != AscendC::F322BF16;
}

void store(uint8_t* at, OutType type, double value, int32_t integer) {
    switch (type) {
        case OutType::f32: {
            const float out = float(value);
            std::memcpy(at, &out, 4);
            return;
        }
        case OutType::s32: std::memcpy(at, &integer, 4); return;
        case OutType::f16: {
            const half out = half(float(value));
            std::memcpy(at, &out, 2);
            return;
        }
        case OutType::bf16: {
            const bfloat16_t out = bfloat16_t(float(value));
            std::memcpy(at, &out, 2);
            return;
        }
        case OutType::s8: {
            const double rounded = std::nearbyint(value);
            *at = uint8_t(int8_t(rounded < -128 ? -128 : rounded > 127 ? 127 : rounded));
            return;
        }
    }
}

}  // namespace

void fixpipe(FixpipeTarget target, const View& source, bool from_integer, const View* scales, bool row_major,
             const AscendC::FixpipeParamsV220& p) {
    Operation operation(pipe_fix, "Fixpipe");
    Core& on = operation.on();
    if (!on.chip->has_fixpipe) fail(FaultKind::model, "%s has no Fixpipe", on.chip->name);
    if (source.space != Space::l0c) fail(FaultKind::model, "Fixpipe from %s", space_name(source.space));
    if (!takes(p.quantPre, from_integer, target.type)) fail(FaultKind::dtype, "Fixpipe: mode %d does not fit its types", int(p.quantPre));
    if (is_vector_mode(p.quantPre) != (scales != nullptr)) fail(FaultKind::limit, "Fixpipe: mode %d and its scales do not fit", int(p.quantPre));
    if (p.nSize == 0 || p.nSize > most_extent) fail(FaultKind::limit, "Fixpipe of nSize %u", p.nSize);
    if (!row_major && p.nSize % 16 != 0) fail(FaultKind::limit, "Fixpipe to NZ of nSize %u, no multiple of 16", p.nSize);
    if (p.mSize == 0 || (row_major && p.mSize > 8192)) fail(FaultKind::limit, "Fixpipe of mSize %u", p.mSize);
    if (p.srcStride % 16 != 0 || p.srcStride < p.mSize)
        fail(FaultKind::limit, "Fixpipe with srcStride %u for %u rows: it is their number rounded up to 16", p.srcStride, p.mSize);
    if (p.ndNum != 1) fail(FaultKind::model, "Fixpipe of several matrices is not modelled");
    if (scales != nullptr && p.nSize > 256) fail(FaultKind::limit, "Fixpipe takes scales of 256 columns at a time");
    const uint32_t column_blocks = ceil_div(p.nSize, 16);
    const uint64_t last = (uint64_t(column_blocks - 1) * p.srcStride + p.mSize) * 16;
    const uint8_t* from = operation.reads(span_of(source, 0, last * 4, "Fixpipe"));
    const uint8_t* scale_at = scales ? operation.reads(span_of(*scales, 0, uint64_t(p.nSize) * 8, "Fixpipe")) : nullptr;
    std::vector<float> scale(p.nSize, 1);
    if (is_scaled(p.quantPre))
        for (uint32_t j = 0; j < p.nSize; ++j) {
            uint64_t bits = p.deqScalar;
            if (scale_at) std::memcpy(&bits, scale_at + 8ull * j, 8);
            scale[j] = scale_of(bits);
        }
    for (uint32_t i = 0; i < p.mSize; ++i) {
        const uint64_t row_bytes = uint64_t(row_major ? p.nSize : 16) * target.element;
        for (uint32_t block = 0; block < (row_major ? 1 : column_blocks); ++block) {
            // Rows of the whole width, or of one column block whose rows lie one after the other.
            const uint64_t at = row_major ? uint64_t(i) * p.dstStride * target.element
                                          : uint64_t(block) * p.dstStride * block_bytes + uint64_t(i) * row_bytes;
            uint8_t* to = operation.writes(target.address + at, row_bytes);
            const uint32_t first = block * 16, count = row_major ? p.nSize : 16;
            for (uint32_t j = 0; j < count; ++j) {
                const size_t index = l0c_index(i, first + j, p.srcStride);
                int32_t integer;
                std::memcpy(&integer, from + index * 4, 4);
                double value = from_integer ? double(integer) : double(bits_to_float(uint32_t(integer)));
                value *= scale[first + j];
                if (p.reluEn && value < 0) value = 0;
                store(to + uint64_t(j) * target.element, target.type, value, p.reluEn && integer < 0 ? 0 : integer);
            }
            on.counters.l0c_out += row_bytes;
        }
    }
}

}  // namespace hew_ascend

#include "hew_ascend/copy.h"

namespace hew_ascend {
namespace {

constexpr uint32_t most_blocks = 4095;
constexpr uint32_t most_pad_bytes = 2097151;
constexpr uint32_t most_nd_rows = 16384;

void check_aligned(const View& view, const char* name) {
    const uint32_t unit = view.space == Space::l0a || view.space == Space::l0b ? 512 : block_bytes;
    if (view.offset % unit != 0)
        fail(FaultKind::alignment, "%s at %s offset %u, which is no multiple of %u", name, space_name(view.space), view.offset, unit);
}

void count_in(Core& core, Space space, uint64_t bytes) {
    (space == Space::ub ? core.counters.gm_to_ub : core.counters.gm_to_l1) += bytes;
}

template <typename T>
void add_into(uint8_t* to, const uint8_t* from, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i += sizeof(T)) {
        T sum, term;
        std::memcpy(&sum, to + i, sizeof(T));
        std::memcpy(&term, from + i, sizeof(T));
        sum = T(sum + term);
        std::memcpy(to + i, &sum, sizeof(T));
    }
}

void add_elements(uint8_t* to, const uint8_t* from, uint64_t bytes, const char* element) {
    if (std::strcmp(element, "f32") == 0) return add_into<float>(to, from, bytes);
    if (std::strcmp(element, "f16") == 0) return add_into<half>(to, from, bytes);
    if (std::strcmp(element, "s32") == 0) return add_into<int32_t>(to, from, bytes);
    fail(FaultKind::dtype, "atomic addition of elements of another type than f32, f16 and s32");
}

void fill_padding(uint8_t* at, uint32_t bytes, const Padding& padding) {
    for (uint32_t i = 0; i < bytes; i += padding.element) std::memcpy(at + i, &padding.value, padding.element);
}

}  // namespace

void check_copy(const AscendC::DataCopyParams& params) {
    if (params.blockCount > most_blocks) fail(FaultKind::limit, "DataCopy of %u blocks, more than %u", params.blockCount, most_blocks);
}

void check_pad(const AscendC::DataCopyExtParams& params, uint32_t element) {
    if (params.blockCount > most_blocks || params.blockLen > most_pad_bytes)
        fail(FaultKind::limit, "DataCopyPad of %u blocks of %u bytes", params.blockCount, params.blockLen);
    if (params.blockLen % element != 0)
        fail(FaultKind::limit, "DataCopyPad of %u bytes, no whole number of elements", params.blockLen);
    if (!core().chip->has_data_copy_pad) fail(FaultKind::model, "%s has no DataCopyPad", core().chip->name);
}

void copy_in(const View& destination, const uint8_t* source, Strided blocks, const Padding* padding, const char* name) {
    Operation operation(pipe_mte2, name);
    check_aligned(destination, name);
    const uint32_t left = padding ? padding->left : 0;
    const uint32_t right = padding ? padding->right : 0;
    if (left > block_bytes || right > block_bytes) fail(FaultKind::limit, "%s pads more than 32 bytes", name);
    for (uint32_t i = 0; i < blocks.count; ++i) {
        const uint64_t at = i * blocks.destination_step;
        const uint8_t* from = operation.reads(source + i * blocks.source_step, blocks.bytes);
        // The chip writes whole blocks; bytes behind the padding are what they were or anything.
        uint8_t* to = operation.writes(span_of(destination, at, left + blocks.bytes + right, name));
        if (padding) {
            fill_padding(to, left, *padding);
            fill_padding(to + left + blocks.bytes, right, *padding);
        }
        std::memcpy(to + left, from, blocks.bytes);
        count_in(operation.on(), destination.space, blocks.bytes);
    }
}

void copy_out(uint8_t* destination, const View& source, Strided blocks, const char* name, const char* element) {
    Operation operation(pipe_mte3, name);
    check_aligned(source, name);
    const bool adds = operation.on().atomic_add;
    for (uint32_t i = 0; i < blocks.count; ++i) {
        const uint8_t* from = operation.reads(span_of(source, i * blocks.source_step, blocks.bytes, name));
        uint8_t* to = destination + i * blocks.destination_step;
        if (adds) {
            add_elements(operation.adds(to, blocks.bytes), from, blocks.bytes, element);
        } else {
            std::memcpy(operation.writes(to, blocks.bytes), from, blocks.bytes);
        }
        operation.on().counters.ub_to_gm += blocks.bytes;
    }
}

void copy_local(const View& destination, const View& source, Strided blocks, const char* name) {
    const bool from_l0c = source.space == Space::l0c;
    Operation operation(source.space == Space::l1 ? pipe_mte1 : destination.space == Space::l1 ? pipe_mte3 : pipe_v, name);
    if (from_l0c && operation.on().chip->layout == Layout::split)
        fail(FaultKind::model, "%s has no copy from L0C to UB", operation.on().chip->name);
    check_aligned(destination, name);
    check_aligned(source, name);
    for (uint32_t i = 0; i < blocks.count; ++i) {
        const uint8_t* from = operation.reads(span_of(source, i * blocks.source_step, blocks.bytes, name));
        std::memcpy(operation.writes(span_of(destination, i * blocks.destination_step, blocks.bytes, name)), from, blocks.bytes);
        if (from_l0c) operation.on().counters.l0c_out += blocks.bytes;
    }
}

void copy_nd2nz(const View& destination, const uint8_t* source, const AscendC::Nd2NzParams& p, uint32_t element) {
    Operation operation(pipe_mte2, "DataCopy ND to NZ");
    if (destination.space != Space::l1) fail(FaultKind::model, "DataCopy ND to NZ goes to L1");
    check_aligned(destination, operation.name());
    if (p.ndNum > most_blocks || p.nValue > most_nd_rows || p.dstNzC0Stride > most_nd_rows || p.dstNzNStride > most_nd_rows ||
        p.dstNzNStride == 0)
        fail(FaultKind::limit, "DataCopy ND to NZ: a field is above its limit");
    const uint32_t c0 = block_bytes / element;
    for (uint32_t matrix = 0; matrix < p.ndNum; ++matrix) {
        for (uint32_t row = 0; row < p.nValue; ++row) {
            const uint64_t row_at = (uint64_t(matrix) * p.srcNdMatrixStride + uint64_t(row) * p.srcDValue) * element;
            const uint8_t* from = operation.reads(source + row_at, uint64_t(p.dValue) * element);
            for (uint32_t column = 0; column < p.dValue; column += c0) {
                // Column blocks lie dstNzC0Stride blocks apart, rows dstNzNStride; the last block is filled with zeros.
                const uint64_t block = uint64_t(column / c0) * p.dstNzC0Stride + uint64_t(row) * p.dstNzNStride;
                const uint64_t at = block * block_bytes + uint64_t(matrix) * p.dstNzMatrixStride * element;
                uint8_t* to = operation.writes(span_of(destination, at, block_bytes, operation.name()));
                const uint32_t bytes = (p.dValue - column < c0 ? p.dValue - column : c0) * element;
                std::memcpy(to, from + uint64_t(column) * element, bytes);
                std::memset(to + bytes, 0, block_bytes - bytes);
            }
            operation.on().counters.gm_to_l1 += uint64_t(p.dValue) * element;
        }
    }
}

}  // namespace hew_ascend

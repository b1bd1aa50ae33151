// GlobalTensor and LocalTensor: typed views with the checks of access.h behind every use.
#pragma once
#include "hew_ascend/access.h"
#include "hew_ascend/scalar_types.h"

#define __gm__
#define __ubuf__
#define __aicore__
#define __global__
#define __inline__ inline
typedef uint8_t* GM_ADDR;

namespace AscendC {

enum class TPosition : uint8_t {
    GM, A1, A2, B1, B2, C1, C2, CO1, CO2, VECIN, VECOUT, VECCALC, LCM, C2PIPE2GM,
};
using QuePosition = TPosition;

enum class CacheMode { CACHE_MODE_DISABLE, CACHE_MODE_NORMAL };

}  // namespace AscendC

namespace hew_ascend {

using AscendC::TPosition;

constexpr Space space_of(TPosition position) {
    switch (position) {
        case TPosition::A1:
        case TPosition::B1:
        case TPosition::C1: return Space::l1;
        case TPosition::A2: return Space::l0a;
        case TPosition::B2: return Space::l0b;
        case TPosition::CO1: return Space::l0c;
        case TPosition::C2: return Space::bias_table;
        case TPosition::C2PIPE2GM: return Space::fixpipe_buffer;
        default: return Space::ub;
    }
}

// One buffer of a queue. Tensors remember the generation they were given, so that one used after FreeTensor is found.
struct Buffer {
    enum class State : uint8_t { free, owned, queued };
    Space space = Space::ub;
    uint32_t offset = 0;
    uint32_t bytes = 0;
    State state = State::free;
    uint32_t generation = 0;
    Clock filled;  // of the producer at EnQue
    Clock emptied; // of the consumer at FreeTensor
};

struct View {
    Space space = Space::ub;
    uint32_t offset = 0;  // bytes in the memory
    uint32_t bytes = 0;
    Buffer* buffer = nullptr;  // null for TBuf
    uint32_t generation = 0;
};

// The span of `count` elements of `size` bytes from the beginning of a view. Fails beyond its end, and for a tensor
// that does not belong to the kernel at this time.
LocalSpan span_of(const View& view, uint64_t byte_offset, uint64_t bytes, const char* name);

}  // namespace hew_ascend

namespace AscendC {

template <typename T>
class LocalTensor {
public:
    using PrimType = T;
    hew_ascend::View view;

    LocalTensor operator[](uint32_t element) const {
        LocalTensor part = *this;
        const uint64_t skipped = uint64_t(element) * sizeof(T);
        if (skipped > view.bytes)
            hew_ascend::fail(hew_ascend::FaultKind::bounds, "element %u is outside of a local tensor of %u", element,
                             GetSize());
        part.view.offset += uint32_t(skipped);
        part.view.bytes -= uint32_t(skipped);
        return part;
    }
    T GetValue(uint32_t element) const {
        hew_ascend::Operation operation(hew_ascend::pipe_s, "GetValue");
        ++operation.on().counters.scalar_accesses;
        T value;
        std::memcpy(&value, operation.reads(at(element, "GetValue")), sizeof(T));
        return value;
    }
    template <typename U>
    void SetValue(uint32_t element, U value) const {
        hew_ascend::Operation operation(hew_ascend::pipe_s, "SetValue");
        ++operation.on().counters.scalar_accesses;
        const T stored = static_cast<T>(value);
        std::memcpy(operation.writes(at(element, "SetValue")), &stored, sizeof(T));
    }
    template <typename U>
    LocalTensor<U> ReinterpretCast() const {
        return LocalTensor<U>{view};
    }
    uint32_t GetSize() const { return view.bytes / sizeof(T); }

private:
    hew_ascend::LocalSpan at(uint32_t element, const char* name) const {
        return hew_ascend::span_of(view, uint64_t(element) * sizeof(T), sizeof(T), name);
    }
};

template <typename T>
class GlobalTensor {
public:
    using PrimType = T;
    T* address = nullptr;
    uint64_t elements = 0;

    void SetGlobalBuffer(T* begin, uint64_t count = ~0ull) {
        address = begin;
        elements = count;
    }
    GlobalTensor operator[](uint64_t element) const {
        GlobalTensor part = *this;
        part.address += element;
        if (elements != ~0ull) {
            if (element > elements)
                hew_ascend::fail(hew_ascend::FaultKind::bounds, "element %llu is outside of a global tensor of %llu",
                                 (unsigned long long)element, (unsigned long long)elements);
            part.elements -= element;
        }
        return part;
    }
    T GetValue(uint64_t element) const {
        hew_ascend::Operation operation(hew_ascend::pipe_s, "GetValue");
        ++operation.on().counters.scalar_accesses;
        T value;
        std::memcpy(&value, operation.reads(bytes_at(element, 1, "GetValue"), sizeof(T)), sizeof(T));
        return value;
    }
    void SetValue(uint64_t element, T value) const {
        hew_ascend::Operation operation(hew_ascend::pipe_s, "SetValue");
        ++operation.on().counters.scalar_accesses;
        std::memcpy(operation.writes(bytes_at(element, 1, "SetValue"), sizeof(T)), &value, sizeof(T));
    }
    void SetL2CacheHint(CacheMode) const {}
    T* GetPhyAddr() const { return address; }
    uint64_t GetSize() const { return elements; }

    // The bytes of `count` elements, which must be inside the tensor.
    uint8_t* bytes_at(uint64_t element, uint64_t count, const char* name) const {
        if (elements != ~0ull && element + count > elements)
            hew_ascend::fail(hew_ascend::FaultKind::bounds, "%s touches elements [%llu, %llu) of a global tensor of %llu",
                             name, (unsigned long long)element, (unsigned long long)(element + count),
                             (unsigned long long)elements);
        if (reinterpret_cast<uintptr_t>(address) % sizeof(T) != 0)
            hew_ascend::fail(hew_ascend::FaultKind::alignment, "%s at a global address that is no multiple of %zu bytes", name,
                             sizeof(T));
        return reinterpret_cast<uint8_t*>(address + element);
    }
};

}  // namespace AscendC

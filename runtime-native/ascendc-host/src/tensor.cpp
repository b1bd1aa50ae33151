#include "hew_ascend/tensor.h"

namespace hew_ascend {

LocalSpan span_of(const View& view, uint64_t byte_offset, uint64_t bytes, const char* name) {
    if (view.buffer != nullptr) {
        if (view.generation != view.buffer->generation)
            fail(FaultKind::queue, "%s uses a tensor after FreeTensor", name);
        if (view.buffer->state == Buffer::State::queued)
            fail(FaultKind::queue, "%s uses a tensor between EnQue and DeQue", name);
    }
    if (byte_offset + bytes > view.bytes) {
        fail(FaultKind::bounds, "%s touches bytes [%llu, %llu) of a local tensor of %u in %s", name,
             (unsigned long long)byte_offset, (unsigned long long)(byte_offset + bytes), view.bytes,
             space_name(view.space));
    }
    return {view.space, view.offset + uint32_t(byte_offset), uint32_t(bytes)};
}

}  // namespace hew_ascend

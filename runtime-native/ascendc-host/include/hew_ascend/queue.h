// TPipe, TQue and TBuf: buffers in the local memories, and the order that queues give between pipes.
#pragma once
#include <deque>

#include "hew_ascend/tensor.h"

namespace AscendC {

using TEventID = int8_t;

#define HEW_ASCEND_EVENTS(event)                                                                                    \
    event(MTE2, V) event(V, MTE2) event(MTE3, V) event(V, MTE3) event(MTE2, MTE3) event(MTE3, MTE2) event(MTE2, MTE1) \
    event(MTE1, MTE2) event(MTE1, M) event(M, MTE1) event(M, FIX) event(FIX, M) event(M, V) event(V, M)              \
    event(MTE1, V) event(V, MTE1) event(V, S) event(S, V) event(MTE2, S) event(S, MTE2) event(MTE3, S)               \
    event(S, MTE3) event(MTE1, S) event(S, MTE1) event(M, S) event(S, M) event(FIX, S) event(S, FIX)                 \
    event(FIX, MTE2) event(MTE2, FIX) event(FIX, MTE3) event(MTE3, FIX) event(MTE3, MTE1) event(MTE1, MTE3)          \
    event(FIX, V) event(V, FIX) event(MTE1, FIX) event(FIX, MTE1) event(V, V)

enum class HardEvent : uint8_t {
#define HEW_ASCEND_NAME(from, to) from##_##to,
    HEW_ASCEND_EVENTS(HEW_ASCEND_NAME)
#undef HEW_ASCEND_NAME
    MAX
};

}  // namespace AscendC

namespace hew_ascend {

constexpr Pipe pipe_S = pipe_s, pipe_V = pipe_v, pipe_M = pipe_m, pipe_MTE1 = pipe_mte1, pipe_MTE2 = pipe_mte2,
               pipe_MTE3 = pipe_mte3, pipe_FIX = pipe_fix;

struct Event {
    const char* name;
    Pipe from, to;
};

inline const Event& event_of(AscendC::HardEvent event) {
    static const Event events[] = {
#define HEW_ASCEND_EVENT(from, to) {#from "_" #to, pipe_##from, pipe_##to},
        HEW_ASCEND_EVENTS(HEW_ASCEND_EVENT)
#undef HEW_ASCEND_EVENT
    };
    return events[int(event)];
}

constexpr int event_ids = 8;
constexpr int first_reserved_event_id = 6;

// The buffers and events of one kernel on one core.
struct PipeState {
    struct Flag {
        bool set = false;
        Clock clock;
    };
    uint32_t used[space_count] = {};
    int buffer_count = 0;
    int allocated[16] = {};  // tensors out of queues, by position
    Flag flags[int(AscendC::HardEvent::MAX)][event_ids];
    bool reserved_ids[int(AscendC::HardEvent::MAX)][event_ids] = {};
    std::deque<Buffer> buffers;
};

PipeState& pipe_state();

uint32_t allocate(Space space, uint64_t bytes, const char* what);

// The pipe that fills the buffers of a queue, and the one that empties them.
struct QueuePipes {
    Pipe producer, consumer;
};
QueuePipes pipes_of(TPosition position);

void set_flag(AscendC::HardEvent event, int id);
void wait_flag(AscendC::HardEvent event, int id);
int allocate_event(AscendC::HardEvent event, bool keep);
void release_event(AscendC::HardEvent event, int id);

class Queue {
public:
    void init(TPosition position, int depth, uint32_t count, uint32_t bytes);
    View allocate_tensor(TPosition position);
    void enqueue(const View& view, TPosition position, int depth);
    View dequeue(TPosition position);
    void free_tensor(const View& view, TPosition position);
    bool has_queued() const { return !queued_.empty(); }

private:
    std::deque<Buffer*> buffers_;
    std::deque<Buffer*> queued_;
};

}  // namespace hew_ascend

namespace AscendC {

template <TPosition position, int32_t depth, auto mask = 0>
class TQue {
public:
    template <typename T>
    LocalTensor<T> AllocTensor() {
        return {queue.allocate_tensor(position)};
    }
    template <typename T>
    bool EnQue(const LocalTensor<T>& tensor) {
        queue.enqueue(tensor.view, position, depth);
        return true;
    }
    template <typename T>
    LocalTensor<T> DeQue() {
        return {queue.dequeue(position)};
    }
    template <typename T>
    void FreeTensor(const LocalTensor<T>& tensor) {
        queue.free_tensor(tensor.view, position);
    }
    bool HasTensorInQue() const { return queue.has_queued(); }

    hew_ascend::Queue queue;
};

template <TPosition position = TPosition::LCM>
class TBuf {
public:
    template <typename T>
    LocalTensor<T> Get() {
        return {view};
    }
    template <typename T>
    LocalTensor<T> Get(uint32_t elements) {
        return {part(0, uint64_t(elements) * sizeof(T))};
    }
    template <typename T>
    LocalTensor<T> GetWithOffset(uint32_t elements, uint32_t byte_offset) {
        return {part(byte_offset, uint64_t(elements) * sizeof(T))};
    }

    hew_ascend::View view;

private:
    hew_ascend::View part(uint64_t offset, uint64_t bytes) const {
        const hew_ascend::LocalSpan span = hew_ascend::span_of(view, offset, bytes, "TBuf::Get");
        return {view.space, span.offset, span.bytes, nullptr, 0};
    }
};

class TPipe {
public:
    TPipe();
    TPipe(const TPipe&) = delete;

    template <TPosition position, int32_t depth, auto mask>
    bool InitBuffer(TQue<position, depth, mask>& queue, uint8_t count, uint32_t bytes) {
        queue.queue.init(position, depth, count, bytes);
        return true;
    }
    template <TPosition position>
    bool InitBuffer(TBuf<position>& buffer, uint32_t bytes) {
        const hew_ascend::Space space = hew_ascend::space_of(position);
        buffer.view = {space, hew_ascend::allocate(space, bytes, "InitBuffer"), bytes, nullptr, 0};
        return true;
    }
    template <HardEvent event>
    TEventID AllocEventID() {
        return TEventID(hew_ascend::allocate_event(event, true));
    }
    TEventID FetchEventID(HardEvent event) { return TEventID(hew_ascend::allocate_event(event, false)); }
    template <HardEvent event>
    void ReleaseEventID(TEventID id) {
        hew_ascend::release_event(event, id);
    }
};

TPipe* GetTPipePtr();

template <HardEvent event>
void SetFlag(int32_t id) {
    hew_ascend::set_flag(event, id);
}
template <HardEvent event>
void WaitFlag(int32_t id) {
    hew_ascend::wait_flag(event, id);
}

}  // namespace AscendC

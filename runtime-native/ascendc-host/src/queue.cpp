#include "hew_ascend/queue.h"

#include <algorithm>

#include "hew_ascend/run.h"

namespace hew_ascend {
namespace {

constexpr int most_buffers = 64;
constexpr int most_allocated = 8;

uint32_t rounded_up(uint64_t bytes, uint32_t unit) { return uint32_t((bytes + unit - 1) / unit * unit); }

// Local addresses are aligned for the unit that uses them.
uint32_t alignment_of(Space space) {
    switch (space) {
        case Space::l0a:
        case Space::l0b: return 512;
        case Space::l0c: return 1024;
        case Space::bias_table: return 64;
        case Space::fixpipe_buffer: return 128;
        default: return block_bytes;
    }
}

void check_event_id(int id, const Event& event) {
    if (id < 0 || id >= event_ids) fail(FaultKind::limit, "event id %d of %s is not in 0 to 7", id, event.name);
}

}  // namespace

uint32_t allocate(Space space, uint64_t bytes, const char* what) {
    PipeState& state = pipe_state();
    if (++state.buffer_count > most_buffers) fail(FaultKind::limit, "a kernel has at most %d buffers", most_buffers);
    const uint64_t all = core().memory(space).bytes.size();
    const uint32_t offset = rounded_up(state.used[int(space)], alignment_of(space));
    if (bytes == 0 || offset + rounded_up(bytes, block_bytes) > all) {
        fail(FaultKind::limit, "%s of %llu bytes does not fit in %s: %u of %llu bytes are taken", what,
             (unsigned long long)bytes, space_name(space), offset, (unsigned long long)all);
    }
    state.used[int(space)] = offset + rounded_up(bytes, block_bytes);
    return offset;
}

QueuePipes pipes_of(TPosition position) {
    switch (position) {
        case TPosition::VECIN: return {pipe_mte2, pipe_v};
        case TPosition::VECOUT: return {pipe_v, pipe_mte3};
        case TPosition::VECCALC: return {pipe_v, pipe_v};
        case TPosition::A1:
        case TPosition::B1:
        case TPosition::C1: return {pipe_mte2, pipe_mte1};
        case TPosition::A2:
        case TPosition::B2: return {pipe_mte1, pipe_m};
        case TPosition::CO1: return {pipe_m, core().chip->layout == Layout::split ? pipe_fix : pipe_v};
        case TPosition::C2: return {pipe_mte1, pipe_m};
        case TPosition::C2PIPE2GM: return {pipe_mte1, pipe_fix};
        default: fail(FaultKind::queue, "a queue cannot be at position %d", int(position));
    }
}

void Queue::init(TPosition position, int, uint32_t count, uint32_t bytes) {
    PipeState& state = pipe_state();
    const Space space = space_of(position);
    for (uint32_t i = 0; i < count; ++i) {
        Buffer& buffer = state.buffers.emplace_back();
        buffer.space = space;
        buffer.offset = allocate(space, bytes, "InitBuffer");
        buffer.bytes = bytes;
        buffers_.push_back(&buffer);
    }
}

View Queue::allocate_tensor(TPosition position) {
    for (Buffer* buffer : buffers_) {
        if (buffer->state != Buffer::State::free) continue;
        if (++pipe_state().allocated[int(position)] > most_allocated)
            fail(FaultKind::limit, "more than %d tensors of one position are allocated at once", most_allocated);
        core().seen[pipes_of(position).producer].join(buffer->emptied);
        buffer->state = Buffer::State::owned;
        // The next AllocTensor takes another buffer, if there is one: that is what double buffering is.
        buffers_.erase(std::find(buffers_.begin(), buffers_.end(), buffer));
        buffers_.push_back(buffer);
        return {buffer->space, buffer->offset, buffer->bytes, buffer, buffer->generation};
    }
    fail(FaultKind::queue, "AllocTensor on a queue whose %zu buffers are all in use", buffers_.size());
}

void Queue::enqueue(const View& view, TPosition position, int) {
    Buffer* buffer = view.buffer;
    if (buffer == nullptr || view.generation != buffer->generation || buffer->state != Buffer::State::owned)
        fail(FaultKind::queue, "EnQue of a tensor that was not allocated or is in a queue already");
    buffer->state = Buffer::State::queued;
    buffer->filled = core().clock_of(pipes_of(position).producer);
    queued_.push_back(buffer);
}

View Queue::dequeue(TPosition position) {
    if (queued_.empty()) fail(FaultKind::queue, "DeQue on an empty queue");
    Buffer* buffer = queued_.front();
    queued_.pop_front();
    buffer->state = Buffer::State::owned;
    core().seen[pipes_of(position).consumer].join(buffer->filled);
    return {buffer->space, buffer->offset, buffer->bytes, buffer, buffer->generation};
}

void Queue::free_tensor(const View& view, TPosition position) {
    Buffer* buffer = view.buffer;
    if (buffer == nullptr || view.generation != buffer->generation || buffer->state == Buffer::State::free)
        fail(FaultKind::queue, "FreeTensor of a tensor that is free already");
    if (buffer->state == Buffer::State::queued) fail(FaultKind::queue, "FreeTensor of a tensor that is in a queue");
    buffer->state = Buffer::State::free;
    ++buffer->generation;
    buffer->emptied = core().clock_of(pipes_of(position).consumer);
    --pipe_state().allocated[int(position)];
}

void set_flag(AscendC::HardEvent event, int id) {
    const Event& known = event_of(event);
    check_event_id(id, known);
    PipeState::Flag& flag = pipe_state().flags[int(event)][id];
    if (flag.set) fail(FaultKind::queue, "SetFlag %s %d is set again before it was waited for", known.name, id);
    flag = {true, core().clock_of(known.from)};
}

void wait_flag(AscendC::HardEvent event, int id) {
    const Event& known = event_of(event);
    check_event_id(id, known);
    PipeState::Flag& flag = pipe_state().flags[int(event)][id];
    if (!flag.set) fail(FaultKind::deadlock, "WaitFlag %s %d, and nothing has set it", known.name, id);
    flag.set = false;
    core().seen[known.to].join(flag.clock);
}

int allocate_event(AscendC::HardEvent event, bool keep) {
    PipeState& state = pipe_state();
    for (int id = 0; id < first_reserved_event_id; ++id) {
        if (state.reserved_ids[int(event)][id] || state.flags[int(event)][id].set) continue;
        state.reserved_ids[int(event)][id] = keep;
        return id;
    }
    fail(FaultKind::limit, "all event ids of %s are taken", event_of(event).name);
}

void release_event(AscendC::HardEvent event, int id) {
    const Event& known = event_of(event);
    check_event_id(id, known);
    bool& taken = pipe_state().reserved_ids[int(event)][id];
    if (!taken) fail(FaultKind::queue, "ReleaseEventID of %s %d, which is not taken", known.name, id);
    taken = false;
}

}  // namespace hew_ascend

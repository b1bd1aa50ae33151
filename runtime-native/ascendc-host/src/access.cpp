#include "hew_ascend/access.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

namespace hew_ascend {

Core* current = nullptr;

Core& core() {
    if (current == nullptr) fail(FaultKind::model, "AscendC is used outside of a kernel");
    return *current;
}

const char* pipe_name(Pipe pipe) {
    static const char* const names[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"};
    return names[pipe];
}

const char* space_name(Space space) {
    static const char* const names[] = {"UB", "L1", "L0A", "L0B", "L0C", "bias table", "fixpipe buffer"};
    return names[int(space)];
}

void Counters::add(const Counters& other) {
    gm_to_ub += other.gm_to_ub;
    ub_to_gm += other.ub_to_gm;
    gm_to_l1 += other.gm_to_l1;
    l1_to_l0 += other.l1_to_l0;
    l0c_out += other.l0c_out;
    vector_cycles += other.vector_cycles;
    cube_cycles += other.cube_cycles;
    scalar_accesses += other.scalar_accesses;
}

// ---- local memory ----

bool Operation::is_done(Pipe q, uint32_t number) const {
    if (q == pipe_ && (in_order_ || number == number_)) return true;
    return core_.is_done(pipe_, q, number);
}

void Operation::hazard(const char* what, Pipe other, LocalSpan span) {
    fail(FaultKind::hazard, "%s on pipe %s %s pipe %s in %s [%u, %u) without waiting for it", name_, pipe_name(pipe_), what,
         pipe_name(other), space_name(span.space), span.offset, span.offset + span.bytes);
}

uint8_t* Operation::local(LocalSpan span) {
    LocalMemory& memory = core_.memory(span.space);
    if (uint64_t(span.offset) + span.bytes > memory.bytes.size()) {
        fail(FaultKind::bounds, "%s touches %s [%u, %llu) of %zu bytes", name_, space_name(span.space), span.offset,
             (unsigned long long)span.offset + span.bytes, memory.bytes.size());
    }
    memory.used = std::max(memory.used, span.offset + span.bytes);
    return memory.bytes.data() + span.offset;
}

uint8_t* Operation::reads(LocalSpan span) {
    uint8_t* bytes = local(span);
    if (span.bytes == 0) return bytes;
    LocalMemory& memory = core_.memory(span.space);
    const uint32_t last = (span.offset + span.bytes - 1) / block_bytes;
    for (uint32_t i = span.offset / block_bytes; i <= last; ++i) {
        BlockUse& use = memory.blocks[i];
        if (use.written == 0) {
            fail(FaultKind::uninitialised, "%s reads %s [%u, %u), and nothing has written the block at %u", name_,
                 space_name(span.space), span.offset, span.offset + span.bytes, i * block_bytes);
        }
        if (!is_done(use.writer, use.written)) hazard("reads what was written by", use.writer, span);
        use.read[pipe_] = number_;
    }
    return bytes;
}

uint8_t* Operation::writes(LocalSpan span) {
    uint8_t* bytes = local(span);
    if (span.bytes == 0) return bytes;
    LocalMemory& memory = core_.memory(span.space);
    const uint32_t last = (span.offset + span.bytes - 1) / block_bytes;
    for (uint32_t i = span.offset / block_bytes; i <= last; ++i) {
        BlockUse& use = memory.blocks[i];
        if (use.written != 0 && !is_done(use.writer, use.written))
            hazard("overwrites what was written by", use.writer, span);
        for (int q = 0; q < pipe_count; ++q) {
            // A pipe begins its instructions in order, so it cannot overtake its own earlier reads; of the vector unit's
            // dependent instructions the manual asks for a barrier between any two.
            if ((q != pipe_ || q == pipe_v) && use.read[q] != 0 && !is_done(Pipe(q), use.read[q]))
                hazard("overwrites what is read by", Pipe(q), span);
        }
        use.written = number_;
        use.writer = pipe_;
    }
    return bytes;
}

void Operation::moves(LocalSpan from, LocalSpan to) {
    const uint8_t* source = local(from);
    BlockUse& use = core_.memory(from.space).blocks[from.offset / block_bytes];
    const bool is_written = use.written != 0;
    if (is_written) reads(from);
    std::memcpy(writes(to), source, block_bytes);
    if (!is_written) core_.memory(to.space).blocks[to.offset / block_bytes].written = 0;
}

void Operation::transposes(LocalSpan from, LocalSpan to) {
    const uint8_t* source = local(from);
    bool is_written = false;
    for (uint32_t row = 0; row < from.bytes; row += block_bytes) {
        if (core_.memory(from.space).blocks[(from.offset + row) / block_bytes].written == 0) continue;
        is_written = true;
        reads({from.space, from.offset + row, block_bytes});
    }
    uint8_t* target = writes(to);
    for (uint32_t row = 0; row < 16; ++row)
        for (uint32_t column = 0; column < 16; ++column) std::memcpy(target + (column * 16 + row) * 2, source + (row * 16 + column) * 2, 2);
    if (is_written) return;
    for (uint32_t row = 0; row < to.bytes; row += block_bytes) core_.memory(to.space).blocks[(to.offset + row) / block_bytes].written = 0;
}

// ---- global memory ----

namespace {

struct Region {
    uint64_t bytes;
    bool writable;
};

std::map<uintptr_t, Region> regions;

// One use of a byte of global memory.
struct Use {
    uint32_t number = 0;
    uint16_t core = 0;
    Pipe pipe = pipe_s;
    bool adds = false;
};

struct SlotUse {
    Use writer, reader;
};

constexpr uintptr_t page_bytes = 512;

struct Page {
    SlotUse bytes[page_bytes];
};

std::unordered_map<uintptr_t, Page> pages;

// Blocks of global memory that were touched, as bits of pages.
class Blocks {
public:
    void add(const uint8_t* begin, uint64_t bytes) {
        const uintptr_t first = reinterpret_cast<uintptr_t>(begin) / block_bytes;
        const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + bytes - 1) / block_bytes;
        for (uintptr_t block = first; block <= last;) {
            uint64_t& word = words_[block / 64];
            const uintptr_t end = std::min(last, block | 63);
            const uint64_t from = ~uint64_t{0} << block % 64;
            const uint64_t to = ~uint64_t{0} >> (63 - end % 64);
            word |= from & to;
            block = end + 1;
        }
    }
    uint64_t bytes() const {
        uint64_t count = 0;
        for (const auto& [at, word] : words_) count += uint64_t(__builtin_popcountll(word));
        return count * block_bytes;
    }
    void clear() { words_.clear(); }

private:
    std::unordered_map<uintptr_t, uint64_t> words_;
};

Blocks blocks_read, blocks_written, weights_read;

const Region& region_of(const char* name, const uint8_t* begin, uint64_t bytes) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(begin);
    auto next = regions.upper_bound(at);
    if (next != regions.begin()) {
        const auto& [start, region] = *std::prev(next);
        if (at + bytes <= start + region.bytes) return region;
        if (at < start + region.bytes) {
            fail(FaultKind::bounds, "%s touches bytes [%llu, %llu) of a global buffer of %llu bytes", name,
                 (unsigned long long)(at - start), (unsigned long long)(at - start + bytes),
                 (unsigned long long)region.bytes);
        }
    }
    fail(FaultKind::bounds, "%s touches global memory outside of all buffers", name);
}

}  // namespace

void register_global(const void* begin, uint64_t bytes, bool writable) {
    regions[reinterpret_cast<uintptr_t>(begin)] = {bytes, writable};
}

void forget_global() { regions.clear(); }

void reset_global_uses() {
    pages.clear();
    blocks_read.clear();
    blocks_written.clear();
    weights_read.clear();
}

Touched touched_global() {
    const uint64_t weights = weights_read.bytes();
    return {blocks_read.bytes() + weights, blocks_written.bytes(), weights};
}

void Operation::global_hazards(const uint8_t* begin, uint64_t bytes, bool writes, bool adds) {
    const uintptr_t first = reinterpret_cast<uintptr_t>(begin);
    const auto is_after = [&](const Use& use) {
        if (use.number == 0) return true;
        if (use.core == core_.index) return is_done(use.pipe, use.number);
        return use.number <= core_.acquired[use.core].last[use.pipe];
    };
    const auto clash = [&](const Use& use, const char* what) {
        fail(FaultKind::hazard, "%s on pipe %s of core %u %s pipe %s of core %u in global memory without waiting for it",
             name_, pipe_name(pipe_), core_.index, what, pipe_name(use.pipe), unsigned(use.core));
    };
    const Use own = {number_, uint16_t(core_.index), pipe_, adds};
    for (uintptr_t at = first; at < first + bytes;) {
        Page& page = pages[at / page_bytes];
        const uintptr_t end = std::min(first + bytes, (at / page_bytes + 1) * page_bytes);
        for (; at < end; ++at) {
            SlotUse& slot = page.bytes[at % page_bytes];
            const bool both_add = adds && slot.writer.adds;
            if (!both_add && !is_after(slot.writer))
                clash(slot.writer, writes ? "overwrites what was written by" : "reads what was written by");
            if (writes && !is_after(slot.reader)) clash(slot.reader, "overwrites what is read by");
            (writes ? slot.writer : slot.reader) = own;
        }
    }
}

const uint8_t* Operation::reads(const uint8_t* global, uint64_t bytes) {
    if (bytes == 0) return global;
    const bool writable = region_of(name_, global, bytes).writable;
    if (writable) global_hazards(global, bytes, false, false);
    (writable ? blocks_read : weights_read).add(global, bytes);
    return global;
}

uint8_t* Operation::writes(uint8_t* global, uint64_t bytes) {
    if (bytes == 0) return global;
    if (!region_of(name_, global, bytes).writable)
        fail(FaultKind::bounds, "%s writes to a global buffer that is read only", name_);
    global_hazards(global, bytes, true, false);
    blocks_written.add(global, bytes);
    return global;
}

uint8_t* Operation::adds(uint8_t* global, uint64_t bytes) {
    if (bytes == 0) return global;
    if (!region_of(name_, global, bytes).writable)
        fail(FaultKind::bounds, "%s writes to a global buffer that is read only", name_);
    global_hazards(global, bytes, true, true);
    blocks_written.add(global, bytes);
    return global;
}

}  // namespace hew_ascend

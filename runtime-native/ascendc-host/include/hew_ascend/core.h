// One core of the chip: its memories, the pipes that work on them side by side, and what each pipe knows to be done.
//
// A kernel runs on the host in the order in which its scalar unit issues instructions, so its results are those of a
// run in which every instruction waits for all before it. The chip promises less: instructions of different pipes, and
// dependent ones of one pipe, are ordered only by flags, queues and barriers. So every instruction is checked against
// vector clocks: `seen[p][q]` is the last instruction of pipe q that is known to be done before the next one of pipe p
// begins. A read of what was written later than that is a hazard, whatever the host computed.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "hew_ascend/chip.h"
#include "hew_ascend/fault.h"

namespace hew_ascend {

enum Pipe : uint8_t { pipe_s, pipe_v, pipe_m, pipe_mte1, pipe_mte2, pipe_mte3, pipe_fix, pipe_count };
const char* pipe_name(Pipe pipe);

enum class Space : uint8_t { ub, l1, l0a, l0b, l0c, bias_table, fixpipe_buffer };
constexpr int space_count = 7;
const char* space_name(Space space);

enum class Role : uint8_t { aiv, aic, both };

// Last instruction of every pipe that is known to be done.
struct Clock {
    uint32_t last[pipe_count] = {};
    void join(const Clock& other) {
        for (int q = 0; q < pipe_count; ++q)
            if (other.last[q] > last[q]) last[q] = other.last[q];
    }
};

// Bytes that hazards are followed by: a block, which is also what the chip aligns local addresses to.
constexpr uint32_t block_bytes = 32;

// Who used a block last.
struct BlockUse {
    uint32_t written = 0;  // instruction, 0 for never
    Pipe writer = pipe_s;
    uint32_t read[pipe_count] = {};
};

struct LocalMemory {
    std::vector<uint8_t> bytes;
    std::vector<BlockUse> blocks;
    uint32_t used = 0;  // nothing behind this byte was touched
};
constexpr uint32_t ceil_blocks(uint32_t bytes) { return (bytes + block_bytes - 1) / block_bytes; }

// Work done, in the units of the cost model of README.md.
struct Counters {
    uint64_t gm_to_ub = 0, ub_to_gm = 0, gm_to_l1 = 0, l1_to_l0 = 0, l0c_out = 0;  // bytes
    uint64_t vector_cycles = 0, cube_cycles = 0, scalar_accesses = 0;
    void add(const Counters& other);
};

struct Core {
    const Chip* chip = nullptr;
    Role role = Role::aiv;
    uint32_t index = 0;       // among all cores of the launch
    uint32_t block = 0;       // what GetBlockIdx() says
    uint32_t block_count = 0; // what GetBlockNum() says
    uint32_t sub_block = 0;

    LocalMemory memories[space_count];
    Clock seen[pipe_count];
    Clock issued;
    Counters counters;

    // For every core of the launch, what this one knows it to have done.
    std::vector<Clock> acquired;

    bool atomic_add = false;
    float deq_scale = 0;
    bool has_deq_scale = false;

    LocalMemory& memory(Space space) { return memories[int(space)]; }
    // Begins an instruction; its number.
    uint32_t issue(Pipe pipe) { return ++issued.last[pipe]; }
    // Whether instruction `number` of pipe `q` is done before what pipe `p` begins next. The scalar unit issues
    // everything, so what it has waited for is over for all pipes; what it wrote itself is not.
    bool is_done(Pipe p, Pipe q, uint32_t number) const {
        if (p == q && p == pipe_s) return true;
        if (number <= seen[p].last[q]) return true;
        return q != pipe_s && number <= seen[pipe_s].last[q];
    }
    // What pipe `p` knows to be done once its own work so far is.
    Clock clock_of(Pipe p) const {
        Clock clock = seen[p];
        clock.join(seen[pipe_s]);
        clock.last[p] = issued.last[p];
        return clock;
    }
};

// The core whose kernel is running.
extern Core* current;

Core& core();

}  // namespace hew_ascend

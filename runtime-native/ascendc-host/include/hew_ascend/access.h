// Checked access to local and global memory. An instruction is an `Operation`: it names its pipe, what it reads and
// what it writes, and is checked against bounds, alignment, initialisation and hazards before its bytes are touched.
#pragma once
#include "hew_ascend/core.h"

namespace hew_ascend {

struct LocalSpan {
    Space space;
    uint32_t offset;
    uint32_t bytes;
};

class Operation {
public:
    Operation(Pipe pipe, const char* name) : core_(core()), pipe_(pipe), name_(name), number_(core_.issue(pipe)) {}

    uint8_t* reads(LocalSpan span);
    uint8_t* writes(LocalSpan span);
    // Copies one block of 32 bytes. What nothing has written stays so: units move whole fractals, rows in use or not.
    void moves(LocalSpan from, LocalSpan to);
    // The same for a fractal of 16 by 16 elements of 16 bits that is transposed on its way: rows that nothing has written
    // become columns of anything, so a product must end before them.
    void transposes(LocalSpan from, LocalSpan to);
    const uint8_t* reads(const uint8_t* global, uint64_t bytes);
    uint8_t* writes(uint8_t* global, uint64_t bytes);
    // A write that adds: any order of these is right.
    uint8_t* adds(uint8_t* global, uint64_t bytes);

    // For instructions that the unit itself keeps in order with the one before.
    void follows_own_pipe() { in_order_ = true; }

    Pipe pipe() const { return pipe_; }
    const char* name() const { return name_; }
    Core& on() { return core_; }

private:
    uint8_t* local(LocalSpan span);
    bool is_done(Pipe q, uint32_t number) const;
    [[noreturn]] void hazard(const char* what, Pipe other, LocalSpan span);
    void global_hazards(const uint8_t* begin, uint64_t bytes, bool writes, bool adds);

    Core& core_;
    Pipe pipe_;
    const char* name_;
    uint32_t number_;
    bool in_order_ = false;
};

// Global memory that kernels may touch. Of read-only regions (weights) no uses are kept.
void register_global(const void* begin, uint64_t bytes, bool writable);
void forget_global();
// Forgets who used what; all earlier launches are over.
void reset_global_uses();

// Bytes of global memory that were read and written since then, each counted once, in whole blocks of 32 bytes. `weights`
// is the part of `read` that is read only.
struct Touched {
    uint64_t read, written, weights;
};
Touched touched_global();

}  // namespace hew_ascend

// Faults: what a kernel did that the chip forbids or that is undefined there.
#pragma once
#include <string>

namespace hew_ascend {

enum class FaultKind {
    bounds,         // an address outside of a buffer
    alignment,      // an address or length the unit cannot take
    hazard,         // a use of data whose copy or computation was not waited for
    uninitialised,  // a read of memory that nothing wrote
    queue,          // a queue or event used against its protocol
    limit,          // a field, size or count above what the instruction takes
    dtype,          // a data type the instruction does not take on this chip
    deadlock,       // a wait that nothing ends
    model,          // what the model of the chip does not know
};

struct Fault {
    FaultKind kind;
    std::string message;
};

const char* fault_name(FaultKind kind);

// Ends the kernel on this core. The launch reports the fault with the kernel's name and the core.
[[noreturn]] void fail(FaultKind kind, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace hew_ascend

#include "hew_ascend/fault.h"

#include <cstdarg>
#include <cstdio>

namespace hew_ascend {

const char* fault_name(FaultKind kind) {
    switch (kind) {
        case FaultKind::bounds: return "bounds";
        case FaultKind::alignment: return "alignment";
        case FaultKind::hazard: return "hazard";
        case FaultKind::uninitialised: return "uninitialised";
        case FaultKind::queue: return "queue";
        case FaultKind::limit: return "limit";
        case FaultKind::dtype: return "dtype";
        case FaultKind::deadlock: return "deadlock";
        case FaultKind::model: return "model";
    }
    return "unknown";
}

void fail(FaultKind kind, const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    throw Fault{kind, text};
}

}  // namespace hew_ascend

#include "hew_ascend/library.h"

#include <cstring>
#include <string>
#include <vector>

#include "hew_ascend/access.h"
#include "hew_ascend/call.h"
#include "hew_ascend/run.h"

namespace hew_ascend {
namespace {

// In the order of KernelType.
constexpr const char* type_names[] = {"AICORE",      "MIX_VECTOR_CORE", "AIV_ONLY",    "AIC_ONLY",
                                      "MIX_AIV_1_0", "MIX_AIC_1_0",     "MIX_AIC_1_1", "MIX_AIC_1_2"};

thread_local std::string problem;

const hew_ascend_kernel* find_kernel(const char* name) {
    for (const hew_ascend_kernel* kernel = hew_ascend_kernels; kernel->name != nullptr; ++kernel)
        if (std::strcmp(kernel->name, name) == 0) return kernel;
    return nullptr;
}

const KernelType* find_type(const char* name) {
    static constexpr KernelType types[] = {KernelType::aicore,      KernelType::mix_vector_core, KernelType::aiv_only,
                                           KernelType::aic_only,    KernelType::mix_aiv_1_0,     KernelType::mix_aic_1_0,
                                           KernelType::mix_aic_1_1, KernelType::mix_aic_1_2};
    for (const KernelType& type : types)
        if (std::strcmp(type_names[int(type)], name) == 0) return &type;
    return nullptr;
}

hew_ascend_counters counters_of(const Counters& c) {
    return {c.gm_to_ub, c.ub_to_gm,      c.gm_to_l1,    c.l1_to_l0,
            c.l0c_out,  c.vector_cycles, c.cube_cycles, c.scalar_accesses};
}

const char* say(const std::string& text) {
    problem = text;
    return problem.c_str();
}

}  // namespace
}  // namespace hew_ascend

void hew_ascend_memory(const void* begin, uint64_t bytes, uint64_t read_only_bytes) {
    hew_ascend::forget_global();
    if (read_only_bytes > 0) hew_ascend::register_global(begin, read_only_bytes, false);
    if (bytes > read_only_bytes)
        hew_ascend::register_global(static_cast<const char*>(begin) + read_only_bytes, bytes - read_only_bytes, true);
}

const char* hew_ascend_launch(const char* chip, const char* kernel, uint32_t blocks, const uint64_t* words, size_t count,
                              hew_ascend_work* work) {
    using namespace hew_ascend;
    const Chip* found_chip = find_chip(chip);
    const hew_ascend_kernel* found = find_kernel(kernel);
    const KernelType* type = found == nullptr ? nullptr : find_type(found->type);
    if (found_chip == nullptr) return say(std::string("there is no model of chip ") + chip);
    if (type == nullptr) return say("it is not among the compiled kernels, or of a type that is not known");
    const std::vector<uint64_t> arguments(words, words + count);
    const LaunchResult result = launch(*found_chip, *type, blocks, [&] { call(found->function, arguments); });
    const Touched touched = touched_global();
    *work = {counters_of(result.total), counters_of(result.busiest), touched.read, touched.written, touched.weights};
    if (!result.has_fault) return nullptr;
    return say(std::string(fault_name(result.fault.kind)) + ": " + result.fault.message + " (core " + std::to_string(result.core) + ")");
}

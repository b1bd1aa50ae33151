#include "hew_ascend/run.h"

#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>

#include "hew_ascend/access.h"

namespace hew_ascend {
namespace {

constexpr size_t stack_bytes = 256 * 1024;
constexpr int cross_core_flags = 16;
constexpr int most_pending = 15;  // a cross-core flag counts to 15
constexpr int first_sync_all_flag = 11, last_sync_all_flag = 14;

// What a waiting core waits for.
struct Wait {
    enum class For : uint8_t { nothing, everyone, flag } what = For::nothing;
    bool vector_only = false;
    int flag = 0;
    uint32_t sender = 0;  // index of the core that has to set the flag
};

// What a core has done when it sets a flag, and what it knows others to have done by then.
struct Sent {
    Clock own;
    std::vector<Clock> acquired;
};

struct Fiber {
    Core core;
    std::unique_ptr<PipeState> pipe;
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
    Wait wait;
    // For each flag and core that has set it, one entry for each set.
    std::map<uint32_t, std::deque<Sent>> pending[cross_core_flags];

    bool has_pending(int flag, uint32_t sender) const {
        const auto found = pending[flag].find(sender);
        return found != pending[flag].end() && !found->second.empty();
    }
};

struct Launch {
    const Chip* chip;
    KernelType type;
    const std::function<void()>* kernel;
    std::vector<std::unique_ptr<Fiber>> fibers;
    Fiber* running = nullptr;
    ucontext_t scheduler;
    LaunchResult result;
};

Launch* active = nullptr;

bool has_cubes(KernelType type) {
    return type != KernelType::aiv_only && type != KernelType::mix_aiv_1_0 && type != KernelType::mix_vector_core;
}

uint32_t vectors_per_block(KernelType type) {
    switch (type) {
        case KernelType::mix_aic_1_2: return 2;
        case KernelType::aic_only:
        case KernelType::mix_aic_1_0: return 0;
        default: return 1;
    }
}

// Memories and stacks of cores that have ended, for the next launch: clearing what was used takes less than making all
// anew.
struct Spares {
    std::vector<LocalMemory> memories;
    std::vector<std::unique_ptr<char[]>> stacks;
};
Spares spares;

LocalMemory memory_of(uint32_t bytes) {
    const auto found = std::find_if(spares.memories.begin(), spares.memories.end(), [&](const LocalMemory& m) { return m.bytes.size() == bytes; });
    LocalMemory memory;
    if (found == spares.memories.end()) {
        memory.bytes.assign(bytes, 0xff);  // NaN in half, bfloat16 and float
        memory.blocks.assign((bytes + block_bytes - 1) / block_bytes, BlockUse{});
        return memory;
    }
    memory = std::move(*found);
    spares.memories.erase(found);
    const uint32_t used = std::min<uint32_t>(ceil_blocks(memory.used) * block_bytes, bytes);
    std::fill_n(memory.bytes.begin(), used, uint8_t(0xff));
    std::fill_n(memory.blocks.begin(), ceil_blocks(used), BlockUse{});
    memory.used = 0;
    return memory;
}

std::unique_ptr<char[]> make_stack() {
    if (spares.stacks.empty()) return std::unique_ptr<char[]>(new char[stack_bytes]);
    std::unique_ptr<char[]> stack = std::move(spares.stacks.back());
    spares.stacks.pop_back();
    return stack;
}

void keep_for_next(Launch& launch) {
    for (auto& fiber : launch.fibers) {
        for (LocalMemory& memory : fiber->core.memories)
            if (!memory.bytes.empty()) spares.memories.push_back(std::move(memory));
        spares.stacks.push_back(std::move(fiber->stack));
    }
}

void prepare(Core& core, const Chip& chip, Role role) {
    core.chip = &chip;
    core.role = role;
    if (role != Role::aic) core.memory(Space::ub) = memory_of(chip.ub);
    if (role == Role::aiv) return;
    core.memory(Space::l1) = memory_of(chip.l1);
    core.memory(Space::l0a) = memory_of(chip.l0a);
    core.memory(Space::l0b) = memory_of(chip.l0b);
    core.memory(Space::l0c) = memory_of(chip.l0c);
    core.memory(Space::bias_table) = memory_of(chip.bias_table);
    core.memory(Space::fixpipe_buffer) = memory_of(chip.fixpipe_buffer);
}

void add_core(Launch& launch, Role role, uint32_t block, uint32_t block_count, uint32_t sub_block) {
    auto fiber = std::make_unique<Fiber>();
    Core& core = fiber->core;
    prepare(core, *launch.chip, role);
    core.index = uint32_t(launch.fibers.size());
    core.block = block;
    core.block_count = block_count;
    core.sub_block = sub_block;
    fiber->pipe = std::make_unique<PipeState>();
    fiber->stack = make_stack();
    launch.fibers.push_back(std::move(fiber));
}

void add_cores(Launch& launch, uint32_t block_count) {
    const uint32_t vectors = vectors_per_block(launch.type);
    if (launch.chip->layout == Layout::fused) {
        for (uint32_t block = 0; block < block_count; ++block) add_core(launch, Role::both, block, block_count, 0);
    } else {
        for (uint32_t block = 0; block < block_count; ++block) {
            if (has_cubes(launch.type)) add_core(launch, Role::aic, block, block_count, 0);
            for (uint32_t sub = 0; sub < vectors; ++sub)
                add_core(launch, Role::aiv, block * vectors + sub, block_count, sub);
        }
    }
    for (auto& fiber : launch.fibers) fiber->core.acquired.resize(launch.fibers.size());
}

void check_blocks(const Launch& launch, uint32_t block_count) {
    const bool cubes = launch.chip->layout == Layout::fused || has_cubes(launch.type);
    const uint32_t most = cubes ? launch.chip->cube_cores : launch.chip->vector_cores;
    if (block_count == 0 || block_count > most)
        fail(FaultKind::limit, "%u blocks are launched; %s has %u cores of this type", block_count, launch.chip->name, most);
}

// What every kernel must have put back at its end.
void check_end(const PipeState& state) {
    for (const Buffer& buffer : state.buffers) {
        if (buffer.state == Buffer::State::queued) fail(FaultKind::queue, "a tensor is left in a queue at the end");
        if (buffer.state == Buffer::State::owned) fail(FaultKind::queue, "a tensor is not freed at the end");
    }
    for (int event = 0; event < int(AscendC::HardEvent::MAX); ++event)
        for (int id = 0; id < event_ids; ++id) {
            if (!state.flags[event][id].set) continue;
            fail(FaultKind::queue, "flag %s %d is set at the end and nothing waits for it",
                 event_of(AscendC::HardEvent(event)).name, id);
        }
}

void run_fiber() {
    Fiber& fiber = *active->running;
    try {
        (*active->kernel)();
        check_end(*fiber.pipe);
        if (fiber.core.atomic_add) fail(FaultKind::queue, "atomic addition is still on at the end: SetAtomicNone is missing");
    } catch (const Fault& fault) {
        if (!active->result.has_fault) {
            active->result.has_fault = true;
            active->result.fault = fault;
            active->result.core = fiber.core.index;
        }
    }
    fiber.done = true;
    swapcontext(&fiber.context, &active->scheduler);
}

void resume(Launch& launch, Fiber& fiber) {
    launch.running = &fiber;
    current = &fiber.core;
    swapcontext(&launch.scheduler, &fiber.context);
    current = nullptr;
}

void yield() { swapcontext(&active->running->context, &active->scheduler); }

bool takes_part(const Fiber& fiber, bool vector_only) { return !vector_only || fiber.core.role != Role::aic; }

// Whether all cores that take part wait for everyone; a core that has ended can no longer come.
bool everyone_waits(const Launch& launch, bool vector_only) {
    return std::all_of(launch.fibers.begin(), launch.fibers.end(), [&](const auto& fiber) {
        if (!takes_part(*fiber, vector_only)) return true;
        return !fiber->done && fiber->wait.what == Wait::For::everyone && fiber->wait.vector_only == vector_only;
    });
}

// Everything that any of them has done is now known to each of them.
void meet(Launch& launch, bool vector_only) {
    std::vector<Clock> all(launch.fibers.size());
    for (const auto& fiber : launch.fibers) {
        if (!takes_part(*fiber, vector_only)) continue;
        all[fiber->core.index].join(fiber->core.issued);
        for (size_t i = 0; i < all.size(); ++i) all[i].join(fiber->core.acquired[i]);
    }
    for (auto& fiber : launch.fibers) {
        if (!takes_part(*fiber, vector_only)) continue;
        fiber->core.acquired = all;
        fiber->wait = {};
    }
}

bool can_run(const Fiber& fiber) {
    if (fiber.done) return false;
    switch (fiber.wait.what) {
        case Wait::For::nothing: return true;
        case Wait::For::flag: return fiber.has_pending(fiber.wait.flag, fiber.wait.sender);
        case Wait::For::everyone: return false;
    }
    return false;
}

// A set that nothing has waited for would be met by the next kernel.
void check_cross_core_flags(Launch& launch) {
    if (launch.result.has_fault) return;
    for (const auto& fiber : launch.fibers)
        for (int flag = 0; flag < cross_core_flags; ++flag)
            for (const auto& [sender, sets] : fiber->pending[flag]) {
                if (sets.empty()) continue;
                launch.result.has_fault = true;
                launch.result.core = fiber->core.index;
                launch.result.fault = {FaultKind::queue, "cross-core flag " + std::to_string(flag) + " is set at the end and nothing waits for it"};
                return;
            }
}

void run_all(Launch& launch) {
    for (auto& fiber : launch.fibers) {
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack.get();
        fiber->context.uc_stack.ss_size = stack_bytes;
        fiber->context.uc_link = nullptr;
        makecontext(&fiber->context, run_fiber, 0);
    }
    while (!launch.result.has_fault) {
        bool progress = false;
        for (auto& fiber : launch.fibers) {
            if (launch.result.has_fault || !can_run(*fiber)) continue;
            resume(launch, *fiber);
            progress = true;
        }
        for (const bool vector_only : {true, false}) {
            const auto waits = [&](const auto& fiber) {
                return !fiber->done && fiber->wait.what == Wait::For::everyone && fiber->wait.vector_only == vector_only;
            };
            if (std::any_of(launch.fibers.begin(), launch.fibers.end(), waits) && everyone_waits(launch, vector_only)) {
                meet(launch, vector_only);
                progress = true;
            }
        }
        if (progress) continue;
        const auto stuck = std::find_if(launch.fibers.begin(), launch.fibers.end(), [](const auto& fiber) { return !fiber->done; });
        if (stuck == launch.fibers.end()) return check_cross_core_flags(launch);
        launch.result.has_fault = true;
        launch.result.core = (*stuck)->core.index;
        launch.result.fault = {FaultKind::deadlock, (*stuck)->wait.what == Wait::For::flag
                                                        ? "a core waits for a cross-core flag that nothing sets"
                                                        : "a core waits in SyncAll for cores that do not come"};
    }
}

void total_counters(Launch& launch) {
    const auto most = [](uint64_t& a, uint64_t b) { a = std::max(a, b); };
    for (const auto& fiber : launch.fibers) {
        const Counters& own = fiber->core.counters;
        Counters& busiest = launch.result.busiest;
        launch.result.total.add(own);
        most(busiest.gm_to_ub, own.gm_to_ub);
        most(busiest.ub_to_gm, own.ub_to_gm);
        most(busiest.gm_to_l1, own.gm_to_l1);
        most(busiest.l1_to_l0, own.l1_to_l0);
        most(busiest.l0c_out, own.l0c_out);
        most(busiest.vector_cycles, own.vector_cycles);
        most(busiest.cube_cycles, own.cube_cycles);
        most(busiest.scalar_accesses, own.scalar_accesses);
    }
}

Launch& launched() {
    if (active == nullptr || active->running == nullptr) fail(FaultKind::model, "AscendC is used outside of a kernel");
    return *active;
}

void check_flag(int flag) {
    if (flag < 0 || flag >= cross_core_flags) fail(FaultKind::limit, "cross-core flag %d is not in 0 to 15", flag);
    if (flag >= first_sync_all_flag && flag <= last_sync_all_flag)
        fail(FaultKind::limit, "cross-core flag %d is one that SyncAll uses", flag);
}

// Whether a set of this mode by one core reaches the other.
bool reaches(const Core& from, const Core& to, int mode) {
    switch (mode) {
        case 0: return from.role == to.role;
        case 1: return from.role == Role::aiv && to.role == Role::aiv && from.block / 2 == to.block / 2;
        case 2: {
            const uint32_t group = vectors_per_block(launched().type);
            const auto block = [&](const Core& core) { return core.role == Role::aiv ? core.block / group : core.block; };
            return from.role != to.role && block(from) == block(to);
        }
        default: fail(FaultKind::limit, "cross-core mode %d is not 0, 1 or 2", mode);
    }
}

}  // namespace

PipeState& pipe_state() { return *launched().running->pipe; }

LaunchResult launch(const Chip& chip, KernelType type, uint32_t block_count, const std::function<void()>& kernel) {
    Launch launch{&chip, type, &kernel, {}, nullptr, {}, {}};
    try {
        check_blocks(launch, block_count);
    } catch (const Fault& fault) {
        launch.result.has_fault = true;
        launch.result.fault = fault;
        return launch.result;
    }
    add_cores(launch, block_count);
    reset_global_uses();
    active = &launch;
    run_all(launch);
    active = nullptr;
    current = nullptr;
    total_counters(launch);
    keep_for_next(launch);
    return launch.result;
}

void declare_kernel_type(KernelType type) {
    if (type != launched().type) fail(FaultKind::model, "the kernel declares another type than it is launched as");
}

void sync_all(bool vector_only) {
    Launch& launch = launched();
    const KernelType type = launch.type;
    if (launch.chip->layout == Layout::split) {
        if (type == KernelType::aiv_only || type == KernelType::aic_only)
            fail(FaultKind::deadlock, "SyncAll needs a kernel type with hardware synchronisation (MIX_…)");
        if (!vector_only && type == KernelType::mix_aiv_1_0)
            fail(FaultKind::deadlock, "SyncAll<false> in a kernel of vector cores only never ends");
    }
    barrier(pipe_count);
    launch.running->wait = {Wait::For::everyone, vector_only, 0, 0};
    yield();
}

void cross_core_set(int mode, Pipe pipe, int flag) {
    Launch& launch = launched();
    check_flag(flag);
    if (pipe == pipe_s || pipe >= pipe_count) fail(FaultKind::limit, "CrossCoreSetFlag cannot be on PIPE_S or PIPE_ALL");
    const Core& own = launch.running->core;
    const Clock done = own.clock_of(pipe);
    for (auto& fiber : launch.fibers) {
        if (!reaches(own, fiber->core, mode)) continue;
        auto& pending = fiber->pending[flag][own.index];
        if (int(pending.size()) >= most_pending) fail(FaultKind::limit, "cross-core flag %d counts above 15", flag);
        pending.push_back({done, own.acquired});
    }
}

void cross_core_wait(int mode, int flag) {
    Launch& launch = launched();
    check_flag(flag);
    Fiber& own = *launch.running;
    // A wait takes one set of each core that reaches this one.
    for (const auto& fiber : launch.fibers) {
        const uint32_t sender = fiber->core.index;
        if (!reaches(fiber->core, own.core, mode)) continue;
        if (!own.has_pending(flag, sender)) {
            own.wait = {Wait::For::flag, false, flag, sender};
            yield();
            own.wait = {};
        }
        auto& pending = own.pending[flag][sender];
        const Sent& sent = pending.front();
        own.core.acquired[sender].join(sent.own);
        for (size_t i = 0; i < sent.acquired.size(); ++i) own.core.acquired[i].join(sent.acquired[i]);
        pending.pop_front();
    }
}

void barrier(int pipe) {
    Core& own = core();
    if (pipe < pipe_count) {
        own.seen[pipe].last[pipe] = own.issued.last[pipe];
        return;
    }
    for (Clock& seen : own.seen) seen = own.issued;
}

}  // namespace hew_ascend

namespace AscendC {

namespace {
TPipe* last_pipe = nullptr;
}

TPipe::TPipe() {
    hew_ascend::PipeState& state = hew_ascend::pipe_state();
    if (state.buffer_count != 0)
        hew_ascend::fail(hew_ascend::FaultKind::queue, "a second TPipe is made while the first one has buffers");
    last_pipe = this;
}

TPipe* GetTPipePtr() { return last_pipe; }

}  // namespace AscendC
